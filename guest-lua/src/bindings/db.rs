//! `db`: SQL databases. Connections, transactions and loops over rows are in `db.lua`, over the natives of this
//! file, which turn parameters into bytes and bytes into rows. The format is in `assay_wire::values`.

use super::json;
use crate::call::{Call, Error, Returned, carry, failure, piece, prelude, push_library, set_library};
use crate::ffi::*;
use crate::host::db::{self, Want};
use crate::host::types::{ErrorCode, Payload};
use crate::lua::{Lua, Type};
use crate::payload;
use crate::region::region;
use crate::task::{self, Pending, wait};
use crate::userdata::{self, Closable, Userdata};
use crate::value::{self, Value, Walk};
use crate::{function, waiting};
use assay_wire::Bad;
use assay_wire::values::{self, Reader, Value as Cell};
use std::ffi::c_int;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

/// Parameters of one statement, as PostgreSQL has it.
const MAX_PARAMS: i64 = 65_535;
/// Bytes of parameters that cross at a time.
const BATCH: usize = 1 << 20;

/// A connection or a transaction; none once it is given up.
struct Connection(Closable<db::Connection>);

impl Userdata for Connection {
    crate::named!(c"db.handle");
}

/// Rows that are still to come; none once they are over.
struct Rows(Closable<db::Rows>);

impl Userdata for Rows {
    crate::named!(c"db.cursor");
}

/// Bytes that are no text.
struct Blob(Vec<u8>);

impl Userdata for Blob {
    crate::named!(c"db.blob");
}

pub fn register(lua: Lua) {
    push_library(lua, &[("blob", function!(blob, 1))]);
    value::push_null(lua);
    lua.raw_set(-2, "null");
    lua.push_copy(-1);
    set_library(lua, "db");
    push_library(
        lua,
        &[
            ("connect", waiting!(connect)),
            ("run", waiting!(run)),
            ("fetch", waiting!(fetch)),
            ("batch", waiting!(batch)),
            ("script", waiting!(script)),
            ("begin", waiting!(begin)),
            ("session", waiting!(session)),
            ("finish", waiting!(finish)),
            ("close", waiting!(close)),
            ("abandon", function!(abandon)),
            ("failure", function!(failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "db");
    prelude(lua, "db", include_str!("db.lua"));
}

fn blob(call: Call) -> Returned {
    let bytes = call.text(1)?;
    let bytes = region(call.lua(), || bytes.to_vec())?;
    userdata::push(call.lua(), Blob(bytes))?;
    Ok(1)
}

fn handle(call: Call) -> Result<Rc<db::Connection>, Error> {
    let closed = || Error::failed(ErrorCode::InvalidArgument, "db: the connection is closed");
    call.userdata::<Connection>(1)?.0.get().ok_or_else(closed)
}

/// What pushes the handle of a connection.
fn push_connection(connection: db::Connection) -> impl FnMut(Call) -> Returned {
    task::handle(Connection(Closable::new(connection)))
}

/// `connect(url, options)` gives a handle.
fn connect(call: Call) -> Result<Pending, Error> {
    let url = call.string(1)?;
    let mut options = Vec::new();
    if call.opt_table(2)?.is_some() {
        let lua = call.lua();
        lua.push_nil();
        while unsafe { lua_next(lua.0, 2) } != 0 {
            let scalar =
                matches!(lua.type_of(-1), Type::String | Type::Integer | Type::Float | Type::Boolean);
            match lua.bytes(-2) {
                Some(name) if scalar => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    options.push((name, lua.display(-1)?));
                }
                _ => {
                    let name = lua.display(-2)?;
                    let kind = value::type_name(lua, -1);
                    return Err(Error::Argument(
                        2,
                        format!("field '{name}': a {kind} is not a value of an option"),
                    ));
                }
            }
            lua.pop(1);
        }
    }
    wait(async move { Ok(push_connection(db::connect(url, options).await?)) })
}

/// `run(handle, sql, params, want, named)` gives the first rows as a list, their number, a handle for more of them or
/// nil, how many rows were changed, the number of the last new one or nil, and where `named` the names of the columns.
fn run(call: Call) -> Result<Pending, Error> {
    let (connection, sql) = (handle(call)?, call.string(2)?);
    let mut params = Vec::new();
    encode_list(call.lua(), 3, &mut params)?;
    let want = match call.str(4)? {
        "stream" => Want::Stream,
        "none" => Want::None,
        _ => Want::All,
    };
    let named = call.lua().boolean(5);
    wait(async move {
        let mut outcome = connection.run(sql, params, want).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            let batch = payload::bytes(lua, &mut outcome.batch)?;
            lua.new_table(0, 0);
            let count = region(lua, || decode(lua, batch, 0))??;
            lua.push_integer(count);
            match outcome.more.take() {
                Some(rows) => userdata::push(lua, Rows(Closable::new(rows)))?,
                None => lua.push_nil(),
            }
            lua.push_integer(i64::try_from(outcome.affected).unwrap_or(i64::MAX));
            match outcome.id {
                Some(id) => lua.push_integer(id),
                None => lua.push_nil(),
            }
            if named {
                region(lua, || names(lua, batch))??;
            }
            Ok(5 + c_int::from(named))
        })
    })
}

