//! Statements on MySQL and MariaDB.

use crate::calendar;
use crate::errors::{self, Failure, arity, hint, unsent};
use crate::readonly;
use crate::run::Work;
use crate::target::Kind as Server;
use crate::value::{Done, Param, Sink};
use assay_capability_api::error;
use assay_capability_api::types::ErrorCode;
use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::{
    Arguments, AssertSqlSafe, Column, Decode, Either, Executor, MySql, Row, SqlSafeStr, Statement, TypeInfo,
    ValueRef,
};

/// How a value looks on the wire, in binary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
    Double,
    Decimal,
    Text,
    Json,
    /// A `TIMESTAMP`, which is a moment; the session is in UTC.
    Moment,
    DateTime,
    Date,
    Time,
    Bit,
}

impl Kind {
    /// The kind of a type, by its name.
    pub fn of(name: &str) -> Kind {
        match name {
            "BOOLEAN" => Kind::Bool,
            "YEAR" => Kind::Unsigned,
            "FLOAT" => Kind::Float,
            "DOUBLE" => Kind::Double,
            "DECIMAL" => Kind::Decimal,
            "JSON" => Kind::Json,
            "TIMESTAMP" => Kind::Moment,
            "DATETIME" => Kind::DateTime,
            "DATE" => Kind::Date,
            "TIME" => Kind::Time,
            "BIT" => Kind::Bit,
            "TINYINT" | "SMALLINT" | "INT" | "MEDIUMINT" | "BIGINT" => Kind::Signed,
            _ if name.ends_with("UNSIGNED") => Kind::Unsigned,
            _ => Kind::Text,
        }
    }
}

/// Runs statements of ours, or a script.
pub async fn control(connection: &mut MySqlConnection, sql: &str) -> Result<(), Failure> {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => Ok(()),
        Err(source) => Err(errors::statement(source, sql)),
    }
}

/// Runs a statement for each list of parameters.
pub async fn run(
    connection: &mut MySqlConnection,
    work: &Work,
    sink: &mut Sink,
    only_read: bool,
    numeric: bool,
) -> Result<Done, Failure> {
    if only_read {
        control(connection, readonly::begin_reading(Server::MySql)).await?;
    }
    let mut done = Done::default();
    let mut result = Ok(());
    for set in &work.sets {
        result = one(connection, work, set, sink, numeric, &mut done).await;
        if result.is_err() {
            break;
        }
    }
    if only_read && !result.as_ref().is_err_and(|failure| failure.broken) {
        control(connection, "ROLLBACK").await?;
    }
    match result {
        Ok(()) => Ok(done),
        Err(failure) => Err(hint(failure, &work.sql, false)),
    }
}

async fn one(
    connection: &mut MySqlConnection,
    work: &Work,
    set: &[Param],
    sink: &mut Sink,
    numeric: bool,
    done: &mut Done,
) -> Result<(), Failure> {
    let sql = &work.sql;
    let failed = |source| errors::statement(source, sql);
    let statement = connection.prepare(AssertSqlSafe(sql.as_str()).into_sql_str()).await.map_err(failed)?;
    let expected = match statement.parameters() {
        Some(Either::Right(count)) => count,
        _ => set.len(),
    };
    arity(expected, set.len(), work.given, sql, "?").map_err(unsent)?;
    let mut arguments = MySqlArguments::default();
    for n in 0..expected {
        add(&mut arguments, set.get(n).unwrap_or(&Param::Null))
            .map_err(|why| unsent(errors::invalid(format!("db: parameter {}: {why}", n + 1))))?;
    }
    let mut kinds: Option<Vec<Kind>> = None;
    let mut rows = connection.fetch_many(statement.query_with(arguments));
    while let Some(item) = rows.try_next().await.map_err(failed)? {
        let row = match item {
            Either::Left(result) => {
                done.affected += result.rows_affected();
                let id = result.last_insert_id();
                done.id = i64::try_from(id).ok().filter(|id| *id != 0).or(done.id);
                continue;
            }
            Either::Right(_) if !sink.wants_rows() => continue,
            Either::Right(row) => row,
        };
        let kinds = kinds.get_or_insert_with(|| {
            sink.columns(row.columns().iter().map(Column::name));
            row.columns().iter().map(|column| Kind::of(column.type_info().name())).collect()
        });
        give(sink, &row, kinds, numeric)?;
        if sink.is_full() {
            sink.flush().await?;
        }
    }
    Ok(())
}

fn add(arguments: &mut MySqlArguments, param: &Param) -> Result<(), sqlx::error::BoxDynError> {
    match param {
        Param::Null => arguments.add(None::<&str>),
        Param::Bool(value) => arguments.add(*value),
        Param::Integer(value) => arguments.add(*value),
        Param::Float(value) => arguments.add(*value),
        Param::Json(text) => arguments.add(text.as_str()),
        Param::Bytes(bytes) => arguments.add(bytes.as_slice()),
        Param::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => arguments.add(text),
            Err(_) => arguments.add(bytes.as_slice()),
        },
    }
}

fn give(sink: &mut Sink, row: &MySqlRow, kinds: &[Kind], numeric: bool) -> Result<(), Failure> {
    sink.start_row();
    for (n, kind) in kinds.iter().enumerate() {
        let value = row.try_get_raw(n).map_err(|source| errors::statement(source, ""))?;
        // The driver takes dates of zeros for NULL, which they mean.
        if value.is_null() {
            sink.null();
            continue;
        }
        let bytes = <&[u8] as Decode<MySql>>::decode(value).unwrap_or_default();
        give_value(sink, *kind, bytes, numeric).map_err(|why| {
            let name = row.columns()[n].name();
            error(ErrorCode::InvalidData, format!("db: the column {name} cannot be read: {why}"))
        })?;
    }
    sink.end_row()?;
    Ok(())
}

