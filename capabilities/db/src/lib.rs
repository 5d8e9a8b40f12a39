//! SQL databases: PostgreSQL, MySQL and MariaDB by sqlx, SQLite by its own library.
//!
//! A URL becomes a [`target`], and the target a [`pool`] of connections. A statement is a [`run::Running`], which runs only while its
//! rows are waited for, so that dropping it ends the statement. Rows cross in the batches of [`value`].

mod calendar;
mod connect;
mod effect;
mod errors;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod mysql;
mod pool;
mod postgres;
mod readonly;
mod relay;
mod run;
mod scope;
mod sqlite;
mod target;
mod value;

use assay_capability_api::types::{Error, Payload};
use assay_capability_api::{
    Capability, Ctx, GrantError, HandleGuard, HostResult, Linker, Literal, Need, Run, Scope, ScopeForm,
    Target as Denied,
};
use assay_capability_fs::needs;
use bindings::assay::host::db::{self as wit, Outcome, Want};
use connect::ServerConfig;
use pool::{ConnectionConfig, Pool, closed};
use run::{ConnectionSource, Running, Step, Work};
use sqlite::SqliteConfig;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use target::{Options, Target};
use value::Reader;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource, Val};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/db@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/db@0.1.0.connection": crate::ConnectionHandle,
            "assay:host/db@0.1.0.rows": crate::Rows,
        },
    });
}

/// The capability `db`.
pub struct Db;

/// `postgres://host:port/database` and the like of a URL, without what may be secret.
fn place(url: &str) -> Option<String> {
    let (target, options) = target::parse(url, &[]).ok()?;
    let ro = if options.read_only { "?ro" } else { "" };
    Some(match target {
        Target::Memory => "sqlite::memory:".into(),
        Target::File { path, .. } => format!("sqlite:{path}{ro}"),
        Target::Server(server) => {
            let place = assay_capability_api::scope::host_and_port(&server.host, server.port);
            format!("{}://{place}/{}{ro}", server.kind.scheme(), server.database.unwrap_or_default())
        }
    })
}

impl Capability for Db {
    fn name(&self) -> &'static str {
        "db"
    }

    fn summary(&self) -> &'static str {
        "SQL databases: PostgreSQL, MySQL and MariaDB, SQLite"
    }

    fn scopes(&self) -> &'static [ScopeForm] {
        &[
            ScopeForm {
                form: "sqlite:PATH[?ro]",
                grants: "a file of SQLite, or all in a directory; with ?ro reading only",
                example: "db=sqlite:./app.db",
            },
            ScopeForm {
                form: "sqlite::memory:",
                grants: "databases in memory",
                example: "db=sqlite::memory:",
            },
            ScopeForm {
                form: "postgres://HOST[:PORT][/DATABASE][?ro]",
                grants: "a database of PostgreSQL, `*` standing for any characters, or all; with ?ro reading only",
                example: "db=postgres://db.example.com/app",
            },
            ScopeForm {
                form: "mysql://HOST[:PORT][/DATABASE][?ro]",
                grants: "the same of MySQL or MariaDB",
                example: "db=mysql://db.example.com/app?ro",
            },
        ]
    }

    fn scope(&self, text: &str, base: &Path) -> std::result::Result<Box<dyn Scope>, GrantError> {
        scope::parse(text, base)
    }

    /// What a file that is denied holds is not read as a database either.
    fn denied_with(&self, other: &str, scope: Option<&str>, base: &Path) -> assay_capability_api::Denied {
        use assay_capability_api::Denied::{Nothing, Part, Whole};
        match other {
            "fs" => scope::of_files(scope.unwrap_or("rw:/"), base).map_or(Whole, Part),
            _ => Nothing,
        }
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            Need::new("db.connect", Literal::Scope(place)),
            needs::read_option("db.connect", "ca_cert_file"),
            needs::read_option("db.connect", "client_cert_file"),
            needs::read_option("db.connect", "client_key_file"),
            Need::new("db.blob", Literal::Free),
            Need::new("db.null", Literal::Free),
            Need::new("db.*", Literal::Any),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        wit::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }

    fn target(&self, function: &str, args: &[Val]) -> Denied {
        let place = match args.first() {
            Some(Val::String(url)) => place(url),
            _ => None,
        };
        match place {
            Some(place) => Denied { what: format!("db to {place}"), scope: Some(place) },
            None => Denied { what: format!("db.{function}"), scope: None },
        }
    }
}

type Host = HasSelf<Ctx>;

/// What a script holds as a connection: a pool, or a transaction or session in it; `None` once it is closed.
pub struct ConnectionHandle {
    source: Option<ConnectionSource>,
}

/// Rows that a script pulls; none while a call works on them and when they are over.
pub struct Rows {
    running: Option<Box<Running>>,
    _handle: HandleGuard,
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.leave();
        }
    }
}

