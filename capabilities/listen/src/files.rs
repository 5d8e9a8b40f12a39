//! Files as responses: types, conditions and ranges (RFC 9110 8.8, 13, 14), streamed by the host.

use crate::body::{Body, FileBody};
use crate::mime;
use crate::router::decode;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, io_error};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// Files up to this size are read at once: no second trip to a thread that may block.
const SMALL: u64 = 64 << 10;

/// What is to be sent.
pub struct Wanted {
    pub status: StatusCode,
    pub root: String,
    /// Below the root, as the request has it: encoded.
    pub path: String,
    pub index: Option<String>,
    pub dotfiles: bool,
    pub cache_control: Option<HeaderValue>,
    pub headers: HeaderMap,
}

/// The parts of a request that decide what of the file is sent.
pub struct Asked {
    pub method: Method,
    /// The whole path and query, for the redirect of a directory without its slash.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
}

/// The name below the root that a path means; none where it is no name of a file that may be served. Dots,
/// encoded or not, and what decodes to a slash lead nowhere, so that a name has one spelling.
fn relative(path: &str, dotfiles: bool) -> Option<String> {
    let mut name = String::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let segment = decode(segment);
        let hidden = segment.starts_with('.') && !dotfiles;
        if hidden || segment == "." || segment == ".." || segment.contains(['/', '\\', '\0']) {
            return None;
        }
        if !name.is_empty() {
            name.push('/');
        }
        name.push_str(&segment);
    }
    Some(name)
}

enum Opened {
    File(File, Box<Metadata>, String),
    /// A directory, asked for without a slash at its end.
    Directory,
    Nothing,
}

/// Opens the file of a request. Every way to it is checked by `fs`.
fn open(run: &Run, wanted: &Wanted) -> Result<Opened, Error> {
    let Some(name) = relative(&wanted.path, wanted.dotfiles) else { return Ok(Opened::Nothing) };
    let directory = name.is_empty() || wanted.path.ends_with('/');
    let join = |name: &str| format!("{}/{name}", wanted.root.trim_end_matches('/'));
    let path = match (&wanted.index, directory) {
        // A script that names one file.
        (None, true) if wanted.path.is_empty() => wanted.root.clone(),
        (Some(index), true) if name.is_empty() => join(index),
        (Some(index), true) => join(&format!("{name}/{index}")),
        (None, true) => return Ok(Opened::Nothing),
        (_, false) => join(&name),
    };
    let file = match assay_capability_fs::open_read(run, &path) {
        Ok(file) => file,
        // EISDIR: only a directory that has something to show is worth a redirect.
        Err(failure) if failure.errno == 21 && !directory && wanted.index.is_some() => {
            return Ok(Opened::Directory);
        }
        Err(failure)
            if matches!(failure.code, ErrorCode::NotFound) || matches!(failure.errno, 20 | 21 | 36 | 40) =>
        {
            return Ok(Opened::Nothing);
        }
        Err(failure) => return Err(failure),
    };
    let metadata = file.metadata().map_err(|failure| io_error(&path, &failure))?;
    if !metadata.is_file() {
        return Ok(Opened::Nothing);
    }
    Ok(Opened::File(file, Box::new(metadata), path))
}