/// Gives one value to the guest.
///
/// # Errors
/// Why that cannot be done.
pub fn give_value(sink: &mut Sink, kind: Kind, bytes: &[u8], numeric: bool) -> Result<(), String> {
    match kind {
        Kind::Text => sink.text(bytes),
        Kind::Json => sink.json(bytes),
        Kind::Decimal => sink.numeric(&String::from_utf8_lossy(bytes), numeric),
        Kind::Bool | Kind::Signed => match (signed(bytes)?, kind) {
            (value @ 0..=1, Kind::Bool) => sink.boolean(value == 1),
            (value, _) => sink.integer(value),
        },
        Kind::Unsigned => sink.unsigned(unsigned(bytes)?),
        Kind::Bit => sink.unsigned(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))),
        Kind::Float => sink.short_float(f32::from_le_bytes(fixed(bytes)?)),
        Kind::Double => sink.float(f64::from_le_bytes(fixed(bytes)?)),
        Kind::Date | Kind::DateTime | Kind::Moment => sink.text(date_time(kind, bytes)?.as_bytes()),
        Kind::Time => sink.text(time(bytes)?.as_bytes()),
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| format!("it has {} bytes in place of {N}", bytes.len()))
}

fn unsigned(bytes: &[u8]) -> Result<u64, String> {
    let mut wide = [0; 8];
    wide.get_mut(..bytes.len()).ok_or("it has more than 8 bytes")?.copy_from_slice(bytes);
    Ok(u64::from_le_bytes(wide))
}

fn signed(bytes: &[u8]) -> Result<i64, String> {
    let value = unsigned(bytes)?;
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    Ok(if unused == 64 { 0 } else { (value << unused) as i64 >> unused })
}

/// A length, then year, month, day, hour, minute, second and microseconds, as many as are not zero.
fn date_time(kind: Kind, bytes: &[u8]) -> Result<String, String> {
    let mut part = [0; 12];
    part.get_mut(..bytes.len()).ok_or("it is too long")?.copy_from_slice(bytes);
    let [_, year_low, year_high, month, day, hour, minute, second, fraction @ ..] = part;
    let year = u16::from_le_bytes([year_low, year_high]);
    let date = format!("{year:04}-{month:02}-{day:02}");
    if kind == Kind::Date {
        return Ok(date);
    }
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    let time = calendar::time(seconds * 1_000_000 + i64::from(u32::from_le_bytes(fraction)));
    Ok(format!("{date}T{time}{}", if kind == Kind::Moment { "Z" } else { "" }))
}

/// Hours of a `TIME`.
const MAX_HOURS: i64 = 838;

/// A length, then a sign, days, hour, minute, second and microseconds, as many as are not zero.
fn time(bytes: &[u8]) -> Result<String, String> {
    let mut part = [0; 13];
    part.get_mut(..bytes.len()).ok_or("it is too long")?.copy_from_slice(bytes);
    let [_, negative, d0, d1, d2, d3, hour, minute, second, fraction @ ..] = part;
    let hours = i64::from(u32::from_le_bytes([d0, d1, d2, d3])) * 24 + i64::from(hour);
    if hours > MAX_HOURS {
        return Err(format!("it has {hours} hours"));
    }
    let seconds = (hours * 60 + i64::from(minute)) * 60 + i64::from(second);
    let text = calendar::time(seconds * 1_000_000 + i64::from(u32::from_le_bytes(fraction)));
    Ok(if negative == 0 { text } else { format!("-{text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_widths() {
        assert_eq!(signed(&[0xff]), Ok(-1));
        assert_eq!(signed(&[0x00, 0x80]), Ok(-32768));
        assert_eq!(signed(&[0xfe, 0xff, 0xff, 0xff]), Ok(-2));
        assert_eq!(signed(&i64::MIN.to_le_bytes()), Ok(i64::MIN));
        assert_eq!(unsigned(&[0xff, 0xff]), Ok(65535));
        assert!(unsigned(&[0; 9]).is_err());
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date_time(Kind::Date, &[4, 0xe8, 7, 1, 2]).as_deref(), Ok("2024-01-02"));
        assert_eq!(date_time(Kind::DateTime, &[4, 0xe8, 7, 1, 2]).as_deref(), Ok("2024-01-02T00:00:00"));
        let full = [11, 0xe8, 7, 1, 2, 3, 4, 5, 0x20, 0xa1, 7, 0];
        assert_eq!(date_time(Kind::Moment, &full).as_deref(), Ok("2024-01-02T03:04:05.5Z"));
        assert_eq!(time(&[8, 1, 1, 0, 0, 0, 2, 3, 4]).as_deref(), Ok("-26:03:04"));
        assert_eq!(time(&[0]).as_deref(), Ok("00:00:00"));
        assert_eq!(time(&[8, 0, 34, 0, 0, 0, 22, 59, 59]).as_deref(), Ok("838:59:59"));
        assert!(time(&[8, 0, 0xff, 0xff, 0xff, 0xff, 2, 3, 4]).is_err());
        assert!(date_time(Kind::Date, &[0; 20]).is_err());
    }
}
