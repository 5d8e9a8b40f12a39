use crate::codec::{Bounds, Decoder, Encoder, Format, failed};
use crate::coder::{Coder, PIECE};
use crate::share::Share;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Budget, Limits, Policy, Run, RunState};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

const FORMATS: [Format; 4] = [Format::Gzip, Format::Xz, Format::Zstd, Format::Bzip2];

fn run(limits: Limits) -> Arc<Run> {
    Arc::new(RunState { limits, ..RunState::new(Policy::default(), std::env::temp_dir()) }.into())
}

fn pack(format: Format, level: Option<i32>, data: &[u8]) -> Vec<u8> {
    let level = format.level(level).unwrap();
    let mut encoder = Encoder::new(Some(format), level, usize::MAX, Vec::new()).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn unpack(format: Format, data: &[u8], bounds: Bounds) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let share = Share::small(&run(Limits::default()))?;
    let mut decoder = Decoder::new(Some(format), data, bounds, share)?;
    decoder.read_to_end(&mut out).map_err(|failure| failed("test", failure))?;
    Ok(out)
}

/// Half random, half of a kind.
fn sample(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..size)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at % 512 < 256 { (state >> 24) as u8 } else { b'a' }
        })
        .collect()
}

/// What a program makes of `input`.
fn through(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|failure| panic!("{program}: {failure}; cargo xtask setup installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", output.status);
    output.stdout
}

#[test]
fn the_real_programs_read_what_we_write() {
    let data = sample(3 << 20);
    for format in FORMATS {
        for level in [None, Some(1), Some(9)] {
            let packed = pack(format, level, &data);
            assert_eq!(Format::of_data(&packed), Some(format));
            assert!(through(format.name(), &["-dc"], &packed) == data, "{format:?} {level:?}");
        }
        assert!(through(format.name(), &["-dc"], &pack(format, None, b"")).is_empty(), "{format:?}");
    }
}

#[test]
fn we_read_what_the_real_programs_write() {
    let data = sample(3 << 20);
    for format in FORMATS {
        for level in ["-1", "-9"] {
            let packed = through(format.name(), &[level, "-c"], &data);
            assert!(unpack(format, &packed, Bounds::default()).unwrap() == data, "{format:?} {level}");
            // Streams in a row are one.
            let mut twice = packed.clone();
            twice.extend_from_slice(&packed);
            assert_eq!(unpack(format, &twice, Bounds::default()).unwrap().len(), 2 * data.len());
        }
    }
    let long = through("zstd", &["--ultra", "-22", "--long=27", "-c"], &data);
    assert!(unpack(Format::Zstd, &long, Bounds::default()).unwrap() == data);
}

#[test]
fn damaged_data_are_refused() {
    let data = sample(100_000);
    for format in FORMATS {
        let packed = pack(format, None, &data);
        let code = |data: &[u8]| unpack(format, data, Bounds::default()).unwrap_err().code;
        assert_eq!(code(b""), ErrorCode::InvalidData, "{format:?}");
        assert_eq!(code(b"certainly nothing compressed"), ErrorCode::InvalidData, "{format:?}");
        for cut in [1, 10, packed.len() / 2, packed.len() - 1] {
            assert_eq!(code(&packed[..cut]), ErrorCode::InvalidData, "{format:?} {cut}");
        }
        let mut flipped = packed.clone();
        flipped[packed.len() / 2] ^= 0x10;
        assert_eq!(code(&flipped), ErrorCode::InvalidData, "{format:?}");
        let mut tail = packed.clone();
        tail.extend_from_slice(b"something that does not belong here");
        assert_eq!(code(&tail), ErrorCode::InvalidData, "{format:?}");
    }
}

#[test]
fn bounds_hold_on_both_sides() {
    let data = vec![0; 40 << 20];
    for format in [Format::Gzip, Format::Xz, Format::Zstd] {
        let packed = pack(format, Some(1), &data);
        let size = data.len() as u64;
        let with = |size, ratio| unpack(format, &packed, Bounds { size, ratio }).map(|out| out.len());
        assert_eq!(with(size, 0).unwrap(), data.len());
        assert_eq!(with(size - 1, 0).unwrap_err().code, ErrorCode::Limit);
        assert_eq!(with(0, 1_000_000).unwrap(), data.len());
        assert_eq!(with(0, 100).unwrap_err().code, ErrorCode::Limit);
    }
    // What is small is no bomb.
    let packed = pack(Format::Gzip, None, &vec![0; 1 << 20]);
    assert!(unpack(Format::Gzip, &packed, Bounds { size: 0, ratio: 10 }).is_ok());
}

#[test]
fn data_that_want_too_much_memory_are_refused() {
    // A window of 2 GiB, declared by a frame header alone (RFC 8878 3.1.1.1).
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    let failure = unpack(Format::Zstd, &frame, Bounds::default()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::Limit, "{}", failure.message);
    let large = through("xz", &["--lzma2=dict=128MiB", "-c"], b"x");
    let failure = unpack(Format::Xz, &large, Bounds::default()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::Limit, "{}", failure.message);
}

