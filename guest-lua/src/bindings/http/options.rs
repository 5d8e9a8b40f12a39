//! The options of a request, from Lua to what the host takes.

use crate::call::{Call, Error, Fields, ITEM, carry, copy, keep};
use crate::ffi::lua_next;
use crate::host::http::{
    ClientIdentity, Content, FileOptions, Header, Part, Pem, Request, RequestBody, Want,
};
use crate::host::types::ErrorCode;
use crate::lua::{Lua, Type};
use crate::options::{unknown, unknown_beside};
use crate::region::region;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;

const TIMEOUT: f64 = 30.0;
const CONNECT_TIMEOUT: f64 = 10.0;
const MAX_REDIRECTS: u32 = 10;
const MAX_BODY: u64 = 64 << 20;
const MAX_DOWNLOAD: u64 = 1 << 30;

/// Bytes that stay as they are in a query (RFC 3986 2.3), and in a form (WHATWG URL 5.1).
const QUERY_SAFE: &[u8] = b"-._~";
const FORM_SAFE: &[u8] = b"*-._";

/// What `perform` sends, and how it takes the answer.
pub struct Prepared {
    pub request: Request,
    pub want: Want,
}

/// Reads the arguments `method, url, body, options, want`.
///
/// # Errors
/// `invalid_argument`, with the name of the option.
pub fn read(call: Call) -> Result<Prepared, Error> {
    let want = match call.opt_str(5)? {
        Some("stream") => Want::Stream,
        Some("events") => Want::Events,
        _ => Want::Whole,
    };
    let method = call.string(1)?;
    let options = call.opt_table(4)?;
    let request = Reading { call, options }.request(method, call.str(2)?, 3, want).map_err(as_failure)?;
    Ok(Prepared { request, want })
}

/// Reads the arguments `url, path, options` of a download.
///
/// # Errors
/// `invalid_argument`, with the name of the option.
pub fn read_download(call: Call) -> Result<(Request, String, FileOptions), Error> {
    let path = call.string(2)?;
    let options = call.opt_table(3)?;
    let read = || {
        let method = match options {
            Some(options) => options.string("method")?.unwrap_or_else(|| "GET".into()),
            None => "GET".into(),
        };
        // The file gets the bytes that the server sends: an archive is not unpacked on the way.
        let mut request = Reading { call, options }.request(method, call.str(1)?, 0, Want::Stream)?;
        request.decode = false;
        let mut saving =
            FileOptions { max_size: MAX_DOWNLOAD, sha256: None, resume: false, if_changed: false };
        if let Some(options) = options {
            saving.max_size = bytes(options, "max_size")?.unwrap_or(MAX_DOWNLOAD);
            saving.sha256 = options.string("sha256")?;
            saving.resume = options.boolean("resume")?.unwrap_or(false);
            saving.if_changed = options.boolean("if_changed")?.unwrap_or(false);
        }
        Ok((request, path, saving))
    };
    read().map_err(as_failure)
}

/// Reads the arguments `url, options` of a connection that begins as a request: header fields, TLS,
/// credentials, proxy and timeouts.
///
/// # Errors
/// `invalid_argument`, with the name of the option.
pub fn read_connection(call: Call) -> Result<Request, Error> {
    let options = call.opt_table(2)?;
    Reading { call, options }.request("GET".into(), call.str(1)?, 0, Want::Whole)
}

