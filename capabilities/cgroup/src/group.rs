//! Groups as open directories. A path is followed one directory at a time, each opened relative to the one before it and
//! never through a link: what is read lies below the tree's root, whatever is swapped meanwhile.

use crate::parse::{self, Values};
use crate::scope::ROOT_NAME;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, io_error};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Bytes of one file: two million process ids.
const MAX_FILE: u64 = 16 << 20;
/// What every group of version 2 has, and none of version 1.
const CONTROLLERS: &str = "cgroup.controllers";
/// Where version 2 is mounted on systems that use both.
const UNIFIED: &str = "unified";

/// Which version of control groups a machine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
    Hybrid,
}

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
            Version::Hybrid => "hybrid",
        }
    }
}

/// The tree of groups below a directory.
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    pub fn new(root: impl Into<PathBuf>) -> Tree {
        Tree { root: root.into() }
    }

    /// # Errors
    /// `unsupported` where there are no control groups.
    pub fn version(&self) -> Result<Version, Error> {
        if self.root.join(CONTROLLERS).is_file() {
            return Ok(Version::V2);
        }
        if self.root.join(UNIFIED).join(CONTROLLERS).is_file() {
            return Ok(Version::Hybrid);
        }
        // Each controller of version 1 is a tree of its own.
        let mut directories = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        if directories.any(|directory| directory.path().join("cgroup.procs").is_file()) {
            return Ok(Version::V1);
        }
        let root = self.root.display();
        Err(error(ErrorCode::Unsupported, format!("there are no control groups at {root} on this machine")))
    }

    /// Opens a group by its name.
    ///
    /// # Errors
    /// `not-found` where no such group exists, `unsupported` where it is one of version 1.
    pub fn group(&self, name: &str) -> Result<Group, Error> {
        let shown = match name {
            ROOT_NAME => self.root.display().to_string(),
            _ => format!("{}/{name}", self.root.display()),
        };
        let failed = |why: Errno| io_error(&format!("the control group {shown}"), &why.into());
        let mut directory = openat(CWD, &self.root, DIRECTORY, Mode::empty()).map_err(failed)?;
        for part in name.split('/').filter(|part| !part.is_empty()) {
            directory = match openat(&directory, part, DIRECTORY, Mode::empty()) {
                Ok(below) => below,
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let message = format!("{shown}: '{part}' is not a group: links are not followed");
                    return Err(error(ErrorCode::InvalidArgument, message));
                }
                Err(why) => return Err(failed(why)),
            };
        }
        let group = Group { directory, shown, name: name.into() };
        match statat(&group.directory, CONTROLLERS, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(group),
            Err(_) => Err(self.not_version_2(&group.shown)),
        }
    }

    fn not_version_2(&self, shown: &str) -> Error {
        let hint = match self.version() {
            Ok(Version::V1) => "; this machine has only version 1",
            Ok(Version::Hybrid) => "; on this machine those are below /sys/fs/cgroup/unified",
            _ => "",
        };
        error(ErrorCode::Unsupported, format!("{shown} is not a control group of version 2{hint}"))
    }
}

/// An open group.
pub struct Group {
    directory: OwnedFd,
    shown: String,
    name: String,
}

impl Group {
    fn failed(&self, file: &str, why: impl Into<std::io::Error>) -> Error {
        io_error(&format!("reading {}/{file}", self.shown), &why.into())
    }

    /// The content of an interface file; none where the group does not have it.
    fn file(&self, run: &Run, name: &str) -> Result<Option<String>, Error> {
        // Not blocking: that a plain file lies there is only what the kernel says.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(why) => return Err(self.failed(name, why)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|why| self.failed(name, why))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let message = format!("{}/{name} is not a file", self.shown);
            return Err(error(ErrorCode::InvalidData, message));
        }
        let mut bytes = Vec::new();
        match File::from(file).take(MAX_FILE).read_to_end(&mut bytes) {
            Ok(_) => {}
            // The group was removed while it was open.
            Err(why) if why.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => return Ok(None),
            Err(why) => return Err(self.failed(name, why)),
        }
        run.count_bytes(bytes.len())?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The content of an interface file that the controller `controller` makes.
    ///
    /// # Errors
    /// `not-found`, with the controllers that there are.
    pub fn required(&self, run: &Run, name: &str, controller: &str) -> Result<String, Error> {
        match self.file(run, name)? {
            Some(content) => Ok(content),
            None => Err(self.without(run, name, controller)?),
        }
    }

    fn without(&self, run: &Run, file: &str, controller: &str) -> Result<Error, Error> {
        let enabled = self.file(run, CONTROLLERS)?.unwrap_or_default();
        let enabled = match enabled.trim() {
            "" => "none".to_string(),
            names => names.replace(' ', ", "),
        };
        let shown = &self.shown;
        let why = if enabled.split(", ").any(|name| name == controller) {
            "the root group does not have it".to_string()
        } else {
            format!("the controller '{controller}' is not enabled for it (enabled: {enabled})")
        };
        Ok(error(ErrorCode::NotFound, format!("{shown} has no {file}: {why}")))
    }

    /// Numbers from files of one number each; none where the group has not one of them.
    fn numbers(&self, run: &Run, files: &[(&str, &str)]) -> Result<Option<Values>, Error> {
        let mut values = None;
        for (name, file) in files {
            let Some(content) = self.file(run, file)? else { continue };
            let values = values.get_or_insert_with(Values::new);
            values.extend(parse::number(&content).map(|number| (name.to_string(), number)));
        }
        Ok(values)
    }

    /// What the memory controller says.
    ///
    /// # Errors
    /// `not-found` where it is not enabled for the group.
    pub fn memory(&self, run: &Run) -> Result<Values, Error> {
        const FILES: [(&str, &str); 7] = [
            ("current", "memory.current"),
            ("max", "memory.max"),
            ("swap_current", "memory.swap.current"),
            ("swap_max", "memory.swap.max"),
            ("peak", "memory.peak"),
            ("low", "memory.low"),
            ("high", "memory.high"),
        ];
        let Some(mut values) = self.numbers(run, &FILES)? else {
            return Err(self.without(run, "memory.current", "memory")?);
        };
        let events = self.file(run, "memory.events")?.unwrap_or_default();
        values.extend(
            parse::pairs(&events).into_iter().filter(|(name, _)| name == "oom" || name == "oom_kill"),
        );
        Ok(values)
    }

    /// What the pids controller says.
    ///
    /// # Errors
    /// `not-found` where it is not enabled for the group.
    pub fn pids(&self, run: &Run) -> Result<Values, Error> {
        match self.numbers(run, &[("current", "pids.current"), ("max", "pids.max")])? {
            Some(values) => Ok(values),
            None => Err(self.without(run, "pids.current", "pids")?),
        }
    }

    /// The names of the groups directly below that `wanted` takes, sorted.
    ///
    /// # Errors
    /// The operating system's.
    pub fn children(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Error> {
        let failed = |why: Errno| io_error(&format!("listing {}", self.shown), &why.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // What is not UTF-8 could not be asked for either.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let is_group = match entry.file_type() {
                FileType::Unknown => statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                kind => kind == FileType::Directory,
            };
            let name =
                if self.name == ROOT_NAME { name.to_string() } else { format!("{}/{name}", self.name) };
            if is_group && wanted(&name) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}