/// The pools of a run by URL and options, as long as something uses them.
#[derive(Default)]
struct Pools(HashMap<PoolKey, Weak<Pool>>);

/// A URL, and the options as they were given.
type PoolKey = (String, Vec<(String, String)>);

impl wit::Host for Ctx {}

async fn open(
    run: Arc<Run>,
    url: String,
    given: Vec<(String, String)>,
    known: Option<Arc<Pool>>,
) -> std::result::Result<Arc<Pool>, Error> {
    let (target, options) = target::parse(&url, &given)?;
    if let Some(pool) = known {
        // A rule may have been asked about, and each use is to be seen in the audit.
        match &pool.config {
            ConnectionConfig::Server(config) => drop(config.check(&run).await?),
            ConnectionConfig::Sqlite(_) => drop(locate(&run, target, &options).await?),
        }
        return Ok(pool);
    }
    let config = match target {
        Target::Server(server) => {
            ConnectionConfig::Server(Arc::new(configure(&run, *server, &options).await?))
        }
        file => ConnectionConfig::Sqlite(Arc::new(locate(&run, file, &options).await?)),
    };
    let pool = Pool::new(run, options, config);
    // What cannot be reached shows now, and the first statement has its connection.
    drop(pool.take().await?);
    Ok(pool)
}

async fn configure(
    run: &Arc<Run>,
    server: target::Server,
    options: &Options,
) -> std::result::Result<ServerConfig, Error> {
    let mut config = ServerConfig::new(run, server, options.read_only).await?;
    // A grant for reading only makes the connection so.
    if !config.read_only && config.only_readable(run) {
        config.read_only = true;
    }
    Ok(config)
}

async fn locate(
    run: &Arc<Run>,
    target: Target,
    options: &Options,
) -> std::result::Result<SqliteConfig, Error> {
    let (path, create) = match target {
        Target::File { path, create } => (path, create),
        _ => return SqliteConfig::memory(run, options),
    };
    let (run, options) = (run.clone(), options.clone());
    assay_capability_api::off_thread(move || SqliteConfig::file(&run, &path, create, &options)).await
}

impl wit::HostWithStore<Ctx> for Host {
    async fn connect(
        accessor: &Accessor<Ctx, Self>,
        url: String,
        mut options: Vec<(String, String)>,
    ) -> HostResult<Resource<ConnectionHandle>> {
        let run = accessor.with(|mut access| access.get().run.clone());
        let texts = options.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let texts: Vec<&str> = texts.chain([url.as_str()]).collect();
        let _held = run.hold(&texts).await?;
        options.sort_unstable();
        // Each database in memory is another.
        let shared = !url.contains(":memory:") && !url.contains("mode=memory");
        let key = (url.clone(), options.clone());
        let (run, known) = accessor.with(|mut access| {
            let ctx = access.get();
            let pools = ctx.state::<Pools>();
            let known = pools.0.get(&key).filter(|_| shared).and_then(Weak::upgrade);
            (ctx.run.clone(), known.filter(|pool| !pool.is_closed()))
        });
        let pool = open(run, url, options, known).await?;
        accessor.with(|mut access| {
            let ctx = access.get();
            if shared {
                let pools = ctx.state::<Pools>();
                pools.0.retain(|_, pool| pool.strong_count() > 0);
                pools.0.insert(key, Arc::downgrade(&pool));
            }
            Ok(ctx.table.push(ConnectionHandle { source: Some(ConnectionSource::Pool(pool)) })?)
        })
    }
}

