//! The order of Debian versions (Debian Policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;

/// `[epoch:]upstream[-revision]`.
fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match version.split_once(':') {
        // An epoch that is no number, or too large for one, does not occur; dpkg refuses such versions.
        Some((epoch, rest)) => (epoch.parse().unwrap_or(u64::MAX), rest),
        None => (0, version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// The place of a character that is no digit: a tilde before everything, even the end, then the end, then letters,
/// then the rest.
fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// Takes the digits at the start, without leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().take_while(|c| **c == b'0').count();
    &number[zeros..]
}

/// Compares upstream versions or revisions: parts without digits and numbers in turns.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|c| !c.is_ascii_digit()) || b.first().is_some_and(|c| !c.is_ascii_digit())
        {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
            // Equal weights that are no digit are the same character on both sides.
            (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
        }
        let (first, second) = (digits(&mut a), digits(&mut b));
        // Of numbers without leading zeros the longer one is larger, however long they are.
        match first.len().cmp(&second.len()).then_with(|| first.cmp(second)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// The order of two versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0).then_with(|| compare_part(a.1, b.1)).then_with(|| compare_part(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In ascending order; those on one line are equal.
    const ORDER: &[&[&str]] = &[
        &["0~~"],
        &["0~~a"],
        &["0~"],
        &["0", "0-0", "00", "0:0"],
        &["0a"],
        &["0+"],
        &["1z"],
        &["1.0~beta1~svn1245"],
        &["1.0~beta1"],
        &["1.0", "1.0-0", "01.00"],
        &["1.0-0.1"],
        &["1.0-1~bpo12+1"],
        &["1.0-1", "1.0-01"],
        &["1.0-1+b1"],
        &["1.0-1+deb12u1"],
        &["1.0-1+deb12u2"],
        &["1.0-1.1"],
        &["1.0-2"],
        &["1.0-10"],
        &["1.0a"],
        &["1.0b"],
        &["1.0+dfsg-1"],
        &["1.0-1-1"],
        &["1.0.1"],
        &["1.2.3"],
        &["1.2.10"],
        &["1.18446744073709551616"],
        &["1.18446744073709551617"],
        &["2.36-9+deb12u4"],
        &["2.36-9+deb12u9"],
        &["1:0.1"],
        &["1:1.0-1"],
        &["2:0"],
    ];

    #[test]
    fn versions_are_in_the_order_of_the_policy() {
        for (n, row) in ORDER.iter().enumerate() {
            for (m, other) in ORDER.iter().enumerate() {
                for a in *row {
                    for b in *other {
                        assert_eq!(compare(a, b), n.cmp(&m), "{a} and {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn dpkg_has_the_same_order() {
        let versions: Vec<&str> = ORDER.iter().flat_map(|row| row.iter().copied()).collect();
        for pair in versions.windows(2).chain(versions.chunks(3)) {
            let [a, b] = [pair[0], pair[pair.len() - 1]];
            let dpkg = |relation| {
                let mut command = std::process::Command::new("dpkg");
                command.args(["--compare-versions", a, relation, b]).stderr(std::process::Stdio::null());
                command.status().map(|status| status.success())
            };
            // Elsewhere than on Debian the table above has to do.
            let (Ok(less), Ok(equal)) = (dpkg("lt"), dpkg("eq")) else { return };
            let expected = match (less, equal) {
                (true, _) => Ordering::Less,
                (_, true) => Ordering::Equal,
                _ => Ordering::Greater,
            };
            assert_eq!(compare(a, b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn odd_texts_do_not_panic() {
        for a in ["", ":", "-", "::", "é", "1é2", "~", "-~-", "99999999999999999999:1", "x:1"] {
            for b in ["", "1", "~", "é"] {
                assert_eq!(compare(a, b), compare(b, a).reverse(), "{a} and {b}");
            }
        }
    }
}
