//! `oci`: container images in registries. The functions are in `oci.lua`, over the natives of this file.

use crate::call::{
    Call, Error, Fields, ITEM, Returned, failure, gather, keep, prelude, push_library, set_library,
};
use crate::host::oci::{self, Action, Changes, Content, File, Job, Login, Request, Step};
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use crate::task::{Pending, wait};
use crate::userdata::{self, Closable, Userdata};
use crate::{function, waiting};

const TIMEOUT: f64 = 3600.0;
const RETRIES: u32 = 4;
const MAX_BLOB: u64 = 16 << 30;

pub fn register(lua: Lua) {
    lua.new_table(0, 9);
    lua.push_copy(-1);
    set_library(lua, "oci");
    push_library(
        lua,
        &[
            ("start", function!(start)),
            ("advance", waiting!(advance)),
            ("abandon", function!(abandon)),
            ("failure", function!(failure)),
        ],
    );
    lua.insert(-2);
    lua.raw_set(-2, "oci");
    prelude(lua, "oci", include_str!("oci.lua"));
}

/// What is being done; none once it is over or given up.
struct Doing(Closable<Job>);

impl Userdata for Doing {
    crate::named!(c"oci.job");
}

/// `start(action, source, destination, options)` gives a handle for `advance`. The options are flat: the
/// logins have their fields as `src_username` and the like.
fn start(call: Call) -> Returned {
    let job = read(call).map_err(as_failure)?;
    userdata::push(call.lua(), Doing(Closable::new(job)))?;
    Ok(1)
}

/// An option that is wrong is told by its name; the position of the native's argument means nothing to
/// the caller of the function.
fn as_failure(error: Error) -> Error {
    match error {
        Error::Argument(_, message) => Error::failed(ErrorCode::InvalidArgument, format!("oci: {message}")),
        other => other,
    }
}

fn read(call: Call) -> Result<Job, Error> {
    let action = match call.str(1)? {
        "copy" => Action::Copy,
        "tag" => Action::Tag,
        "mutate" => Action::Mutate,
        "manifest" => Action::Manifest,
        "config" => Action::Config,
        "tags" => Action::Tags,
        "digest" => Action::Digest,
        "pull" => Action::Pull,
        _ => Action::Push,
    };
    let options = call.table(4)?;
    let seconds = options.number("timeout")?.unwrap_or(TIMEOUT);
    let timeout = crate::value::nanoseconds(seconds)
        .ok_or_else(|| options.invalid("timeout", "a number of seconds expected, 0 for no bound"))?;
    let retries = match options.integer("retries")? {
        None => RETRIES,
        Some(number) => u32::try_from(number)
            .map_err(|_| options.invalid("retries", "a number of attempts after the first expected"))?,
    };
    let max_blob = match options.integer("max_blob")? {
        None => MAX_BLOB,
        Some(bytes) => u64::try_from(bytes)
            .map_err(|_| options.invalid("max_blob", "a number of bytes expected, 0 for no bound"))?,
    };
    let login = |side: &str| {
        let field = |name: &str| options.string(&format!("{side}_{name}"));
        Ok::<_, Error>(Login {
            username: field("username")?,
            password: field("password")?,
            token: field("token")?,
        })
    };
    let certificate = pem(options, "client_cert")?;
    let key = pem(options, "client_key")?;
    if key.is_some() && certificate.is_none() {
        return Err(options.invalid("client_key", "it needs client_cert or client_cert_file"));
    }
    let request = Request {
        source: call.string(2)?,
        destination: call.string(3)?,
        source_login: login("src")?,
        destination_login: login("dst")?,
        docker_config: options.string("docker_config")?,
        platform: options.string("platform")?,
        name: options.string("name")?,
        files: gather(call.lua(), || files(options))?,
        changes: gather(call.lua(), || changes(options))?,
        plain_http: options.strings("plain_http")?,
        authorities: pem(options, "ca_cert")?,
        certificate,
        key,
        fingerprints: super::http::options::fingerprints(options)?,
        max_blob,
        timeout,
        retries,
    };
    Ok(oci::start(action, &request)?)
}

fn pem(options: Fields, name: &str) -> Result<Option<Content>, Error> {
    let file = format!("{name}_file");
    match (options.bytes(name)?, options.string(&file)?) {
        (Some(_), Some(_)) => Err(options.invalid(name, &format!("give only one of {name} and {file}"))),
        (Some(text), None) => Ok(Some(Content::Data(text))),
        (None, path) => Ok(path.map(Content::File)),
    }
}

/// What `mutate` changes; names and values come one after the other.
fn changes(options: Fields) -> Result<Changes, Error> {
    let pairs = |name: &str| {
        let mut texts = options.strings(name)?.unwrap_or_default().into_iter();
        let mut pairs = Vec::new();
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            pairs.push((name, value));
        }
        Ok::<_, Error>(pairs)
    };
    Ok(Changes {
        labels: pairs("labels")?,
        annotations: pairs("annotations")?,
        env: pairs("env")?,
        cmd: options.strings("cmd")?,
        entrypoint: options.strings("entrypoint")?,
        user: options.string("user")?,
        workdir: options.string("workdir")?,
        exposed_ports: options.strings("exposed_ports")?,
        platform: options.string("set_platform")?,
    })
}

/// The list in field `files`: tables with `path`, `mode`, and `content` or `file`.
fn files(options: Fields) -> Result<Vec<File>, Error> {
    let lua = options.lua;
    let mut files = Vec::new();
    if options.push("files") == Type::Table {
        for n in 1..=lua.raw_len(-1) {
            lua.raw_get_index(-1, n as i64);
            keep(lua, 2 * ITEM)?;
            let entry = Call(lua).table(-1)?;
            let content = match entry.string("file")? {
                Some(path) => Content::File(path),
                None => Content::Data(entry.bytes("content")?.unwrap_or_default()),
            };
            let path = entry.string("path")?.unwrap_or_default();
            let mode = match entry.push("mode") {
                Type::Nil => 0o644,
                Type::String | Type::Integer | Type::Float => {
                    super::fs::mode(Call(lua), -1).map_err(|error| match error {
                        Error::Argument(_, why) => options.invalid("files", &format!("'{path}': {why}")),
                        other => other,
                    })?
                }
                _ => {
                    return Err(options
                        .invalid("files", &format!("'{path}': the mode is neither a string nor a number")));
                }
            };
            lua.pop(1);
            files.push(File { path, content, mode });
            lua.pop(1);
        }
    }
    lua.pop(1);
    Ok(files)
}

/// `advance(handle, seconds)` gives `false, done, total` for a report and `true, json` at the end.
fn advance(call: Call) -> Result<Pending, Error> {
    let every = crate::value::nanoseconds(call.number(2)?).unwrap_or(0);
    let Some(job) = call.userdata::<Doing>(1)?.0.get() else {
        return Err(Error::failed(ErrorCode::InvalidArgument, "it is over"));
    };
    wait(async move {
        let step = job.next(every).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            match &step {
                Step::Progress((done, total)) => {
                    lua.push_bool(false);
                    lua.push_integer(i64::try_from(*done).unwrap_or(i64::MAX));
                    lua.push_integer(i64::try_from(*total).unwrap_or(i64::MAX));
                    Ok(3)
                }
                Step::Done(json) => {
                    lua.push_bool(true);
                    lua.push_str(json);
                    Ok(2)
                }
            }
        })
    })
}

/// Ends the work now, not when the handle is collected.
fn abandon(call: Call) -> Returned {
    drop(call.userdata::<Doing>(1)?.0.take());
    Ok(0)
}
