//! What Lua functions need of files, for whoever owns them.

use crate::pattern;
use crate::resolve::FS;
use assay_capability_api::{Literal, Need};

/// What a literal says of files.
pub const fn by(function: &'static str, literal: Literal) -> Need {
    Need::new(function, literal).of(FS)
}

/// A file or directory that is read.
pub const fn read(function: &'static str) -> Need {
    by(function, Literal::Scope(|path| Some(format!("read:{path}"))))
}

/// One that is written, made or removed.
pub const fn write(function: &'static str) -> Need {
    by(function, Literal::Scope(|path| Some(format!("write:{path}"))))
}

/// One that is read and changed.
pub const fn change(function: &'static str) -> Need {
    by(function, Literal::Scope(|path| Some(format!("rw:{path}"))))
}

/// One that is looked at from outside.
pub const fn stat(function: &'static str) -> Need {
    by(function, Literal::Scope(|path| Some(format!("stat:{path}"))))
}

/// One that is read, named by an option.
pub const fn read_option(function: &'static str, option: &'static str) -> Need {
    by(function, Literal::Option(option, |path| Some(format!("read:{path}"))))
}

/// One that is written, named by an option.
pub const fn write_option(function: &'static str, option: &'static str) -> Need {
    by(function, Literal::Option(option, |path| Some(format!("write:{path}"))))
}

/// One that is opened as `io.open` does, with the mode in the argument after it.
pub const fn open(function: &'static str) -> Need {
    by(function, Literal::Pair(opened))
}

fn opened(path: &str, mode: Option<&str>) -> Option<String> {
    let mode = mode.unwrap_or("r").replace('b', "");
    let access = match mode.as_str() {
        "r" => "read",
        "w" | "a" => "write",
        "r+" | "w+" | "a+" => "rw",
        _ => return None,
    };
    Some(format!("{access}:{path}"))
}

/// The functions of the library `fs`.
pub(crate) const OWN: &[Need] = &[
    Need::new("fs.tempdir", Literal::Free),
    Need::new("fs.temp_dir", Literal::Free),
    stat("fs.exists"),
    stat("fs.is_file"),
    stat("fs.is_dir"),
    stat("fs.stat"),
    stat("fs.metadata"),
    stat("fs.readlink"),
    stat("fs.canonicalize"),
    write("fs.write"),
    write("fs.write_bytes"),
    write("fs.append"),
    write("fs.remove"),
    write("fs.mkdir"),
    write("fs.chmod"),
    read("fs.copy"),
    write("fs.copy").at(1),
    write("fs.rename"),
    write("fs.rename").at(1),
    change("fs.symlink").at(1),
    Need::new("fs.glob", Literal::Scope(|pattern| Some(format!("read:{}", pattern::directory(pattern))))),
    change("fs.sub_in_file"),
    read("fs.*"),
];
