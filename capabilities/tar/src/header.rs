//! Header blocks (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

/// Bytes of a block.
pub const BLOCK: usize = 512;
/// Records of a sparse file's map: 1 MiB.
const MAX_MAP: usize = 1 << 16;

pub type Block = [u8; BLOCK];

/// The parts of a file that has holes: offset and length of each piece that is stored.
pub type Map = Vec<(u64, u64)>;

/// What a header block says.
pub struct Header<'a>(pub &'a Block);

impl<'a> Header<'a> {
    /// Whether the checksum fits; old programs summed signed bytes.
    pub fn is_valid(&self) -> bool {
        let Some(stored) = number(&self.0[148..156]) else { return false };
        let sum = |value: fn(u8) -> i64| -> i64 {
            let all = self.0.iter().enumerate();
            all.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { value(*byte) }).sum()
        };
        stored == sum(i64::from) || stored == sum(|byte| i64::from(byte as i8))
    }

    pub fn typeflag(&self) -> u8 {
        self.0[156]
    }

    /// The name with the prefix that only POSIX headers have.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        if &self.0[257..263] != b"ustar\0" || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, name].join(&b'/')
    }

    pub fn target(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub fn mode(&self) -> Option<i64> {
        number(&self.0[100..108])
    }

    pub fn size(&self) -> Option<u64> {
        u64::try_from(number(&self.0[124..136])?).ok()
    }

    pub fn modified(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    /// The size of a file with holes, the first pieces of its map, and whether more blocks of it follow;
    /// in the old format of GNU (type `S`).
    pub fn sparse(&self) -> Option<(u64, Map, bool)> {
        let size = u64::try_from(number(&self.0[483..495])?).ok()?;
        let mut map = Map::new();
        add_pieces(&mut map, &self.0[386..482])?;
        Some((size, map, self.0[482] != 0))
    }
}

/// Adds the pieces of an extension block of that format; gives whether another one follows.
pub fn extend_sparse(map: &mut Map, block: &Block) -> Option<bool> {
    add_pieces(map, &block[..504])?;
    Some(block[504] != 0)
}

fn add_pieces(map: &mut Map, bytes: &[u8]) -> Option<()> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        let (offset, length) = (number(&pair[..12])?, number(&pair[12..])?);
        push_piece(map, u64::try_from(offset).ok()?, u64::try_from(length).ok()?)?;
    }
    Some(())
}

/// Adds one piece to a map; none where the map grows too long.
pub fn push_piece(map: &mut Map, offset: u64, length: u64) -> Option<()> {
    if map.len() >= MAX_MAP {
        return None;
    }
    map.push((offset, length));
    Some(())
}

/// Whether the pieces of a map lie in a file of `size` bytes, one behind the other, and hold `stored` bytes.
pub fn is_sound(map: &Map, size: u64, stored: u64) -> bool {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, length) in map {
        let Some(after) = offset.checked_add(*length) else { return false };
        if *offset < end || after > size {
            return false;
        }
        end = after;
        // Pieces that do not overlap within a size cannot sum up to more than it.
        sum += length;
    }
    sum == stored
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits, or two's complement with the first bit set, as GNU writes large ones.
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start = i128::from(first & 0x7f) - if negative { 0x80 } else { 0 };
        let value = rest
            .iter()
            .try_fold(start, |value, byte| value.checked_mul(256).map(|value| value + i128::from(*byte)))?;
        return i64::try_from(value).ok();
    }
    let digits =
        field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(**byte, 0 | b' '));
    digits.copied().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// A key and its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// Records of a pax header: length, key and value (POSIX.1-2017 pax, "pax Extended Header").
///
/// # Errors
/// Where a record does not have its form.
pub fn pax_records(mut data: &[u8]) -> Result<Vec<Record<'_>>, ()> {
    let mut records = Vec::new();
    // Some programs fill the rest with NULs.
    while data.first().is_some_and(|byte| *byte != 0) {
        let digits = data.iter().position(|byte| *byte == b' ').ok_or(())?;
        let length = decimal(&data[..digits]).and_then(|length| usize::try_from(length).ok()).ok_or(())?;
        let record = data.get(digits + 1..length).ok_or(())?;
        let record = record.strip_suffix(b"\n").ok_or(())?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(())?;
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[length..];
    }
    Ok(records)
}

/// A number of decimal digits.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_forms() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn pax_records_have_their_length() {
        assert_eq!(pax_records(b"6 a=b\n11 path=xy\n"), Ok(vec![(&b"a"[..], &b"b"[..]), (b"path", b"xy")]));
        assert_eq!(pax_records(b"6 a=b\n\0\0\0"), Ok(vec![(&b"a"[..], &b"b"[..])]));
        for bad in [
            &b"7 a=b\n"[..],
            b"5 a=b\n",
            b"a=b\n",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
            b"4 ab\n",
            b"6",
        ] {
            assert_eq!(pax_records(bad), Err(()), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn maps_are_in_order_and_inside() {
        assert!(is_sound(&vec![(0, 10), (20, 5)], 30, 15));
        assert!(is_sound(&vec![], 30, 0));
        assert!(!is_sound(&vec![(20, 5), (0, 10)], 30, 15));
        assert!(!is_sound(&vec![(0, 10), (5, 10)], 30, 20));
        assert!(!is_sound(&vec![(25, 10)], 30, 10));
        assert!(!is_sound(&vec![(u64::MAX, 10)], 30, 10));
        assert!(!is_sound(&vec![(0, 10)], 30, 11));
    }
}