/// An option that is wrong is told by its name; the position of the native's argument means nothing to
/// the caller of the verb.
fn as_failure(error: Error) -> Error {
    match error {
        Error::Argument(_, message) => invalid(format!("http: {message}")),
        other => other,
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::failed(ErrorCode::InvalidArgument, message)
}

fn bytes(options: Fields, name: &str) -> Result<Option<u64>, Error> {
    match options.integer(name)? {
        None => Ok(None),
        Some(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| options.invalid(name, "a number of bytes expected, 0 for no bound")),
    }
}

fn duration(options: Fields, name: &str) -> Result<Option<u64>, Error> {
    match options.number(name)? {
        None => Ok(None),
        Some(seconds) => crate::value::nanoseconds(seconds)
            .map(Some)
            .ok_or_else(|| options.invalid(name, "a number of seconds expected, 0 for no bound")),
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

struct Reading {
    call: Call,
    options: Option<Fields>,
}

impl Reading {
    /// `body` is the index of the body among the arguments, 0 for none.
    fn request(&self, method: String, url: &str, body: c_int, want: Want) -> Result<Request, Error> {
        let given = (body != 0 && !self.call.is_nil(body)).then_some(body);
        let mut request = Request {
            method,
            url: url.to_string(),
            headers: Vec::new(),
            body: RequestBody::None,
            basic_auth: None,
            want,
            decode: true,
            timeout: 0,
            response_timeout: 0,
            connect_timeout: nanoseconds(CONNECT_TIMEOUT),
            max_redirects: MAX_REDIRECTS,
            max_body: if want == Want::Whole { MAX_BODY } else { 0 },
            authorities: None,
            identity: None,
            fingerprints: Vec::new(),
            proxy: None,
        };
        let mut content_type = None;
        let mut timeout = None;
        if let Some(index) = given {
            request.body = value_body(self.call.lua(), index, &mut content_type)?;
        }
        if let Some(options) = self.options {
            self.read_options(options, &mut request)?;
            timeout = duration(options, "timeout")?;
            if let Some(body) = option_body(options, given.is_some(), &mut content_type)? {
                request.body = body;
            }
        }
        // A body that goes on for long is bounded only by what the script says; its beginning always is.
        match (timeout, want) {
            (Some(timeout), _) => request.timeout = timeout,
            (None, Want::Whole) => request.timeout = nanoseconds(TIMEOUT),
            (None, _) => request.response_timeout = nanoseconds(TIMEOUT),
        }
        if let Some(content_type) = content_type
            && !request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-type"))
        {
            request
                .headers
                .push(Header { name: "content-type".into(), value: content_type.as_bytes().to_vec() });
        }
        Ok(request)
    }

    fn read_options(&self, options: Fields, request: &mut Request) -> Result<(), Error> {
        request.headers = headers(options)?;
        if let Some(query) = multimap(options, "query")? {
            let url = &request.url;
            let full = region(options.lua, || with_query(url, &encode(&query, QUERY_SAFE, "%20")))?;
            carry(full.len())?;
            request.url = full;
        }
        if let Some(timeout) = duration(options, "connect_timeout")? {
            request.connect_timeout = timeout;
        }
        if let Some(most) = options.integer("max_redirects")? {
            request.max_redirects = u32::try_from(most).map_err(|_| {
                options.invalid("max_redirects", &format!("{most} is not a number from 0 to 4294967295"))
            })?;
        }
        if options.boolean("follow_redirects")? == Some(false) {
            request.max_redirects = 0;
        }
        if let Some(most) = bytes(options, "max_body")? {
            request.max_body = most;
        }
        if let Some(decode) = options.boolean("decompress")? {
            request.decode = decode;
        }
        if options.push("insecure") != Type::Nil && options.lua.boolean(-1) {
            return Err(Error::failed(
                ErrorCode::Unsupported,
                "certificates are always checked; name the server's authority with ca_cert or ca_cert_file",
            ));
        }
        options.lua.pop(1);
        request.authorities = pem(options, "ca_cert")?;
        let certificate = pem(options, "client_cert")?;
        request.identity = match (certificate, pem(options, "client_key")?) {
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key }),
            // One file often holds both.
            (Some(certificate), None) => Some(ClientIdentity { key: certificate.clone(), certificate }),
            (None, Some(_)) => {
                return Err(options.invalid("client_key", "it needs client_cert or client_cert_file"));
            }
            (None, None) => None,
        };
        request.fingerprints = fingerprints(options)?;
        self.credentials(options, request)?;
        request.proxy = match options.push("proxy") {
            Type::Boolean if !options.lua.boolean(-1) => Some(String::new()),
            _ => options.string("proxy")?,
        };
        options.lua.pop(1);
        Ok(())
    }

    fn credentials(&self, options: Fields, request: &mut Request) -> Result<(), Error> {
        let lua = options.lua;
        if options.push("basic_auth") == Type::Table {
            if let Some(why) = unknown_beside(lua, -1, &["user", "username", "pass", "password"], 2) {
                return Err(options.invalid("basic_auth", &why));
            }
            let field = |names: [&str; 2], position: i64| {
                for name in names {
                    if lua.raw_get(-1, name) != Type::Nil {
                        return;
                    }
                    lua.pop(1);
                }
                lua.raw_get_index(-1, position);
            };
            field(["user", "username"], 1);
            let user = scalar(lua, -1)?;
            lua.pop(1);
            field(["pass", "password"], 2);
            // A name alone has an empty password.
            let password = if lua.is_nil(-1) { Some(Vec::new()) } else { scalar(lua, -1)? };
            lua.pop(1);
            let text = |value: Option<Vec<u8>>| value.and_then(|value| String::from_utf8(value).ok());
            let (Some(user), Some(password)) = (text(user), text(password)) else {
                return Err(
                    options.invalid("basic_auth", "{user = ..., pass = ...} expected, as UTF-8 strings")
                );
            };
            request.basic_auth = Some((user, password));
        } else if !lua.is_nil(-1) {
            return Err(options.invalid("basic_auth", "{user = ..., pass = ...} expected"));
        }
        lua.pop(1);
        if let Some(token) = options.string("bearer")? {
            if request.basic_auth.is_some() {
                return Err(options.invalid("bearer", "give only one of basic_auth and bearer"));
            }
            request.headers.retain(|header| !header.name.eq_ignore_ascii_case("authorization"));
            let value = format!("Bearer {token}").into_bytes();
            request.headers.push(Header { name: "authorization".into(), value });
        }
        Ok(())
    }
}

/// The option `tls`: `{fingerprint = "sha256:..."}`, or a list of them.
///
/// # Errors
/// `invalid_argument`.
pub fn fingerprints(options: Fields) -> Result<Vec<String>, Error> {
    let lua = options.lua;
    let kind = options.push("tls");
    let read = || match kind {
        Type::Nil => Ok(Vec::new()),
        Type::Table => {
            if let Some(why) = unknown(lua, -1, &["fingerprint"]) {
                return Err(options.invalid("tls", &why));
            }
            let named = Call(lua).table(-1)?.strings("fingerprint")?;
            named
                .filter(|named| !named.is_empty())
                .ok_or_else(|| options.invalid("tls", "{fingerprint = \"sha256:...\"} expected"))
        }
        _ => Err(options.invalid("tls", "{fingerprint = \"sha256:...\"} expected")),
    };
    let named = read()?;
    lua.pop(1);
    Ok(named)
}

/// A string, or a number or boolean as its text.
fn scalar(lua: Lua, index: c_int) -> Result<Option<Vec<u8>>, Error> {
    keep(lua, ITEM)?;
    match lua.type_of(index) {
        Type::String => lua.bytes(index).map(|bytes| copy(lua, bytes)).transpose(),
        Type::Integer | Type::Float | Type::Boolean => Ok(Some(lua.display(index)?.into_bytes())),
        _ => Ok(None),
    }
}

/// Calls `take` for each pair of the table at `index`, the key as text and the value on top of the stack.
fn each(lua: Lua, index: c_int, mut take: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    let index = lua.abs(index);
    lua.push_nil();
    while unsafe { lua_next(lua.0, index) } != 0 {
        // A copy, because reading a number as text would confuse `lua_next`.
        let key = match lua.bytes(-2).map(std::str::from_utf8) {
            Some(Ok(key)) => key,
            _ => return Err(invalid("http: names must be strings of UTF-8")),
        };
        take(key)?;
        lua.pop(1);
    }
    Ok(())
}

/// A value, or each value of a list.
fn values(lua: Lua) -> Result<Option<Vec<Vec<u8>>>, Error> {
    if lua.type_of(-1) != Type::Table {
        return Ok(scalar(lua, -1)?.map(|value| vec![value]));
    }
    let mut list = Vec::new();
    let Some(length) = lua.list_len(-1) else { return Ok(None) };
    for n in 1..=length {
        lua.raw_get_index(-1, n);
        let value = scalar(lua, -1)?;
        lua.pop(1);
        let Some(value) = value else { return Ok(None) };
        list.push(value);
    }
    Ok(Some(list))
}

/// Values by name.
type Multimap = BTreeMap<String, Vec<Vec<u8>>>;

/// The table in field `name`, by name in the order of the alphabet.
fn multimap(options: Fields, name: &str) -> Result<Option<Multimap>, Error> {
    let lua = options.lua;
    let map = match options.push(name) {
        Type::Nil => None,
        Type::Table => {
            let mut map = BTreeMap::new();
            each(lua, -1, |key| {
                let values = values(lua)?.ok_or_else(|| {
                    options.invalid(
                        name,
                        &format!("'{key}': a string, number, boolean or a list of them expected"),
                    )
                })?;
                keep(lua, ITEM + key.len())?;
                map.insert(key.to_string(), values);
                Ok(())
            })?;
            Some(map)
        }
        _ => return Err(options.invalid(name, "a table expected")),
    };
    lua.pop(1);
    Ok(map)
}

/// A list of what `make` makes of each value and its name.
fn named<T>(lua: Lua, map: Multimap, make: impl Fn(String, Vec<u8>) -> T) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    for (name, values) in map {
        for value in values {
            keep(lua, size_of::<T>() + name.len())?;
            list.push(make(name.clone(), value));
        }
    }
    Ok(list)
}