/// `fetch(rows, list, n, named)` adds rows to the list of n, and gives the new n, which is the old at the end, and where
/// `named` the names of the columns.
fn fetch(call: Call) -> Result<Pending, Error> {
    let rows = call.userdata::<Rows>(1)?.0.get();
    call.table(2)?;
    let count = call.integer(3)?;
    let named = call.lua().boolean(4);
    wait(async move {
        let mut batch = match rows {
            Some(rows) => rows.next().await?,
            None => Payload::Small(Vec::new()),
        };
        Ok(move |call: Call| {
            let lua = call.lua();
            let batch = payload::bytes(lua, &mut batch)?;
            lua.push_copy(2);
            let count = region(lua, || decode(lua, batch, count))??;
            lua.push_integer(count);
            if named {
                region(lua, || names(lua, batch))??;
            }
            Ok(1 + c_int::from(named))
        })
    })
}

/// `batch(handle, sql, sets, from)` runs the statement for some of the lists from number `from` on; gives how many
/// rows that changed, and the number of the next list or nil.
fn batch(call: Call) -> Result<Pending, Error> {
    let (connection, sql) = (handle(call)?, call.string(2)?);
    call.table(3)?;
    let mut next = call.integer(4)?;
    let lua = call.lua();
    let last = i64::try_from(lua.raw_len(3)).unwrap_or(i64::MAX);
    let mut sets = Vec::new();
    while next <= last && sets.len() < BATCH.min(piece() / 2) {
        lua.raw_get_index(3, next);
        let at = lua.top();
        if lua.type_of(at) != Type::Table {
            return Err(Error::Argument(3, format!("element {next}: a list of parameters is expected")));
        }
        encode_list(lua, at, &mut sets)?;
        lua.pop(1);
        next += 1;
    }
    wait(async move {
        let changed = connection.batch(sql, sets).await?;
        Ok(move |call: Call| {
            call.lua().push_integer(i64::try_from(changed).unwrap_or(i64::MAX));
            match next <= last {
                true => call.lua().push_integer(next),
                false => call.lua().push_nil(),
            }
            Ok(2)
        })
    })
}

