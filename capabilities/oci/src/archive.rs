//! Where the entries of a tar archive lie (POSIX.1-2017, pax; and what GNU tar adds), so that they can be
//! read in any order. The archive may be anything: nothing is read that its size could make large.

use crate::failure::{invalid_data, unsupported};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{error, io_error};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 512;
/// Entries of one archive.
const MAX_ENTRIES: usize = 100_000;
/// Bytes of an entry that only holds the name of the next.
const MAX_NAME: u64 = 64 << 10;

/// Where the content of an entry begins, and how long it is.
pub type Entries = HashMap<String, (u64, u64)>;

/// The regular files of an archive: where their content begins, and how long it is.
///
/// # Errors
/// `invalid_data` where it is no tar archive, `unsupported` where it is compressed, `limit` for too many entries.
pub fn entries(file: &File, length: u64, shown: &str) -> Result<Entries, Error> {
    let wrong = |why: &str| invalid_data(format!("{shown}: it is not a tar archive: {why}"));
    let read = |buffer: &mut [u8], at: u64| {
        file.read_exact_at(buffer, at).map_err(|failure| match failure.kind() {
            std::io::ErrorKind::UnexpectedEof => wrong("it ends too early"),
            _ => io_error(shown, &failure),
        })
    };
    let mut found = HashMap::new();
    let mut at = 0;
    let mut long_name: Option<String> = None;
    let mut count = 0;
    while at + BLOCK <= length {
        let mut header = [0; BLOCK as usize];
        read(&mut header, at)?;
        if at == 0 {
            check_magic(&header, shown)?;
        }
        if header.iter().all(|byte| *byte == 0) {
            return Ok(found);
        }
        if !has_checksum(&header) {
            return Err(wrong("a checksum is not right"));
        }
        let size = number(&header[124..136]).ok_or_else(|| wrong("a size is not a number"))?;
        let content = at + BLOCK;
        let next = size
            .checked_next_multiple_of(BLOCK)
            .and_then(|padded| content.checked_add(padded))
            .filter(|_| content.checked_add(size).is_some_and(|end| end <= length))
            .ok_or_else(|| wrong("it ends too early"))?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(error(ErrorCode::Limit, format!("{shown}: more than {MAX_ENTRIES} entries")));
        }
        let kind = header[156];
        if matches!(kind, b'L' | b'x') {
            if size > MAX_NAME {
                return Err(wrong("a name is too long"));
            }
            let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
            read(&mut data, content)?;
            let name = if kind == b'L' { Some(text(&data)) } else { pax_path(&data) };
            long_name = name.or(long_name);
        } else {
            let name = long_name.take().unwrap_or_else(|| header_name(&header));
            if matches!(kind, b'0' | 0 | b'7') {
                found.insert(name.trim_start_matches("./").to_string(), (content, size));
            }
        }
        at = next;
    }
    match at {
        0 => Err(wrong("it is too short")),
        _ => Ok(found),
    }
}

fn check_magic(start: &[u8], shown: &str) -> Result<(), Error> {
    let kinds: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2")];
    match kinds.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, name)) => Err(unsupported(format!(
            "{shown}: the archive is compressed with {name}; decompress it first, or unpack it and push the directory"
        ))),
        None => Ok(()),
    }
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn header_name(header: &[u8]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // GNU tar has other fields where POSIX has the prefix.
    match &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        true => format!("{prefix}/{name}"),
        false => name,
    }
}

/// Octal digits, or GNU's binary numbers.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let rest_is_zero = high[0] == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return rest_is_zero.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn has_checksum(header: &[u8]) -> bool {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
        .sum();
    number(&header[148..156]) == Some(sum)
}

/// The path in the records of a pax header: `LENGTH path=VALUE\n`.
fn pax_path(mut data: &[u8]) -> Option<String> {
    let mut path = None;
    while let Some(blank) = data.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&data[..blank]).ok()?.parse().ok()?;
        if length <= blank + 1 || length > data.len() {
            return path;
        }
        let record = &data[blank + 1..length - 1];
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(String::from_utf8_lossy(value).into_owned());
        }
        data = &data[length..];
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn read(archive: &[u8]) -> Result<Entries, Error> {
        let path = std::env::temp_dir().join(format!("assay-oci-{}-{:p}", std::process::id(), archive));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        entries(&file, archive.len() as u64, "x.tar")
    }

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, name.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn entries_are_where_they_are_said_to_be() {
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
        let data = archive(&["oci-layout", "./index.json", &long]);
        let found = read(&data).unwrap();
        assert_eq!(found.len(), 3);
        for (name, content) in [("oci-layout", "oci-layout"), ("index.json", "./index.json"), (&long, &long)]
        {
            let (at, length) = found[name];
            // Writers drop the leading "./" of a name; its content is as it was given.
            assert_eq!(&data[at as usize..(at + length) as usize], content.as_bytes());
        }
    }

    #[test]
    fn pax_records_are_read() {
        let record = |text: &str| {
            let length = (text.len() + 3..).find(|n| n.to_string().len() + 1 + text.len() + 1 == *n).unwrap();
            format!("{length} {text}\n")
        };
        let data = record("mtime=1.5") + &record("path=blobs/ü") + &record("uid=1");
        assert_eq!(pax_path(data.as_bytes()).as_deref(), Some("blobs/ü"));
        for data in ["", "x", "9999999999999999999999 path=x\n", "5 path=x\n", "0 path=x\n", "3 \n"] {
            assert_eq!(pax_path(data.as_bytes()), None, "{data}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let good = archive(&["a"]);
        let mut broken = good.clone();
        broken[0] ^= 1;
        let mut endless = good.clone();
        endless[124..136].copy_from_slice(b"77777777777\0");
        let mut huge = good.clone();
        huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        for (data, code) in [
            (&b""[..], ErrorCode::InvalidData),
            (&[1; 512], ErrorCode::InvalidData),
            (&[1; 100], ErrorCode::InvalidData),
            (&broken, ErrorCode::InvalidData),
            (&endless, ErrorCode::InvalidData),
            (&huge, ErrorCode::InvalidData),
            (&[&b"\x1f\x8b"[..], &[0; 600]].concat(), ErrorCode::Unsupported),
        ] {
            assert_eq!(read(data).unwrap_err().code, code);
        }
        assert!(read(&[0; 1024]).unwrap().is_empty());
    }
}