impl wit::HostConnection for Ctx {
    fn drop(&mut self, this: Resource<ConnectionHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

/// Where the handle's statements get their connection, or the error that it is closed.
fn source(accessor: &Accessor<Ctx, Host>, this: &Resource<ConnectionHandle>) -> HostResult<ConnectionSource> {
    accessor.with(|mut access| {
        let connection = access.get().table.get(this)?;
        Ok(connection.source.clone().ok_or_else(closed)?)
    })
}

impl wit::HostConnectionWithStore<Ctx> for Host {
    async fn run(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<ConnectionHandle>,
        sql: String,
        params: Vec<u8>,
        want: Want,
    ) -> HostResult<Outcome> {
        let source = source(accessor, &this)?;
        let run = source.pool().run.clone();
        run::count(&run, &sql, &params)?;
        let mut memory = run::hold(&run, &sql, &params)?;
        let given = !params.is_empty();
        let set = if given { Reader::new(&params).list(&mut memory)? } else { Vec::new() };
        let bounds = run::bounds(source.pool(), want == Want::All, want == Want::None);
        let mut running = Running::new(source, Work { sql, sets: vec![set], given, _memory: memory }, bounds);
        match running.step().await? {
            Step::Done(done, batch) => {
                let batch = accessor.with(|mut access| batch.payload(access.get()))?;
                Ok(Outcome { batch, more: None, affected: done.affected, id: done.id })
            }
            Step::Batch(batch) => {
                let handle = run.take_handle()?;
                let rows = Rows { running: Some(Box::new(running)), _handle: handle };
                accessor.with(|mut access| {
                    let rows = access.get().table.push(rows)?;
                    let batch = batch.payload(access.get())?;
                    Ok(Outcome { batch, more: Some(rows), affected: 0, id: None })
                })
            }
        }
    }

    async fn batch(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<ConnectionHandle>,
        sql: String,
        sets: Vec<u8>,
    ) -> HostResult<u64> {
        let source = source(accessor, &this)?;
        run::count(&source.pool().run, &sql, &sets)?;
        let mut memory = run::hold(&source.pool().run, &sql, &sets)?;
        let mut reader = Reader::new(&sets);
        let mut list = Vec::new();
        while !reader.is_empty() {
            memory.grow(2 * size_of::<Vec<value::Param>>())?;
            list.push(reader.list(&mut memory)?);
        }
        drop(sets);
        let bounds = run::bounds(source.pool(), false, true);
        let mut running =
            Running::new(source, Work { sql, sets: list, given: true, _memory: memory }, bounds);
        Ok(running.finish().await?.affected)
    }

    async fn script(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<ConnectionHandle>,
        sql: String,
    ) -> HostResult<()> {
        let source = source(accessor, &this)?;
        run::count(&source.pool().run, &sql, &[])?;
        let _memory = run::hold(&source.pool().run, &sql, &[])?;
        Ok(run::script(&source, sql).await?)
    }

    async fn begin(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<ConnectionHandle>,
    ) -> HostResult<Resource<ConnectionHandle>> {
        let source = source(accessor, &this)?;
        let transaction = run::begin(&source).await?;
        let connection =
            ConnectionHandle { source: Some(ConnectionSource::Transaction(Arc::new(transaction))) };
        Ok(accessor.with(|mut access| access.get().table.push(connection))?)
    }

    async fn session(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<ConnectionHandle>,
    ) -> HostResult<Resource<ConnectionHandle>> {
        let source = source(accessor, &this)?;
        let session = run::session(&source).await?;
        let connection = ConnectionHandle { source: Some(ConnectionSource::Transaction(Arc::new(session))) };
        Ok(accessor.with(|mut access| access.get().table.push(connection))?)
    }

    async fn end(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<ConnectionHandle>,
        commit: bool,
    ) -> HostResult<()> {
        match source(accessor, &this)? {
            ConnectionSource::Transaction(transaction) => Ok(run::end(&transaction, commit).await?),
            ConnectionSource::Pool(_) => Err(errors::invalid("db: there is no transaction to end").into()),
        }
    }

    async fn close(accessor: &Accessor<Ctx, Self>, this: Resource<ConnectionHandle>) -> HostResult<()> {
        let source = accessor
            .with(|mut access| Ok::<_, wasmtime::Error>(access.get().table.get_mut(&this)?.source.take()))?;
        if let Some(ConnectionSource::Pool(pool)) = source
            // Others that connected to the same go on.
            && let Some(pool) = Arc::into_inner(pool)
        {
            pool.close().await;
        }
        Ok(())
    }
}

impl wit::HostRows for Ctx {
    fn drop(&mut self, this: Resource<Rows>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::HostRowsWithStore<Ctx> for Host {
    async fn next(accessor: &Accessor<Ctx, Self>, this: Resource<Rows>) -> HostResult<Payload> {
        let taken = accessor
            .with(|mut access| Ok::<_, wasmtime::Error>(access.get().table.get_mut(&this)?.running.take()))?;
        let Some(mut running) = taken else { return Ok(Payload::Small(Vec::new())) };
        match running.step().await? {
            Step::Done(_, batch) => Ok(accessor.with(|mut access| batch.payload(access.get()))?),
            Step::Batch(batch) => accessor.with(|mut access| {
                access.get().table.get_mut(&this)?.running = Some(running);
                Ok(batch.payload(access.get())?)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_database_and_no_secret() {
        for (url, scope) in [
            ("postgres://me:secret@DB.example/app?sslmode=require", Some("postgres://db.example:5432/app")),
            ("mariadb://me:secret@[::1]/app?ro", Some("mysql://[::1]:3306/app?ro")),
            ("sqlite:a.db", Some("sqlite:a.db")),
            ("sqlite:///x/a.db?mode=ro", Some("sqlite:/x/a.db?ro")),
            ("sqlite::memory:", Some("sqlite::memory:")),
            ("nonsense", None),
        ] {
            let denied = Db.target("connect", &[Val::String(url.into())]);
            assert_eq!(denied.scope.as_deref(), scope, "{url}");
            assert!(!denied.what.contains("secret"));
        }
    }
}
