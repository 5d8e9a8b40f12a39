//! The record beside a downloaded file: its URL and the version that the server named (RFC 9110 8.8).

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Run, io_error, off_thread};
use assay_capability_net::file;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes of a record: header fields that are longer are not kept.
const MAX_RECORD: u64 = 64 << 10;

/// A version of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The SHA-256 of its URL, which may have secrets in it.
    url: String,
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    /// Bytes, and when it was written, so that a file that somebody has changed is not taken for that version; none for
    /// a part.
    file: Option<(u64, u128)>,
}

/// Where the record of a file is.
pub fn beside(path: &str) -> String {
    format!("{path}.http")
}

fn times(metadata: &Metadata) -> (u64, u128) {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (metadata.len(), since.as_nanos())
}

/// The size of a file and when it was written; `None` where no file is.
///
/// # Errors
/// `denied`, or the operating system's.
fn look(run: &Run, path: &str) -> Result<Option<(u64, u128)>, Error> {
    match assay_capability_fs::open_path(run, Access::Stat, path) {
        Ok(file) => {
            let metadata = File::from(file).metadata().map_err(|failure| io_error(path, &failure))?;
            Ok(Some(times(&metadata)))
        }
        Err(failure) if failure.code == ErrorCode::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl Record {
    /// The version that a response from `url` is of.
    pub fn new(url: &str, headers: &HeaderMap) -> Record {
        let field = |name| headers.get(name).cloned();
        Record {
            url: hex::encode(Sha256::digest(url)),
            etag: field(header::ETAG),
            last_modified: field(header::LAST_MODIFIED),
            file: None,
        }
    }

    fn read(text: &[u8]) -> Record {
        let mut record = Record::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(at) = line.iter().position(|byte| *byte == b' ') else { continue };
            let (name, value) = (&line[..at], &line[at + 1..]);
            let shown = || String::from_utf8_lossy(value).into_owned();
            match name {
                b"url-sha256:" => record.url = shown(),
                b"etag:" => record.etag = HeaderValue::from_bytes(value).ok(),
                b"last-modified:" => record.last_modified = HeaderValue::from_bytes(value).ok(),
                b"file:" => {
                    record.file = shown()
                        .split_once(' ')
                        .and_then(|(size, written)| Some((size.parse().ok()?, written.parse().ok()?)));
                }
                _ => {}
            }
        }
        record
    }

    fn text(&self) -> Vec<u8> {
        let mut text = format!("url-sha256: {}\n", self.url).into_bytes();
        let fields = [(&b"etag: "[..], &self.etag), (&b"last-modified: "[..], &self.last_modified)];
        for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            text.extend_from_slice(name);
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        if let Some((size, written)) = self.file {
            text.extend_from_slice(format!("file: {size} {written}\n").as_bytes());
        }
        text
    }

    /// The record of the file at `path`, if it is of this URL.
    ///
    /// # Errors
    /// `denied`, or the operating system's.
    async fn load(run: &Arc<Run>, path: &str, url: &str) -> Result<Option<Record>, Error> {
        let text = match file::read(run, beside(path), MAX_RECORD).await {
            Ok((text, _held)) => text,
            // One that is too long was not written here.
            Err(failure) if matches!(failure.code, ErrorCode::NotFound | ErrorCode::Limit) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let record = Record::read(&text);
        Ok((record.url == Record::new(url, &HeaderMap::new()).url).then_some(record))
    }

    /// Writes it beside `path`.
    ///
    /// # Errors
    /// `denied`, `limit`, or the operating system's.
    pub fn store(&self, run: &Arc<Run>, path: &str) -> Result<(), Error> {
        let mut file = assay_capability_fs::create_atomic(run, &beside(path))?;
        file.write_all(&self.text())?;
        file.commit()
    }

    /// The same, of the file that is at `path` now.
    ///
    /// # Errors
    /// As for `store`.
    pub fn store_whole(mut self, run: &Arc<Run>, path: &str) -> Result<(), Error> {
        self.file = look(run, path)?;
        self.store(run, path)
    }

    /// Takes it away.
    ///
    /// # Errors
    /// `denied`, or the operating system's.
    pub fn remove(run: &Run, path: &str) -> Result<(), Error> {
        assay_capability_fs::remove_file(run, &beside(path))
    }

    /// The fields that ask for another version than this one (RFC 9110 13.1).
    fn conditions(&self) -> Vec<(HeaderName, HeaderValue)> {
        let etag = self.etag.clone().map(|value| (header::IF_NONE_MATCH, value));
        let date = self.last_modified.clone().map(|value| (header::IF_MODIFIED_SINCE, value));
        etag.into_iter().chain(date).collect()
    }

    /// What says that a part is of the same version to the byte (RFC 9110 13.1.5).
    fn strong(&self) -> Option<HeaderValue> {
        match &self.etag {
            Some(etag) => Some(etag.clone()).filter(|etag| !etag.as_bytes().starts_with(b"W/")),
            None => self.last_modified.clone(),
        }
    }
}

/// What a request asks for so that a file that is there already does not come again: the fields, and the size of the
/// file.
pub type Condition = (Vec<(HeaderName, HeaderValue)>, u64);

/// What asks for a file only where it is another than the one at `path`.
///
/// # Errors
/// `denied`, or the operating system's.
pub async fn if_changed(run: &Arc<Run>, path: &str, url: &str) -> Result<Option<Condition>, Error> {
    let Some(record) = Record::load(run, path, url).await? else { return Ok(None) };
    let (run, path) = (run.clone(), path.to_string());
    let now = off_thread(move || look(&run, &path)).await?;
    let fields = record.conditions();
    Ok(now.filter(|now| record.file == Some(*now) && !fields.is_empty()).map(|(size, _)| (fields, size)))
}

/// What asks for the rest of the part at `path`.
///
/// # Errors
/// `denied`, or the operating system's.
pub async fn rest(run: &Arc<Run>, path: &str, url: &str) -> Result<Option<Condition>, Error> {
    let Some(validator) = Record::load(run, path, url).await?.and_then(|record| record.strong()) else {
        return Ok(None);
    };
    let (run, path) = (run.clone(), path.to_string());
    let Some((size, _)) = off_thread(move || look(&run, &path)).await?.filter(|(size, _)| *size > 0) else {
        return Ok(None);
    };
    let range = HeaderValue::try_from(format!("bytes={size}-"))
        .map_err(|_| crate::errors::invalid("the size cannot be sent"))?;
    Ok(Some((vec![(header::RANGE, range), (header::IF_RANGE, validator)], size)))
}

/// Whether a response to such a request is of the version that was asked for; some servers pass over `If-Range`.
pub fn goes_on((fields, _): &Condition, headers: &HeaderMap) -> bool {
    let of = |name: &HeaderName| headers.get(name);
    let asked = fields.iter().find(|(name, _)| name == header::IF_RANGE).map(|(_, value)| value);
    let found = match asked.is_some_and(|value| value.as_bytes().starts_with(b"\"")) {
        true => of(&header::ETAG),
        false => of(&header::LAST_MODIFIED),
    };
    found.is_none() || found == asked
}

/// From where on, and of how many bytes a response has a part (RFC 9110 14.4): `bytes 5-9/10`, `bytes */10`.
pub fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, Option<u64>)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.trim();
    let (unit, value) = value.split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, all) = value.trim().split_once('/')?;
    let start = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((start, all.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for fields in [
            &[][..],
            &[("etag", "\"a b\"")],
            &[("etag", "W/\"x\""), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
        ] {
            let mut record = Record::new("http://a.example/", &headers(fields));
            assert_eq!(Record::read(&record.text()), record);
            record.file = Some((5, 1_700_000_000_123_456_789));
            assert_eq!(Record::read(&record.text()), record);
        }
        assert_eq!(Record::read(b"nonsense\nfile: x\netag:\n\xff \xff"), Record::default());
    }

    #[test]
    fn only_what_is_the_same_to_the_byte_is_gone_on_with() {
        let strong = |fields: &[_]| Record::new("u", &headers(fields)).strong();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(strong(&[("etag", "\"x\""), ("last-modified", date)]).unwrap(), "\"x\"");
        assert_eq!(strong(&[("last-modified", date)]).unwrap(), date);
        assert_eq!(strong(&[("etag", "W/\"x\""), ("last-modified", date)]), None);
        assert_eq!(strong(&[]), None);
    }

    #[test]
    fn ranges_of_responses() {
        for (value, expected) in [
            ("bytes 5-9/10", Some((Some(5), Some(10)))),
            ("BYTES 5-9/*", Some((Some(5), None))),
            ("bytes */10", Some((None, Some(10)))),
            ("lines 5-9/10", None),
            ("bytes 5/10", None),
            ("bytes x-9/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(&headers(&[("content-range", value)])), expected, "{value}");
        }
    }
}
