//! Statements on PostgreSQL.

pub mod decode;
pub mod encode;
pub mod kind;
pub mod tls;
pub mod wire;

use crate::effect::Words;
use crate::errors::{Failure, arity, hint, invalid, unsent};
use crate::readonly;
use crate::run::Work;
use crate::target::Kind as Server;
use crate::value::{Done, Param, Sink};
use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use wire::{Client, Prepared, no_copy, not_understood};

/// How the message about a parameter begins that is not what its type wants.
const MISFIT: &str = "db: parameter ";
/// Statements after which what was prepared may mean something else.
const CHANGING: [&str; 12] = [
    "ALTER",
    "CREATE",
    "DROP",
    "DO",
    "CALL",
    "IMPORT",
    "SET",
    "RESET",
    "DISCARD",
    "DEALLOCATE",
    "PREPARE",
    "EXECUTE",
];

/// Runs statements of this crate, or a script.
pub async fn control(client: &mut Client, sql: &str) -> Result<(), Failure> {
    let result = client.simple(sql, drop).await;
    if sql == readonly::begin_reading(Server::Postgres) {
        return result;
    }
    match Words(sql).next().as_deref() {
        Some("BEGIN" | "SAVEPOINT" | "RELEASE") if !sql.contains(';') => {}
        Some("COMMIT") if !sql.contains(';') => client.changed = false,
        // What was changed is as it was before.
        Some("ROLLBACK") if !client.changed => {}
        _ => {
            client.forget();
            client.changed = client.in_transaction();
        }
    }
    result
}

/// Runs a statement for each list of parameters.
pub async fn run(
    client: &mut Client,
    work: &Work,
    sink: &mut Sink,
    only_read: bool,
    alone: bool,
    numeric: bool,
) -> Result<Done, Failure> {
    // In a session the script may have begun one itself.
    let alone = alone && !client.in_transaction();
    if only_read {
        control(client, readonly::begin_reading(Server::Postgres)).await?;
    }
    let word = Words(&work.sql).next().unwrap_or_default();
    let known = client.knows(&work.sql);
    let mut result = sets(client, work, sink, numeric).await;
    if known && sink.is_untouched() && result.as_ref().is_err_and(|failure| !failure.broken) {
        // A table may have changed since the statement was prepared. Where the server has seen that, it has ended a
        // transaction; a procedure may have done half its work.
        let again = match &result {
            Err(failure) if failure.error.message.starts_with(MISFIT) => true,
            _ => alone && is_stale(&client.state) && word != "CALL",
        };
        if is_stale(&client.state) || again {
            client.forget();
        }
        if again {
            if only_read {
                control(client, "ROLLBACK").await?;
                control(client, readonly::begin_reading(Server::Postgres)).await?;
            }
            result = sets(client, work, sink, numeric).await;
        } else if let Err(failure) = &mut result {
            explain(&client.state, &mut failure.error);
        }
    }
    if CHANGING.contains(&word.as_str()) {
        client.forget();
        client.changed = client.in_transaction();
    }
    if !result.as_ref().is_err_and(|failure| failure.broken) {
        client.settle().await?;
        if only_read {
            control(client, "ROLLBACK").await?;
        }
    }
    result.map_err(|failure| hint(failure, &work.sql, true))
}

/// Whether this error of a statement that was prepared before may come from its age: its plan gives other columns
/// (`0A000`), it is gone (`26000`), a type is (`XX000`, `22P03`), or what it names is another thing (class 42).
fn is_stale(state: &str) -> bool {
    matches!(state, "0A000" | "26000" | "XX000" | "22P03") || state.starts_with("42")
}

/// Says what to do where the age of a statement has ended a transaction.
fn explain(state: &str, error: &mut Error) {
    if matches!(state, "0A000" | "26000") {
        error.code = ErrorCode::Unavailable;
        error
            .message
            .push_str("; what it names has changed since it was prepared, run the transaction again");
    }
}

async fn sets(client: &mut Client, work: &Work, sink: &mut Sink, numeric: bool) -> Result<Done, Failure> {
    client.state.clear();
    let prepared = client.prepare(&work.sql).await?;
    sink.columns(prepared.columns.iter().map(|(name, _)| name.as_str()));
    let mut done = Done::default();
    for set in &work.sets {
        let values = values(set, work, &prepared)?;
        done.affected += one(client, &prepared, &values, sink, &work.sql, numeric).await?;
    }
    Ok(done)
}

fn values(set: &[Param], work: &Work, prepared: &Prepared) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    arity(prepared.parameters.len(), set.len(), work.given, &work.sql, "$1").map_err(unsent)?;
    let value = |(n, of): (usize, &std::sync::Arc<kind::Type>)| {
        encode::value(set.get(n).unwrap_or(&Param::Null), &of.kind).map_err(|why| {
            unsent(invalid(format!("{MISFIT}{} does not fit the type {}: {why}", n + 1, of.name)))
        })
    };
    prepared.parameters.iter().enumerate().map(value).collect()
}

async fn one(
    client: &mut Client,
    prepared: &Prepared,
    values: &[Option<Vec<u8>>],
    sink: &mut Sink,
    sql: &str,
    numeric: bool,
) -> Result<u64, Failure> {
    client.execute(prepared, values).await?;
    let (mut affected, mut copied) = (0, false);
    let mut unreadable = None;
    loop {
        match client.message().await? {
            Message::DataRow(body) if sink.wants_rows() && unreadable.is_none() => {
                unreadable = give(sink, &body, prepared, numeric)?;
            }
            Message::CommandComplete(body) => {
                let tag = body.tag().map_err(not_understood)?;
                affected += tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            }
            Message::CopyInResponse(_) => {
                copied = true;
                client.refuse_copy(true).await?;
            }
            Message::CopyOutResponse(_) => return Err(no_copy(true)),
            Message::ErrorResponse(body) => {
                let failure = client.failed(&body, sql).await;
                return Err(if copied { no_copy(failure.broken) } else { failure });
            }
            Message::ReadyForQuery(_) => return unreadable.map_or(Ok(affected), |error| Err(unsent(error))),
            _ => {}
        }
        // Here the message is gone, and does not wait with the rows.
        if sink.is_full() {
            sink.flush().await?;
        }
    }
}

/// Gives a row, or why a value in it cannot be read.
fn give(
    sink: &mut Sink,
    body: &DataRowBody,
    prepared: &Prepared,
    numeric: bool,
) -> Result<Option<Error>, Failure> {
    sink.start_row();
    let mut ranges = body.ranges();
    for (name, of) in &prepared.columns {
        match ranges.next().map_err(not_understood)? {
            None => return Err(not_understood("a row has fewer values than columns")),
            Some(None) => sink.null(),
            Some(Some(range)) => {
                let bytes = body.buffer().get(range).unwrap_or_default();
                if let Err(why) = decode::value(sink, &of.kind, bytes, numeric) {
                    sink.drop_row();
                    let message = format!("db: the column {name} cannot be read: {why}");
                    return Ok(Some(error(ErrorCode::Unsupported, message)));
                }
            }
        }
    }
    sink.end_row()?;
    Ok(None)
}
