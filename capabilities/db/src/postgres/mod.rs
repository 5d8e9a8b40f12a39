//! Statements on PostgreSQL.

pub mod decode;
pub mod encode;
pub mod kind;

use crate::errors::{self, Failure, arity, hint, invalid, unsent};
use crate::readonly;
use crate::run::Work;
use crate::target::Kind as Server;
use crate::value::{Done, Param, Sink};
use assay_capability_api::error;
use assay_capability_api::types::ErrorCode;
use futures_util::TryStreamExt;
use kind::Kind;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgRow, PgStatement, PgTypeInfo, Postgres};
use sqlx::{
    Arguments, AssertSqlSafe, Column, Connection, Either, Encode, Executor, Row, SqlSafeStr, Statement, Type,
};

/// How the message about a parameter begins that is not what its type wants.
const MISFIT: &str = "db: parameter ";

/// A parameter that is on the wire as it must be.
struct Raw {
    info: PgTypeInfo,
    bytes: Option<Vec<u8>>,
}

impl Type<Postgres> for Raw {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("text")
    }
}

impl Encode<'_, Postgres> for Raw {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.info.clone())
    }
}

/// Runs statements of ours, or a script.
pub async fn control(connection: &mut PgConnection, sql: &str) -> Result<(), Failure> {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => Ok(()),
        Err(source) => Err(errors::statement(source, sql)),
    }
}

/// Runs a statement for each list of parameters.
pub async fn run(
    connection: &mut PgConnection,
    work: &Work,
    sink: &mut Sink,
    only_read: bool,
    alone: bool,
    numeric: bool,
) -> Result<Done, Failure> {
    if only_read {
        control(connection, readonly::begin_reading(Server::Postgres)).await?;
    }
    let known = connection.cached_statements_size();
    let mut result = sets(connection, work, sink, numeric).await;
    let cached = connection.cached_statements_size() == known;
    // A table may have changed since the statement was prepared. Where that is seen by the server, it has ended a
    // transaction.
    if cached
        && sink.is_untouched()
        && result.as_ref().is_err_and(|failure| is_stale(failure, alone && !only_read))
    {
        connection.clear_cached_statements().await.map_err(|source| errors::statement(source, &work.sql))?;
        result = sets(connection, work, sink, numeric).await;
    }
    if only_read && !result.as_ref().is_err_and(|failure| failure.broken) {
        control(connection, "ROLLBACK").await?;
    }
    result.map_err(|failure| hint(failure, &work.sql, true))
}

fn is_stale(failure: &Failure, alone: bool) -> bool {
    let message = &failure.error.message;
    let by_server =
        message.contains("cached plan must not change result type") || message.contains("[SQLSTATE 42804]");
    !failure.broken && (message.starts_with(MISFIT) || (alone && by_server))
}

async fn sets(
    connection: &mut PgConnection,
    work: &Work,
    sink: &mut Sink,
    numeric: bool,
) -> Result<Done, Failure> {
    let sql = &work.sql;
    let statement: PgStatement = connection
        .prepare(AssertSqlSafe(sql.as_str()).into_sql_str())
        .await
        .map_err(|source| errors::statement(source, sql))?;
    let infos: Vec<PgTypeInfo> = match statement.parameters() {
        Some(Either::Left(infos)) => infos.to_vec(),
        _ => Vec::new(),
    };
    let kinds: Vec<Kind> = infos.iter().map(Kind::of).collect();
    let mut done = Done::default();
    for set in &work.sets {
        let arguments = arguments(set, work.given, &infos, &kinds, sql)?;
        done.affected += one(connection, &statement, arguments, sink, sql, numeric).await?;
    }
    Ok(done)
}

fn arguments(
    set: &[Param],
    given: bool,
    infos: &[PgTypeInfo],
    kinds: &[Kind],
    sql: &str,
) -> Result<PgArguments, Failure> {
    arity(kinds.len(), set.len(), given, sql, "$1").map_err(unsent)?;
    let mut arguments = PgArguments::default();
    for (n, (info, kind)) in infos.iter().zip(kinds).enumerate() {
        let param = set.get(n).unwrap_or(&Param::Null);
        let bytes = encode::value(param, kind).map_err(|why| {
            use sqlx::TypeInfo;
            let name = info.name().to_ascii_lowercase();
            unsent(invalid(format!("{MISFIT}{} does not fit the type {name}: {why}", n + 1)))
        })?;
        arguments
            .add(Raw { info: info.clone(), bytes })
            .map_err(|why| unsent(invalid(format!("db: parameter {}: {why}", n + 1))))?;
    }
    Ok(arguments)
}

async fn one(
    connection: &mut PgConnection,
    statement: &PgStatement,
    arguments: PgArguments,
    sink: &mut Sink,
    sql: &str,
    numeric: bool,
) -> Result<u64, Failure> {
    let mut affected = 0;
    let mut kinds: Option<Vec<Kind>> = None;
    let mut rows = connection.fetch_many(statement.query_with(arguments));
    while let Some(item) = rows.try_next().await.map_err(|source| errors::statement(source, sql))? {
        let row = match item {
            Either::Left(result) => {
                affected += result.rows_affected();
                continue;
            }
            Either::Right(_) if !sink.wants_rows() => continue,
            Either::Right(row) => row,
        };
        let kinds = kinds.get_or_insert_with(|| {
            sink.columns(row.columns().iter().map(Column::name));
            row.columns().iter().map(|column| Kind::of(column.type_info())).collect()
        });
        give(sink, &row, kinds, numeric)?;
        if sink.is_full() {
            sink.flush().await?;
        }
    }
    Ok(affected)
}

fn give(sink: &mut Sink, row: &PgRow, kinds: &[Kind], numeric: bool) -> Result<(), Failure> {
    sink.start_row();
    for (n, kind) in kinds.iter().enumerate() {
        let value = row.try_get_raw(n).map_err(|source| errors::statement(source, ""))?;
        match value.as_bytes() {
            Err(_) => sink.null(),
            Ok(bytes) => decode::value(sink, kind, bytes, numeric).map_err(|why| {
                let name = row.columns()[n].name();
                error(ErrorCode::Unsupported, format!("db: the column {name} cannot be read: {why}"))
            })?,
        }
    }
    sink.end_row()?;
    Ok(())
}