fn headers(options: Fields) -> Result<Vec<Header>, Error> {
    let map = multimap(options, "headers")?.unwrap_or_default();
    // Names have no case: of "Accept" and "accept" one would win by chance.
    let mut seen = BTreeSet::new();
    for name in map.keys() {
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(options.invalid("headers", &format!("'{name}' is there twice, in another case")));
        }
    }
    named(options.lua, map, |name, value| Header { name, value })
}

fn pem(options: Fields, name: &str) -> Result<Option<Pem>, Error> {
    let file = format!("{name}_file");
    match (options.bytes(name)?, options.string(&file)?) {
        (Some(_), Some(_)) => Err(options.invalid(name, &format!("give only one of {name} and {file}"))),
        (Some(text), None) => Ok(Some(Pem::Text(text))),
        (None, Some(path)) => Ok(Some(Pem::File(path))),
        (None, None) => Ok(None),
    }
}

/// A body that is a value: bytes as they are, a table as JSON.
fn value_body(lua: Lua, index: c_int, content_type: &mut Option<&'static str>) -> Result<RequestBody, Error> {
    match lua.type_of(index) {
        Type::Table => {
            *content_type = Some("application/json");
            Ok(RequestBody::Data(
                crate::bindings::json::encode_with(lua, lua.abs(index), 0, "http")?.into_bytes(),
            ))
        }
        _ => match scalar(lua, index)? {
            Some(bytes) => Ok(RequestBody::Data(bytes)),
            None => Err(invalid("http: the body must be a string, or a table to send as JSON")),
        },
    }
}

