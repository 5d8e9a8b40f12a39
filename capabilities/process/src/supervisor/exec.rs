//! Becoming a program that was found before: the file that was checked, not what is at its path by now.

use super::wire::Text;
use rustix::fs::{AtFlags, CWD, fstat, statat};
use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Words as execve(2) takes them.
struct Words {
    _words: Vec<CString>,
    /// To each of them, and a null at the end.
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers lead to what the structure itself owns and nothing changes.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    fn new(words: impl Iterator<Item = OsString>) -> io::Result<Words> {
        let words: Vec<CString> =
            words.map(|word| CString::new(word.into_vec())).collect::<Result<_, _>>()?;
        let pointers = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Words { _words: words, pointers })
    }
}

/// What a new process is to become.
pub struct Exec {
    /// The directory that the program lies in, and its name there.
    home: OwnedFd,
    name: CString,
    file: OwnedFd,
    path: CString,
    args: Words,
    env: Words,
}

impl Exec {
    /// # Errors
    /// Where a word holds a NUL byte.
    pub fn new(text: &Text, home: OwnedFd, file: OwnedFd) -> io::Result<Exec> {
        let word = |word: &OsStr| CString::new(word.as_bytes()).map_err(io::Error::from);
        let env = text.env.iter().map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            pair
        });
        Ok(Exec {
            home,
            name: word(Path::new(&text.program).file_name().unwrap_or_default())?,
            file,
            path: word(&text.program)?,
            args: Words::new(text.args.iter().cloned())?,
            env: Words::new(env)?,
        })
    }

    /// Becomes the program, in the directory that is held open and through no link. Comes back without an error where it
    /// can be started by its path only, which still leads to it: a script, whose interpreter gets the path.
    /// Async-signal-safe.
    ///
    /// # Errors
    /// The operating system's; `ESTALE` where something else has taken the program's place.
    pub fn replace(&self) -> io::Result<()> {
        self.check(&self.home, &self.name)?;
        // SAFETY: the words end with null pointers and live until this process is another program.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                self.home.as_raw_fd(),
                self.name.as_ptr(),
                self.args.pointers.as_ptr(),
                self.env.pointers.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
            );
        }
        let failure = io::Error::last_os_error();
        match failure.raw_os_error() {
            // An interpreter cannot be given a directory that is closed to it; without one execvp(3) takes sh. The others:
            // a filter of system calls that does not know this one.
            Some(libc::ENOENT | libc::ENOEXEC | libc::ENOSYS | libc::EPERM) => self.check(CWD, &self.path),
            _ => Err(failure),
        }
    }

    /// Whether this is the file that was found.
    fn check(&self, directory: impl AsFd, name: &CString) -> io::Result<()> {
        let found = fstat(&self.file)?;
        let there = statat(directory, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        match (found.st_dev, found.st_ino) == (there.st_dev, there.st_ino) {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(libc::ESTALE)),
        }
    }
}