/// Makes the response. Blocks on the disk.
///
/// # Errors
/// `denied`, or the operating system's other than that there is no such file.
pub fn respond(run: &Run, wanted: Wanted, asked: &Asked) -> Result<Response<Body>, Error> {
    if asked.method != Method::GET && asked.method != Method::HEAD {
        let mut response = crate::connection::plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let (mut file, metadata, path) = match open(run, &wanted)? {
        Opened::File(file, metadata, path) => (file, metadata, path),
        Opened::Nothing => return Ok(crate::connection::plain(StatusCode::NOT_FOUND, "not found")),
        Opened::Directory => return Ok(redirect(asked)),
    };
    let length = metadata.len();
    let etag = etag(&metadata);
    let modified = metadata.modified().ok();
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: Result<HeaderValue, _>| {
        if let Ok(value) = value {
            headers.insert(name, value);
        }
    };
    set(ETAG, HeaderValue::from_str(&etag));
    set(ACCEPT_RANGES, Ok(HeaderValue::from_static("bytes")));
    if let Some(modified) = modified {
        set(LAST_MODIFIED, HeaderValue::from_str(&httpdate::fmt_http_date(modified)));
    }
    set(CONTENT_TYPE, Ok(HeaderValue::from_static(mime::of(&path))));
    // A type that is wrong must not become a page that runs.
    set(http::header::X_CONTENT_TYPE_OPTIONS, Ok(HeaderValue::from_static("nosniff")));
    if let Some(cache_control) = &wanted.cache_control {
        set(CACHE_CONTROL, Ok(cache_control.clone()));
    }
    for (name, value) in &wanted.headers {
        headers.insert(name, value.clone());
    }
    if wanted.status != StatusCode::OK {
        // A page for an error is no file that was asked for: neither conditions nor ranges apply to it.
        *response.status_mut() = wanted.status;
        *response.body_mut() =
            stretch(run, &mut file, 0, length).map_err(|failure| io_error(&path, &failure))?;
        return Ok(response);
    }
    match condition(&asked.headers, &etag, modified) {
        Condition::Go => {}
        Condition::Failed => {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            return Ok(response);
        }
        Condition::NotModified => {
            response.headers_mut().remove(CONTENT_TYPE);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
    }
    let (start, count) = match range(&asked.headers, &etag, modified, length) {
        Ranged::Whole => (0, length),
        Ranged::Part(start, end) => {
            let text = format!("bytes {start}-{}/{length}", end - 1);
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (start, end - start)
        }
        Ranged::Unsatisfiable => {
            response.headers_mut().remove(CONTENT_TYPE);
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(response);
        }
    };
    run.count_bytes(usize::try_from(count).unwrap_or(usize::MAX))?;
    *response.body_mut() =
        stretch(run, &mut file, start, count).map_err(|failure| io_error(&path, &failure))?;
    Ok(response)
}

fn redirect(asked: &Asked) -> Response<Body> {
    let mut response = crate::connection::plain(StatusCode::PERMANENT_REDIRECT, "");
    // Two slashes at the start would be another host.
    let mut place = format!("/{}/", asked.path.trim_matches('/'));
    if let Some(query) = &asked.query {
        place.push('?');
        place.push_str(query);
    }
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// The bytes of a file from `start` on.
fn stretch(run: &Run, file: &mut File, start: u64, count: u64) -> std::io::Result<Body> {
    if start > 0 {
        file.seek(SeekFrom::Start(start))?;
    }
    if count > SMALL {
        let file = file.try_clone()?;
        return Ok(Body::File(Box::new(FileBody::new(file, count, run))));
    }
    let mut data = Vec::with_capacity(count as usize);
    file.take(count).read_to_end(&mut data)?;
    if (data.len() as u64) < count {
        return Err(std::io::Error::other("the file became shorter while it was read"));
    }
    Ok(Body::from(Bytes::from(data)))
}

/// A validator that changes whenever the file does.
fn etag(metadata: &Metadata) -> String {
    let time = metadata.mtime_nsec() as u64 ^ (metadata.mtime() as u64).wrapping_mul(1_000_000_000);
    format!("\"{:x}-{:x}-{time:x}\"", metadata.ino(), metadata.len())
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Go,
    NotModified,
    Failed,
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a list of validators has ours, on however many lines it comes; `*` has any. None where there is no list.
/// `weak` is how If-None-Match compares.
fn lists(headers: &HeaderMap, name: HeaderName, etag: &str, weak: bool) -> Option<bool> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    Some(lines.any(|line| {
        line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|item| {
            let item = item.strip_prefix(b"W/").filter(|_| weak).unwrap_or(item);
            item == b"*" || item == etag.as_bytes()
        })
    }))
}

/// Seconds only: what the header can say.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// RFC 9110 13.2.2, for GET and HEAD.
fn condition(headers: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> Condition {
    let date = |name| text(headers, name).and_then(|text| httpdate::parse_http_date(text).ok()).map(seconds);
    let modified = modified.map(seconds);
    if let Some(listed) = lists(headers, IF_MATCH, etag, false) {
        if !listed {
            return Condition::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date(IF_UNMODIFIED_SINCE), modified)
        && modified > since
    {
        return Condition::Failed;
    }
    if let Some(listed) = lists(headers, IF_NONE_MATCH, etag, true) {
        if listed {
            return Condition::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date(IF_MODIFIED_SINCE), modified)
        && modified <= since
    {
        return Condition::NotModified;
    }
    Condition::Go
}

#[derive(Debug, PartialEq, Eq)]
enum Ranged {
    Whole,
    /// From the first byte to the one after the last.
    Part(u64, u64),
    Unsatisfiable,
}

/// RFC 9110 14.2. Several ranges are answered with the whole, which is allowed and costs nobody anything.
fn range(headers: &HeaderMap, etag: &str, modified: Option<SystemTime>, length: u64) -> Ranged {
    let Some(range) = text(headers, RANGE) else { return Ranged::Whole };
    if let Some(condition) = text(headers, IF_RANGE) {
        let same = match httpdate::parse_http_date(condition) {
            Ok(date) => modified.is_some_and(|modified| seconds(modified) == seconds(date)),
            Err(_) => condition == etag,
        };
        if !same {
            return Ranged::Whole;
        }
    }
    let Some((unit, set)) = range.split_once('=') else { return Ranged::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Ranged::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Ranged::Whole };
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit is more than any file has.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => Ranged::Unsatisfiable,
        (None, Some(_)) if first.is_empty() && length == 0 => Ranged::Unsatisfiable,
        (None, Some(count)) if first.is_empty() => Ranged::Part(length.saturating_sub(count), length),
        (Some(start), None) if last.is_empty() => match start < length {
            true => Ranged::Part(start, length),
            false => Ranged::Unsatisfiable,
        },
        (Some(start), Some(end)) if start <= end => match start < length {
            true => Ranged::Part(start, end.saturating_add(1).min(length)),
            false => Ranged::Unsatisfiable,
        },
        _ => Ranged::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling_and_stay_below() {
        for (path, name) in [
            ("", Some("")),
            ("a", Some("a")),
            ("a/b.txt", Some("a/b.txt")),
            ("a//b/", Some("a/b")),
            ("caf%C3%A9", Some("café")),
            ("a%20b", Some("a b")),
            ("..", None),
            ("a/../b", None),
            ("a/%2e%2e/b", None),
            ("%2e%2E%2fetc", None),
            ("a%2fb", None),
            ("a%5c..%5cb", None),
            ("a%00", None),
            (".git/config", None),
            ("a/.env", None),
            ("%2egit", None),
            (".", None),
        ] {
            assert_eq!(relative(path, false).as_deref(), name, "{path}");
        }
        assert_eq!(relative(".well-known/x", true).as_deref(), Some(".well-known/x"));
        assert_eq!(relative("../x", true), None);
    }

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn ranges() {
        for (value, expected) in [
            ("bytes=0-4", Ranged::Part(0, 5)),
            ("bytes=5-", Ranged::Part(5, 10)),
            ("bytes=-3", Ranged::Part(7, 10)),
            ("bytes=-30", Ranged::Part(0, 10)),
            ("bytes=2-100", Ranged::Part(2, 10)),
            ("bytes=9-9", Ranged::Part(9, 10)),
            ("bytes=10-", Ranged::Unsatisfiable),
            ("bytes=-0", Ranged::Unsatisfiable),
            ("bytes=99999999999999999999-", Ranged::Unsatisfiable),
            ("bytes=0-99999999999999999999", Ranged::Part(0, 10)),
            ("bytes=4-2", Ranged::Whole),
            ("bytes=0-1,3-4", Ranged::Whole),
            ("bytes=+1-2", Ranged::Whole),
            ("bytes=-", Ranged::Whole),
            ("lines=0-1", Ranged::Whole),
            ("x", Ranged::Whole),
        ] {
            assert_eq!(range(&with(RANGE, value), "\"e\"", None, 10), expected, "{value}");
        }
        assert_eq!(range(&with(RANGE, "bytes=-3"), "\"e\"", None, 0), Ranged::Unsatisfiable);
        let mut headers = with(RANGE, "bytes=0-4");
        headers.insert(IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(range(&headers, "\"e\"", None, 10), Ranged::Whole);
        headers.insert(IF_RANGE, HeaderValue::from_static("\"e\""));
        assert_eq!(range(&headers, "\"e\"", None, 10), Ranged::Part(0, 5));
    }

    #[test]
    fn conditions() {
        let modified = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").ok();
        for (name, value, expected) in [
            (IF_NONE_MATCH, "\"e\"", Condition::NotModified),
            (IF_NONE_MATCH, "\"x\", W/\"e\"", Condition::NotModified),
            (IF_NONE_MATCH, "*", Condition::NotModified),
            (IF_NONE_MATCH, "\"x\"", Condition::Go),
            (IF_MATCH, "\"x\"", Condition::Failed),
            (IF_MATCH, "W/\"e\"", Condition::Failed),
            (IF_MATCH, "\"e\"", Condition::Go),
            (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT", Condition::NotModified),
            (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT", Condition::Go),
            (IF_MODIFIED_SINCE, "nonsense", Condition::Go),
            (IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT", Condition::Failed),
        ] {
            assert_eq!(condition(&with(name.clone(), value), "\"e\"", modified), expected, "{name}: {value}");
        }
        for (name, lines, expected) in [
            (IF_NONE_MATCH, ["\"x\"", "\"e\""], Condition::NotModified),
            (IF_NONE_MATCH, ["\"e\"", "\"x\""], Condition::NotModified),
            (IF_NONE_MATCH, ["\"x\",", "W/\"e\" , \"y\""], Condition::NotModified),
            (IF_NONE_MATCH, ["\"x\"", "\"y\""], Condition::Go),
            (IF_NONE_MATCH, ["\"\u{e9}\"", "\"e\""], Condition::NotModified),
            (IF_MATCH, ["\"x\"", "\"e\""], Condition::Go),
            (IF_MATCH, ["\"x\"", "\"y\""], Condition::Failed),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            assert_eq!(condition(&headers, "\"e\"", modified), expected, "{name}: {lines:?}");
        }
    }
}
