//! What unit tests run in place of a fuzzer: the seeds of a target, and mixtures of them that are the same in every run.

use std::path::Path;

/// Calls `check` with each seed of `target`, then with `mixtures` of them; with `FUZZ_ROUNDS=N` in the environment with
/// N times as many.
///
/// # Panics
/// When `check` does, with the input on standard error, or when there are no seeds.
pub fn run(target: &str, mixtures: usize, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|failure| panic!("{}: {failure}", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a seed")).collect();
    assert!(seeds.len() >= 10, "only {} seeds in {}", seeds.len(), directory.display());
    for seed in &seeds {
        shown(seed, &check);
    }
    let rounds = std::env::var("FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..mixtures.saturating_mul(rounds) {
        shown(&mixture(&seeds, &mut random), &check);
    }
}

/// Says which input it was where `check` panics.
fn shown(input: &[u8], check: &impl Fn(&[u8])) {
    struct Shown<'a>(&'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input is b\"{}\"", self.0.escape_ascii());
            }
        }
    }
    let _shown = Shown(input);
    check(input);
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap_or(0)
    }
}

/// Bytes on which code that counts or reads text goes wrong.
const AWKWARD: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\n",
    b" ",
    b"%",
    b"*",
    b"/",
    b"-",
    b"+",
    b".",
    b",",
    b":",
    b"'",
    b"0",
    b"9",
    "\u{e9}".as_bytes(),
    "\u{1f600}".as_bytes(),
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\x80",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"1e309",
    b"nan",
    b"inf",
    b"-0",
];

/// A seed in which parts are replaced by parts of others, or by bytes that are awkward.
fn mixture(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(3) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1).min(random.below(5));
        match random.below(4) {
            0 => drop(input.splice(at..end, AWKWARD[random.below(AWKWARD.len())].iter().copied())),
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let part = &other[from..from + random.below(other.len() - from + 1)];
                input.splice(at..end, part.iter().copied());
            }
        }
    }
    input
}