fn script(call: Call) -> Result<Pending, Error> {
    let (connection, sql) = (handle(call)?, call.string(2)?);
    wait(async move {
        connection.script(sql).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `begin(handle)` gives the handle of a transaction.
fn begin(call: Call) -> Result<Pending, Error> {
    let connection = handle(call)?;
    wait(async move { Ok(push_connection(connection.begin().await?)) })
}

/// `session(handle)` gives the handle of a session.
fn session(call: Call) -> Result<Pending, Error> {
    let connection = handle(call)?;
    wait(async move { Ok(push_connection(connection.session().await?)) })
}

/// `finish(transaction, commit)`
fn finish(call: Call) -> Result<Pending, Error> {
    let (connection, commit) = (handle(call)?, call.lua().boolean(2));
    drop(call.userdata::<Connection>(1)?.0.take());
    wait(async move {
        connection.end(commit).await?;
        Ok(|_: Call| Ok(0))
    })
}

/// `close(handle)`; a second time is no error.
fn close(call: Call) -> Result<Pending, Error> {
    let connection = call.userdata::<Connection>(1)?.0.take();
    wait(async move {
        if let Some(connection) = connection {
            connection.close().await?;
        }
        Ok(|_: Call| Ok(0))
    })
}

/// Ends rows or a transaction now, without waiting for it.
fn abandon(call: Call) -> Returned {
    let lua = call.lua();
    if let Some(rows) = userdata::get::<Rows>(lua, 1) {
        drop(rows.0.take());
    } else if let Some(connection) = userdata::get::<Connection>(lua, 1) {
        drop(connection.0.take());
    }
    Ok(0)
}

/// Adds a value with `length` bytes of text.
fn put(lua: Lua, out: &mut Vec<u8>, value: Cell<'_>, length: usize) -> Result<(), Error> {
    carry(length)?;
    // The vector is as it was where there is no memory for it.
    region(lua, AssertUnwindSafe(|| out.reserve(length + Cell::SIZE)))?;
    value.write(out);
    Ok(())
}

/// How many parameters the list at `at` has. `nil` leaves holes, so its largest index counts, or its field `n`.
fn length(lua: Lua, at: c_int) -> Result<i64, Error> {
    if lua.raw_get(at, "n") == Type::Integer {
        let n = lua.integer(-1).unwrap_or_default();
        lua.pop(1);
        return Ok(n.max(0));
    }
    lua.pop(1);
    let mut largest = 0;
    lua.push_nil();
    while unsafe { lua_next(lua.0, at) } != 0 {
        lua.pop(1);
        match lua.integer(-1) {
            Some(n) if n > 0 && lua.type_of(-1) == Type::Integer => largest = n.max(largest),
            _ => {
                let key = lua.display(-1)?;
                return Err(Error::failed(
                    ErrorCode::InvalidArgument,
                    format!("db: parameters are a list, and have no names; got the key {key:?}"),
                ));
            }
        }
    }
    Ok(largest)
}

/// Adds the list of parameters at `at`; nothing for nil.
fn encode_list(lua: Lua, at: c_int, out: &mut Vec<u8>) -> Result<(), Error> {
    let count = match lua.type_of(at) {
        Type::None | Type::Nil => return Ok(()),
        Type::Table => length(lua, at)?,
        _ => return Err(Error::Argument(at.min(3), "a list of parameters is expected".into())),
    };
    if count > MAX_PARAMS {
        let message = format!("db: a statement has at most {MAX_PARAMS} parameters, not {count}");
        return Err(Error::failed(ErrorCode::Limit, message));
    }
    carry(Cell::SIZE * count as usize)?;
    values::count(out, count as usize);
    for n in 1..=count {
        lua.raw_get_index(at, n);
        let value = lua.top();
        match lua.type_of(value) {
            Type::None | Type::Nil => Cell::Null.write(out),
            Type::Boolean => Cell::Boolean(lua.boolean(value)).write(out),
            Type::Integer => Cell::Integer(lua.integer(value).unwrap_or_default()).write(out),
            Type::Float => Cell::Float(lua.number(value).unwrap_or_default()).write(out),
            Type::String => {
                let bytes = lua.bytes(value).unwrap_or_default();
                put(lua, out, Cell::Text(bytes), bytes.len())?;
            }
            Type::Table => {
                let text = json::encode_with(lua, value, 0, "db")?;
                put(lua, out, Cell::Json(text.as_bytes()), text.len())?;
            }
            _ => match userdata::get::<Blob>(lua, value) {
                Some(blob) => put(lua, out, Cell::Bytes(&blob.0), blob.0.len())?,
                None => match Walk::new(lua).read(value) {
                    Ok(Value::Null) => Cell::Null.write(out),
                    Ok(Value::Number(digits)) => {
                        put(lua, out, Cell::Text(digits.as_bytes()), digits.len())?;
                    }
                    _ => {
                        let kind = value::type_name(lua, value);
                        let message = format!("db: parameter {n} is a {kind}, which no database can hold");
                        return Err(Error::failed(ErrorCode::InvalidArgument, message));
                    }
                },
            },
        }
        lua.set_top(value - 1);
    }
    Ok(())
}

fn broken(bad: Bad) -> Error {
    Error::failed(ErrorCode::InvalidData, format!("db: rows cannot be read: {bad}"))
}

/// Pushes a value of a row. NULL in a list is `db.null`, which leaves no hole.
fn push(lua: Lua, reader: &mut Reader<'_>, in_list: bool) -> Result<(), Error> {
    match reader.value().map_err(broken)? {
        Cell::Null if in_list => value::push_null(lua),
        Cell::Null => lua.push_nil(),
        Cell::Boolean(value) => lua.push_bool(value),
        Cell::Integer(value) => lua.push_integer(value),
        Cell::Float(value) => lua.push_number(value),
        Cell::Text(bytes) | Cell::Bytes(bytes) => lua.push_bytes(bytes),
        // What a file of SQLite has in a column of JSON need not be any.
        Cell::Json(text) => match json::push(lua, text) {
            Ok(()) => {}
            Err(Error::Raised) => return Err(Error::Raised),
            Err(_) => lua.push_bytes(text),
        },
        Cell::List(count) => {
            if !lua.reserve(8) {
                return Err(Error::failed(ErrorCode::Limit, "db: lists are nested too deep"));
            }
            lua.new_table(count as usize, 0);
            for n in 1..=i64::from(count) {
                push(lua, reader, true)?;
                lua.raw_set_index(-2, n);
            }
            value::pin(lua, -1, value::Pin::Array);
        }
    }
    Ok(())
}

/// Pushes the names of the columns of a batch as a list.
fn names(lua: Lua, batch: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(batch);
    let columns = match batch.is_empty() {
        true => 0,
        false => reader.count().map_err(broken)?,
    };
    lua.new_table(columns as usize, 0);
    for n in 1..=i64::from(columns) {
        lua.push_bytes(reader.text().map_err(broken)?);
        lua.raw_set_index(-2, n);
    }
    value::pin(lua, -1, value::Pin::Array);
    Ok(())
}

/// Adds the rows of a batch to the list on top of the stack, which has `count`; gives how many it has then.
fn decode(lua: Lua, batch: &[u8], mut count: i64) -> Result<i64, Error> {
    if batch.is_empty() {
        return Ok(count);
    }
    crate::work::spend(batch.len());
    let list = lua.top();
    let mut reader = Reader::new(batch);
    let columns = reader.count().map_err(broken)? as c_int;
    if !lua.reserve(columns + 16) {
        return Err(Error::failed(ErrorCode::Limit, "db: a row has too many columns"));
    }
    // The names are made once and lie on the stack while rows are.
    for _ in 0..columns {
        lua.push_bytes(reader.text().map_err(broken)?);
    }
    while !reader.is_empty() {
        lua.new_table(0, columns as usize);
        let row = lua.top();
        for n in 1..=columns {
            lua.push_copy(list + n);
            push(lua, &mut reader, false)?;
            unsafe { lua_rawset(lua.0, row) };
        }
        count += 1;
        lua.raw_set_index(list, count);
    }
    lua.set_top(list);
    Ok(count)
}
