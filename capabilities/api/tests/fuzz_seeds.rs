//! The properties that `fuzz/fuzz_targets/grants.rs` seeks counterexamples to, on its seeds and on every combination
//! of their lines.

#[path = "../../../fuzz/properties/grants.rs"]
mod grants;

#[test]
fn seeds_of_grants() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/grants");
    let entries = std::fs::read_dir(&folder).expect("the seeds are there");
    let seeds: Vec<Vec<u8>> =
        entries.map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a seed")).collect();
    assert!(seeds.len() > 20, "seeds are missing");
    let mut lines: Vec<&[u8]> = seeds.iter().flat_map(|seed| seed.split(|c| *c == b'\n')).collect();
    lines.sort();
    lines.dedup();
    for seed in &seeds {
        grants::check(seed);
    }
    for scope in &lines {
        for url in &lines {
            grants::check(&[*scope, *url, b"10.1.2.3"].join(&b'\n'));
        }
    }
}

/// Seeds with random parts of other seeds in them; the same ones in every run.
#[test]
fn mutations_of_seeds() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/grants");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the seeds are there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a seed")).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap_or(0)
    };
    for _ in 0..20_000 {
        let mut input = seeds[random(seeds.len())].clone();
        for _ in 0..=random(3) {
            let other = &seeds[random(seeds.len())];
            let from = random(other.len() + 1);
            let part = &other[from..from + random(other.len() - from + 1)];
            let at = random(input.len() + 1);
            let end = at + random(input.len() - at + 1).min(random(4));
            input.splice(at..end, part.iter().copied());
        }
        grants::check(&input);
    }
}