/// The body that an option gives: `body`, `json`, `form`, `multipart` or `body_file`.
fn option_body(
    options: Fields,
    given: bool,
    content_type: &mut Option<&'static str>,
) -> Result<Option<RequestBody>, Error> {
    let lua = options.lua;
    let mut found = None;
    for name in ["body", "json", "form", "multipart", "body_file"] {
        let present = options.push(name) != Type::Nil;
        lua.pop(1);
        if !present {
            continue;
        }
        if given || found.is_some() {
            return Err(options.invalid(name, "give only one body: body, json, form, multipart or body_file"));
        }
        found = Some(name);
    }
    let Some(name) = found else { return Ok(None) };
    let body = match name {
        "form" => {
            *content_type = Some("application/x-www-form-urlencoded");
            let form = multimap(options, name)?.unwrap_or_default();
            let form = region(lua, || encode(&form, FORM_SAFE, "+"))?;
            carry(form.len())?;
            RequestBody::Data(form.into_bytes())
        }
        "multipart" => RequestBody::Multipart(parts(options)?),
        "body_file" => RequestBody::File(options.string(name)?.unwrap_or_default()),
        "json" => {
            options.push(name);
            *content_type = Some("application/json");
            let json = crate::bindings::json::encode_with(lua, lua.abs(-1), 0, "http")?.into_bytes();
            lua.pop(1);
            RequestBody::Data(json)
        }
        _ => {
            options.push(name);
            let body = value_body(lua, -1, content_type)?;
            lua.pop(1);
            body
        }
    };
    Ok(Some(body))
}

