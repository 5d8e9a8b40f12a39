//! What is mounted, from the kernel's table (proc(5), fstab(5)).

use crate::bindings::assay::host::disk::Mount;
use assay_capability_api::io_error;
use assay_capability_api::types::Error;

const TABLE: &str = "/proc/self/mounts";

/// Spaces, tabs, newlines and backslashes stand as three octal digits.
fn unescape(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| field.get(at + 1..at + 4)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn parse(table: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ');
        let (device, path) = (unescape(fields.next()?), unescape(fields.next()?));
        let (kind, options) = (unescape(fields.next()?), unescape(fields.next()?));
        Some(Mount { device, path, kind, options: options.split(',').map(str::to_string).collect() })
    };
    table.lines().filter_map(mount).collect()
}

/// Bytes of one row, which the script gets.
pub fn size(mount: &Mount) -> usize {
    let options: usize = mount.options.iter().map(String::len).sum();
    mount.device.len() + mount.path.len() + mount.kind.len() + options
}

/// # Errors
/// The operating system's; where there is no such table, `not-found`.
pub fn read() -> Result<Vec<Mount>, Error> {
    let table = std::fs::read(TABLE)
        .map_err(|failed| io_error(&format!("reading the mounts in {TABLE}"), &failed))?;
    Ok(parse(&String::from_utf8_lossy(&table)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let mounts = parse(
            "/dev/sda1 / ext4 rw,relatime 0 0\nnas:/a\\040b /mnt/a\\040b\\134\\011c nfs4 ro 0 0\nbroken\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].device.as_str(), mounts[0].path.as_str()), ("/dev/sda1", "/"));
        assert_eq!(mounts[0].options, ["rw", "relatime"]);
        assert_eq!((mounts[1].device.as_str(), mounts[1].path.as_str()), ("nas:/a b", "/mnt/a b\\\tc"));
        assert_eq!(unescape("a\\9 \\"), "a\\9 \\");
        assert_eq!(unescape("é\\0é"), "é\\0é");
    }

    #[test]
    fn this_machine_has_a_root() {
        assert!(read().unwrap().iter().any(|mount| mount.path == "/"));
    }
}
