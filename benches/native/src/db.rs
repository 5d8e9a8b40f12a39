//! `db.connect(url)`, `conn:execute(sql, parameters)`, `conn:query(sql, parameters)` and `db.transaction(conn, fn)` over sqlx, with one
//! connection.

use mlua::{
    AnyUserData, Error, Function, Lua, MultiValue, ObjectLike, Result, Table, UserData, UserDataMethods,
    UserDataRef, Value,
};
use sqlx::{
    AssertSqlSafe, Column, Connection, Executor, PgConnection, Row, SqliteConnection, TypeInfo, ValueRef,
};
use tokio::sync::Mutex;

enum Conn {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

struct Database(Mutex<Conn>);

pub fn library(lua: &Lua) -> Result<Table> {
    let db = lua.create_table()?;
    db.set("connect", lua.create_async_function(|_, url: String| connect(url))?)?;
    db.set("transaction", lua.create_async_function(|_, (conn, work)| transaction(conn, work))?)?;
    Ok(db)
}

async fn connect(url: String) -> Result<Database> {
    let conn = match url.strip_prefix("sqlite:") {
        Some(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
            Conn::Sqlite(SqliteConnection::connect_with(&options).await.map_err(Error::external)?)
        }
        None => Conn::Postgres(PgConnection::connect(&url).await.map_err(Error::external)?),
    };
    Ok(Database(Mutex::new(conn)))
}

async fn transaction(conn: AnyUserData, work: Function) -> Result<MultiValue> {
    conn.call_async_method::<()>("execute", "BEGIN").await?;
    let result = work.call_async(&conn).await;
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    conn.call_async_method::<()>("execute", end).await?;
    result
}

impl UserData for Database {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method(
            "execute",
            |_, this: UserDataRef<Database>, (sql, parameters): (String, Option<Vec<Value>>)| async move {
                let parameters = parameters.unwrap_or_default();
                match &mut *this.0.lock().await {
                    Conn::Sqlite(conn) => sqlite::execute(conn, sql, parameters).await,
                    Conn::Postgres(conn) => postgres::execute(conn, sql, parameters).await,
                }
            },
        );
        methods.add_async_method(
            "query",
            |lua, this: UserDataRef<Database>, (sql, parameters): (String, Option<Vec<Value>>)| async move {
                let parameters = parameters.unwrap_or_default();
                match &mut *this.0.lock().await {
                    Conn::Sqlite(conn) => sqlite::query(&lua, conn, sql, parameters).await,
                    Conn::Postgres(conn) => postgres::query(&lua, conn, sql, parameters).await,
                }
            },
        );
    }
}

/// The same for each driver: sqlx has types of its own for each.
macro_rules! driver {
    ($name:ident, $database:ty, $connection:ty) => {
        mod $name {
            use super::*;

            type Query = sqlx::query::Query<'static, $database, <$database as sqlx::Database>::Arguments>;

            fn statement(sql: String, parameters: Vec<Value>) -> Result<Query> {
                let mut query = sqlx::query::<$database>(AssertSqlSafe(sql));
                for parameter in parameters {
                    query = match parameter {
                        Value::Nil => query.bind(None::<i64>),
                        Value::Boolean(value) => query.bind(value),
                        Value::Integer(value) => query.bind(value),
                        Value::Number(value) => query.bind(value),
                        Value::String(value) => query.bind(value.to_str()?.to_string()),
                        other => {
                            return Err(Error::runtime(format!("a {} is no parameter", other.type_name())));
                        }
                    };
                }
                Ok(query)
            }

            pub async fn execute(conn: &mut $connection, sql: String, parameters: Vec<Value>) -> Result<u64> {
                let query = statement(sql, parameters)?;
                Ok(conn.execute(query).await.map_err(Error::external)?.rows_affected())
            }

            pub async fn query(
                lua: &Lua,
                conn: &mut $connection,
                sql: String,
                parameters: Vec<Value>,
            ) -> Result<Table> {
                let rows = statement(sql, parameters)?.fetch_all(conn).await.map_err(Error::external)?;
                let result = lua.create_table_with_capacity(rows.len(), 0)?;
                let Some(first) = rows.first() else { return Ok(result) };
                let names = first.columns().iter().map(|column| lua.create_string(column.name()));
                let names = names.collect::<Result<Vec<_>>>()?;
                for row in &rows {
                    let table = lua.create_table_with_capacity(0, names.len())?;
                    for (at, name) in names.iter().enumerate() {
                        let value = row.try_get_raw(at).map_err(Error::external)?;
                        if value.is_null() {
                            continue;
                        }
                        match value.type_info().name() {
                            "INTEGER" | "INT8" => table.raw_set(name, row.get::<i64, _>(at))?,
                            "REAL" | "FLOAT8" => table.raw_set(name, row.get::<f64, _>(at))?,
                            "TEXT" => table.raw_set(name, row.get::<&str, _>(at))?,
                            other => return Err(Error::runtime(format!("columns of {other} are not read"))),
                        }
                    }
                    result.raw_push(table)?;
                }
                Ok(result)
            }
        }
    };
}

driver!(sqlite, sqlx::Sqlite, SqliteConnection);
driver!(postgres, sqlx::Postgres, PgConnection);