#[test]
fn levels_and_names_are_checked() {
    for (format, low, high) in
        [(Format::Gzip, 0, 9), (Format::Xz, 0, 9), (Format::Zstd, 1, 19), (Format::Bzip2, 1, 9)]
    {
        assert!(format.level(Some(low)).is_ok() && format.level(Some(high)).is_ok());
        assert!(format.level(Some(low - 1)).is_err() && format.level(Some(high + 1)).is_err());
    }
    assert!(Format::parse("lz4").is_err());
    for (path, format) in [
        ("a/b.tar.gz", Some(Format::Gzip)),
        ("x.TGZ", Some(Format::Gzip)),
        ("a.gz/b", None),
        ("gz", None),
        ("x.tzst", Some(Format::Zstd)),
        ("x.bz2", Some(Format::Bzip2)),
        ("x.tar", None),
    ] {
        assert_eq!(Format::of_path(path), format, "{path}");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn streams_take_their_input_in_any_pieces() {
    let run = run(Limits::default());
    let data = sample(300_000);
    for format in FORMATS {
        let packed = pack(format, None, &data);
        for size in [1, 7, 4096] {
            let share = Share::small(&run).unwrap();
            let mut coder = Coder::unpacker(format, Bounds::default(), share).unwrap();
            let packed = if size == 1 { &pack(format, None, &data[..2000]) } else { &packed };
            let mut out = Vec::new();
            for piece in packed.chunks(size) {
                let mut given = coder.step(&run, piece.to_vec(), false).unwrap();
                out.extend_from_slice(&given.data);
                while given.more {
                    given = coder.step(&run, Vec::new(), false).unwrap();
                    out.extend_from_slice(&given.data);
                }
            }
            loop {
                let given = coder.step(&run, Vec::new(), true).unwrap();
                out.extend_from_slice(&given.data);
                if !given.more {
                    break;
                }
            }
            assert!(data.starts_with(&out) && out.len() >= 2000, "{format:?} {size}");
        }
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_step_gives_little_however_much_comes_out() {
    let run = run(Limits::default());
    let packed = pack(Format::Zstd, None, &vec![0; 10 << 20]);
    let share = Share::small(&run).unwrap();
    let mut coder = Coder::unpacker(Format::Zstd, Bounds::default(), share).unwrap();
    let mut given = coder.step(&run, packed, true).unwrap();
    let mut total = 0;
    loop {
        assert!(given.data.len() <= PIECE);
        total += given.data.len();
        if !given.more {
            break;
        }
        given = coder.step(&run, Vec::new(), false).unwrap();
    }
    assert_eq!(total, 10 << 20);
    assert_eq!(coder.step(&run, vec![1], false).err().unwrap().code, ErrorCode::InvalidArgument);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn coders_share_a_budget_and_take_handles() {
    let run = run(Limits { handles: 3, ..Limits::default() });
    let half = usize::try_from(run.budget.limit() / 2).unwrap();
    let first = Share::take(&run, half, 0).await.unwrap();
    let second = Share::take(&run, half, 0).await.unwrap();
    // Time is paused: the wait for more memory ends at once.
    assert_eq!(Share::take(&run, half, 0).await.err().unwrap().code, ErrorCode::Limit);
    drop(first);
    let third = Share::take(&run, half, 0).await.unwrap();
    let small = Share::small(&run).unwrap();
    assert_eq!(Share::small(&run).err().unwrap().code, ErrorCode::Limit);
    drop((second, third, small));
    assert!(Share::take(&run, 0, 1).await.is_ok());
}

/// A run that may hold so many bytes.
fn held(bytes: u64) -> Arc<Run> {
    Arc::new(
        RunState { budget: Budget::new(bytes), ..RunState::new(Policy::default(), std::env::temp_dir()) }
            .into(),
    )
}

#[test]
fn a_decoder_takes_the_memory_that_its_data_need() {
    // The dictionary of `xz -9` has 64 MiB, the window of `zstd --long=27` 128 MiB.
    let programs: [(Format, &[&str], u64); 4] = [
        (Format::Xz, &["xz", "-9", "-c"], 66 << 20),
        (Format::Xz, &["xz", "-6", "-c"], 9 << 20),
        (Format::Zstd, &["zstd", "--long=27", "-c"], (128 << 20) + (512 << 10)),
        (Format::Zstd, &["zstd", "-c"], (8 << 20) + (512 << 10)),
    ];
    for (format, command, needed) in programs {
        let packed = through(command[0], &command[1..], &sample(100_000));
        for (budget, enough) in [(needed, true), (needed - 1, false)] {
            let run = held(budget);
            let unpacked =
                Decoder::new(Some(format), &packed[..], Bounds::default(), Share::small(&run).unwrap())
                    .and_then(|mut decoder| {
                        let mut out = Vec::new();
                        decoder
                            .read_to_end(&mut out)
                            .map_err(|failure| failed("test", failure))
                            .map(|_| out.len())
                    });
            match unpacked {
                Ok(length) => assert!(enough && length == 100_000, "{command:?} {budget}"),
                Err(failure) => {
                    assert!(
                        !enough && failure.code == ErrorCode::Limit,
                        "{command:?} {budget}: {}",
                        failure.message
                    );
                    assert!(failure.message.contains("--host-memory"), "{}", failure.message);
                }
            }
            assert_eq!(run.budget.used(), 0);
        }
    }
}

#[test]
fn xz_packs_with_the_dictionary_that_fits() {
    for (budget, most) in [(256 << 20, 99 << 20), (64 << 20, 32 << 20), (8 << 20, 4 << 20)] {
        let memory = Format::Xz.packing_memory(6, budget);
        assert!(memory <= most, "{budget}: {memory}");
        let data = sample(300_000);
        let mut encoder = Encoder::new(Some(Format::Xz), 6, memory, Vec::new()).unwrap();
        encoder.write_all(&data).unwrap();
        assert_eq!(unpack(Format::Xz, &encoder.finish().unwrap(), Bounds::default()).unwrap(), data);
    }
}

/// A frame that zstd skips (RFC 8878 3.1.2).
fn skippable(content: &[u8]) -> Vec<u8> {
    let mut frame = 0x184d_2a53_u32.to_le_bytes().to_vec();
    frame.extend((content.len() as u32).to_le_bytes());
    frame.extend(content);
    frame
}

#[test]
fn streams_in_a_row_and_padding_are_one() {
    let (a, b) = (sample(100_000), sample(70_000));
    let joined = [&a[..], &b].concat();
    for format in FORMATS {
        let (first, second, empty) =
            (pack(format, None, &a), pack(format, None, &b), pack(format, None, b""));
        let zeros = |count: usize| vec![0; count];
        let given = |parts: &[&[u8]]| unpack(format, &parts.concat(), Bounds::default());
        for count in [4, 508, 3 << 20] {
            assert_eq!(given(&[&first, &zeros(count)]).unwrap(), a, "{format:?}, {count} zeros");
            assert_eq!(
                given(&[&first, &zeros(count), &second]).unwrap(),
                joined,
                "{format:?}, {count} between"
            );
        }
        assert_eq!(given(&[&first, &second]).unwrap(), joined, "{format:?}");
        assert_eq!(
            given(&[&empty, &first, &empty, &second, &empty]).unwrap(),
            joined,
            "{format:?}, empty ones"
        );
        // What follows is padding or a stream; what comes first is a stream.
        for broken in [
            &[&first[..], b"x"][..],
            &[&first, &zeros(4), b"x"],
            &[&first, &second[..second.len() - 1]],
            &[&zeros(4), &first],
            &[&zeros(512)],
        ] {
            assert_eq!(given(broken).unwrap_err().code, ErrorCode::InvalidData, "{format:?}");
        }
    }
    for format in [Format::Gzip, Format::Zstd, Format::Bzip2] {
        let data = [pack(format, None, &a), vec![0]].concat();
        assert_eq!(unpack(format, &data, Bounds::default()).unwrap(), a, "{format:?}, one zero");
    }
}

#[test]
fn frames_that_zstd_skips_are_skipped() {
    let (a, b) = (sample(100_000), sample(70_000));
    let (first, second) = (pack(Format::Zstd, None, &a), pack(Format::Zstd, None, &b));
    let (note, empty) = (skippable(&sample(5000)), skippable(b""));
    for parts in [
        [&note[..], &first, &second],
        [&first, &note, &second],
        [&first, &second, &note],
        [&empty, &[&first[..], &empty].concat(), &second],
    ] {
        let data = parts.concat();
        assert_eq!(Format::of_data(&data), Some(Format::Zstd));
        assert_eq!(unpack(Format::Zstd, &data, Bounds::default()).unwrap(), [&a[..], &b].concat());
    }
    assert_eq!(unpack(Format::Zstd, &note, Bounds::default()).unwrap(), b"");
    let cut = [&first[..], &note[..note.len() - 1]].concat();
    assert_eq!(unpack(Format::Zstd, &cut, Bounds::default()).unwrap_err().code, ErrorCode::InvalidData);
}

#[test]
fn streams_in_a_row_come_piece_by_piece() {
    let (a, b) = (sample(50_000), sample(30_000));
    for format in FORMATS {
        let data = [pack(format, None, &a), vec![0; 512], pack(format, None, &b), vec![0; 1024]].concat();
        for size in [1, 7, 1000] {
            let share = Share::small(&run(Limits::default())).unwrap();
            let run = run(Limits::default());
            let mut coder = Coder::unpacker(format, Bounds::default(), share).unwrap();
            let mut out = Vec::new();
            let mut pieces = data.chunks(size).peekable();
            while let Some(piece) = pieces.next() {
                let mut input = piece.to_vec();
                loop {
                    let step = coder.step(&run, std::mem::take(&mut input), pieces.peek().is_none()).unwrap();
                    out.extend(step.data);
                    if !step.more {
                        break;
                    }
                }
            }
            assert!(out == [&a[..], &b].concat(), "{format:?} in pieces of {size}");
        }
    }
}
