//! Who may do what to a file: its mode, and its access list (POSIX ACL) where it has one. With a list, the group's bits of
//! the mode only bound the rights of all whom the list names, so both are read and set together.

use rustix::fs::{Mode, XattrFlags, fchmod, fgetxattr, fremovexattr, fsetxattr, lgetxattr};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const ACL: &CStr = c"system.posix_acl_access";
/// Bytes of a list, as Linux allows.
const MAX_ACL: usize = 64 << 10;
/// The permission bits of the group.
const GROUP: u32 = 0o070;

/// The mode of a file and its list.
#[derive(Clone)]
pub struct Rights {
    pub mode: u32,
    acl: Option<Vec<u8>>,
}

/// A list that was read; `None` where the file has no list, or its file system supports none.
fn list(read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Option<Vec<u8>> {
    let mut list = vec![0; MAX_ACL];
    let length = read(&mut list).ok()?;
    list.truncate(length);
    Some(list)
}

impl Rights {
    /// Those of an open file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(file: &File) -> std::io::Result<Rights> {
        Ok(Rights {
            mode: file.metadata()?.mode() & 0o7777,
            acl: list(|buffer| fgetxattr(file, ACL, buffer)),
        })
    }

    /// Those of what is at `name` in an open directory, which has `mode`.
    pub fn at(directory: &OwnedFd, name: &OsStr, mode: u32) -> Rights {
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Rights { mode: mode & 0o7777, acl: list(|buffer| lgetxattr(path.as_path(), ACL, buffer)) }
    }

    /// Without a list.
    pub fn plain(mode: u32) -> Rights {
        Rights { mode: mode & 0o7777, acl: None }
    }

    /// Whether the mode says all.
    pub fn is_plain(&self) -> bool {
        self.acl.is_none()
    }

    /// Gives them to a file. Where it has another group, or can have no list, the group gets no more than everybody.
    ///
    /// # Errors
    /// The operating system's.
    pub fn give(&self, file: &File, same_group: bool) -> Result<(), Errno> {
        let whole = match &self.acl {
            Some(acl) if same_group => fsetxattr(file, ACL, acl, XattrFlags::empty()).is_ok(),
            acl => {
                // Directories may give one to all that is made in them.
                let _ = fremovexattr(file, ACL);
                acl.is_none() && same_group
            }
        };
        let mode = if whole { self.mode } else { self.mode & (!GROUP | (self.mode & 0o007) << 3) };
        fchmod(file, Mode::from_raw_mode(mode))
    }
}
