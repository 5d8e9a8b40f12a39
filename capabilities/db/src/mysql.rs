//! Statements on MySQL and MariaDB.

use crate::calendar;
use crate::errors::{self, Failure, arity, hint, unsent};
use crate::readonly;
use crate::relay::Relay;
use crate::run::Work;
use crate::target::Kind as Server;
use crate::value::{Done, Param, Sink};
use assay_capability_api::error;
use assay_capability_api::types::ErrorCode;
use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlDatabaseError, MySqlRow, MySqlTypeInfo};
use sqlx::{
    Arguments, AssertSqlSafe, Column, Decode, Either, Executor, MySql, Row, SqlSafeStr, Statement, Type,
    TypeInfo, ValueRef,
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
    /// The kind of a column. By its name alone an unsigned `TINYINT(1)` is a boolean, which the driver means.
    fn of_column(info: &MySqlTypeInfo) -> Kind {
        match Kind::of(info.name()) {
            Kind::Bool if <u8 as Type<MySql>>::compatible(info) => Kind::Unsigned,
            kind => kind,
        }
    }

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

/// A connection, and what leads to it.
pub struct Client {
    pub connection: MySqlConnection,
    pub relay: Relay,
}

impl Client {
    /// What the driver says about a statement; it does not know why no more came in.
    fn failed(&self, source: sqlx::Error) -> Failure {
        match self.relay.inflow.refused() {
            Some(error) => Failure { error, broken: true },
            None => errors::statement(source),
        }
    }
}

/// Runs statements of this crate, or a script.
pub async fn control(client: &mut Client, sql: &str) -> Result<(), Failure> {
    let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut client.connection).await;
    client.relay.inflow.all_out();
    result.map(drop).map_err(|source| client.failed(source))
}

/// Runs a statement for each list of parameters.
pub async fn run(
    client: &mut Client,
    work: &Work,
    sink: &mut Sink,
    only_read: bool,
    numeric: bool,
) -> Result<Done, Failure> {
    if only_read {
        control(client, readonly::begin_reading(Server::MySql)).await?;
    }
    let mut done = Done::default();
    let mut result = Ok(());
    for set in &work.sets {
        result = one(client, work, set, sink, numeric, &mut done).await;
        if result.is_err() {
            break;
        }
    }
    if only_read && !result.as_ref().is_err_and(|failure| failure.broken) {
        control(client, "ROLLBACK").await?;
    }
    match result {
        Ok(()) => Ok(done),
        Err(failure) => Err(hint(failure, &work.sql, false)),
    }
}

async fn one(
    client: &mut Client,
    work: &Work,
    set: &[Param],
    sink: &mut Sink,
    numeric: bool,
    done: &mut Done,
) -> Result<(), Failure> {
    let sql = &work.sql;
    let prepared = client.connection.prepare(AssertSqlSafe(sql.as_str()).into_sql_str()).await;
    let statement = match prepared {
        // What changes a session is not always to be had as a prepared statement (`USE`, `LOCK TABLES`). It is one
        // statement all the same, because several are an error of another kind; queries are left out, on whose being
        // prepared reading only rests.
        Err(sqlx::Error::Database(why))
            if is_unprepared(why.as_ref()) && set.is_empty() && readonly::check(sql).is_err() =>
        {
            return control(client, sql).await;
        }
        prepared => prepared.map_err(|source| client.failed(source))?,
    };
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
    // Of a procedure they come with its results.
    sink.columns(statement.columns().iter().map(Column::name));
    let mut kinds: Option<Vec<Kind>> = None;
    let inflow = client.relay.inflow.clone();
    let mut rows = client.connection.fetch_many(statement.query_with(arguments));
    loop {
        let item = match rows.try_next().await {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(source) => {
                drop(rows);
                return Err(client.failed(source));
            }
        };
        let row = match item {
            Either::Left(result) => {
                done.affected += result.rows_affected();
                let id = result.last_insert_id();
                done.id = i64::try_from(id).ok().filter(|id| *id != 0).or(done.id);
                // A procedure gives several results, each with columns of its own.
                kinds = None;
                continue;
            }
            Either::Right(row) => row,
        };
        let taken = size(&row);
        if !sink.wants_rows() {
            inflow.handed_out(taken);
            continue;
        }
        let kinds = match &mut kinds {
            Some(kinds) => kinds,
            none => {
                if sink.has_rows() {
                    sink.flush().await?;
                }
                sink.columns(row.columns().iter().map(Column::name));
                none.insert(row.columns().iter().map(|column| Kind::of_column(column.type_info())).collect())
            }
        };
        give(sink, &row, kinds, numeric)?;
        // It does not wait with the others.
        drop(row);
        inflow.handed_out(taken);
        if sink.is_full() {
            sink.flush().await?;
        }
    }
    inflow.all_out();
    Ok(())
}

/// At least what a row took on the wire: its values, the length of each, and what stands before them.
fn size(row: &MySqlRow) -> usize {
    const LENGTH: usize = 9;
    let value = |n: usize| {
        let bytes = row.try_get_raw(n).ok().and_then(|value| <&[u8] as Decode<MySql>>::decode(value).ok());
        bytes.map_or(0, <[u8]>::len) + LENGTH
    };
    (0..row.len()).map(value).sum::<usize>() + LENGTH
}

/// Whether a statement has no prepared form (`ER_UNSUPPORTED_PS`).
fn is_unprepared(why: &dyn sqlx::error::DatabaseError) -> bool {
    why.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|why| why.number() == 1295)
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
        let value = row.try_get_raw(n).map_err(errors::statement)?;
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