/// The parts of a multipart form: a list of `{name, value | path, filename?, content_type?}`, or a table
/// of names and values.
fn parts(options: Fields) -> Result<Vec<Part>, Error> {
    let lua = options.lua;
    if options.push("multipart") != Type::Table {
        return Err(options.invalid("multipart", "a list of parts expected"));
    }
    let length = lua.raw_len(-1);
    lua.pop(1);
    if length == 0 {
        let map = multimap(options, "multipart")?.unwrap_or_default();
        return named(lua, map, |name, value| Part {
            name,
            filename: None,
            content_type: None,
            content: Content::Data(value),
        });
    }
    options.push("multipart");
    if unknown_beside(lua, -1, &[], i64::try_from(length).unwrap_or(i64::MAX)).is_some() {
        return Err(
            options.invalid("multipart", "a list of parts or a table of names and values expected, not both")
        );
    }
    let mut parts = Vec::new();
    for n in 1..=length {
        let wrong = |why: &str| options.invalid("multipart", &format!("part {n}: {why}"));
        if lua.raw_get_index(-1, n as i64) != Type::Table {
            return Err(wrong("a table expected"));
        }
        if let Some(why) = unknown(lua, -1, &["name", "value", "path", "filename", "content_type"]) {
            return Err(wrong(&why));
        }
        let field = |name: &str| {
            let present = lua.raw_get(-1, name) != Type::Nil;
            let value = scalar(lua, -1)?;
            lua.pop(1);
            match value {
                None if present => Err(wrong(&format!("'{name}': a string expected"))),
                value => Ok(value),
            }
        };
        keep(lua, 2 * ITEM)?;
        let text = |name: &str| {
            field(name)?
                .map(String::from_utf8)
                .transpose()
                .map_err(|_| wrong(&format!("'{name}': not valid UTF-8")))
        };
        let name = text("name")?.ok_or_else(|| wrong("'name' is missing"))?;
        let mut filename = text("filename")?;
        let content = match (field("value")?, text("path")?) {
            (Some(value), None) => Content::Data(value),
            (None, Some(path)) => {
                if filename.is_none() {
                    filename = path.rsplit('/').next().map(str::to_string);
                }
                Content::File(path)
            }
            _ => return Err(wrong("one of 'value' and 'path' expected")),
        };
        parts.push(Part { name, filename, content_type: text("content_type")?, content });
        lua.pop(1);
    }
    lua.pop(1);
    Ok(parts)
}

/// `a=1&b=2`, percent-encoded.
fn encode(map: &BTreeMap<String, Vec<Vec<u8>>>, safe: &[u8], space: &str) -> String {
    let mut out = String::new();
    let escape = |text: &[u8], out: &mut String| {
        for byte in text {
            match byte {
                byte if byte.is_ascii_alphanumeric() || safe.contains(byte) => out.push(char::from(*byte)),
                b' ' => out.push_str(space),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
    };
    for (name, values) in map {
        for value in values {
            if !out.is_empty() {
                out.push('&');
            }
            escape(name.as_bytes(), &mut out);
            out.push('=');
            escape(value, &mut out);
        }
    }
    out
}

/// A URL with more query, before its fragment.
fn with_query(url: &str, query: &str) -> String {
    if query.is_empty() {
        return url.to_string();
    }
    let (start, fragment) = match url.split_once('#') {
        Some((start, fragment)) => (start, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let joint = match start.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, old)) if old.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{start}{joint}{query}{fragment}")
}
