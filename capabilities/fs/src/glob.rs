//! `glob`: the paths that match a pattern.

use crate::Cancel;
use crate::ops::MAX_DEPTH;
use crate::pattern::{self, Part, Pattern};
use crate::resolve::{FS, Last, failed, open_folder, resolve};
use crate::walk::{ITEM, Item, MAX_ENTRIES, check_still, entries, join, too_many};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Held, Request, Run, error};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::ffi::OsStr;

struct Search<'a> {
    run: &'a Run,
    cancel: &'a Cancel,
    pattern: &'a str,
    only_folders: bool,
    found: Vec<String>,
    visited: usize,
    /// What the paths found take of the run's budget until they are pulled.
    held: Held,
}

/// Every path that matches, sorted, each once, and what they take of the run's budget. Paths are relative where the pattern is.
///
/// Folders on the way that are not granted are passed over; only the folder that the pattern starts
/// in, up to its first wildcard, must be granted.
///
/// # Errors
/// `denied`, `invalid-argument`, `limit`, or the operating system's.
pub fn glob(run: &Run, text: &str, cancel: &Cancel) -> Result<(Vec<String>, Held), Error> {
    let (mut found, mut held) = (Vec::new(), run.budget.nothing());
    for Pattern { absolute, parts, only_folders } in pattern::parse(text)? {
        let mut search = Search { run, cancel, pattern: text, only_folders, found, visited: 0, held };
        search.expand(if absolute { "/" } else { "" }, &parts, true, 0)?;
        (found, held) = (search.found, search.held);
    }
    found.sort_unstable();
    found.dedup();
    Ok((found, held))
}

impl Search<'_> {
    /// What to do about a failure: `start` is before the first wildcard.
    fn pass(&self, failure: Error, start: bool) -> Result<(), Error> {
        match failure.code {
            ErrorCode::NotFound => Ok(()),
            ErrorCode::Denied | ErrorCode::Permission if !start => Ok(()),
            _ if [Errno::NOTDIR, Errno::LOOP].iter().any(|errno| errno.raw_os_error() == failure.errno) => {
                Ok(())
            }
            _ => Err(failure),
        }
    }

    fn add(&mut self, path: String, kind: FileType) -> Result<(), Error> {
        if self.only_folders && kind != FileType::Directory {
            return Ok(());
        }
        if self.found.len() >= MAX_ENTRIES {
            return Err(too_many(self.pattern));
        }
        self.held.grow(path.len() + 2 * ITEM)?;
        self.found.push(path);
        Ok(())
    }

    fn list(&mut self, folder: &str, start: bool) -> Result<(Vec<Item>, Held), Error> {
        self.cancel.check()?;
        let path = if folder.is_empty() { "." } else { folder };
        // Without this, passing over a folder would be audited as an attempt to get into it.
        let request = self.run.path(path);
        if !start && !self.run.would_allow(FS, &Request::File { access: Access::Read, path: &request }) {
            return Ok((Vec::new(), self.run.budget.nothing()));
        }
        let listed = resolve(self.run, path, &[Access::Read], Last::Follow, false).and_then(|place| {
            let folder = open_folder(self.run, &[Access::Read], &place)?;
            let items = entries(self.run, &folder, path)?;
            check_still(self.run, &folder, &place.real, path, Access::Read)?;
            Ok(items)
        });
        let items = match listed {
            Ok(items) => items,
            Err(failure) => {
                self.pass(failure, start)?;
                (Vec::new(), self.run.budget.nothing())
            }
        };
        self.visited += items.0.len();
        if self.visited > MAX_ENTRIES {
            return Err(too_many(self.pattern));
        }
        Ok(items)
    }

    fn expand(&mut self, folder: &str, parts: &[Part], start: bool, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            let pattern = self.pattern;
            return Err(error(
                ErrorCode::Limit,
                format!("{pattern}: folders are nested deeper than {MAX_DEPTH}"),
            ));
        }
        let Some((part, rest)) = parts.split_first() else {
            // `/` itself.
            return if start && !folder.is_empty() { self.name(folder.to_owned(), start) } else { Ok(()) };
        };
        match part {
            Part::Name(name) => {
                let path = join(folder, OsStr::new(name));
                if rest.is_empty() {
                    self.name(path, start)
                } else {
                    self.expand(&path, rest, start, depth + 1)
                }
            }
            Part::Match(tokens) => {
                let (items, _held) = self.list(folder, start)?;
                for item in items {
                    if !pattern::matches(tokens, &item.name.to_string_lossy()) {
                        continue;
                    }
                    let path = join(folder, &item.name);
                    if rest.is_empty() {
                        self.add(path, item.kind)?;
                    } else if matches!(item.kind, FileType::Directory | FileType::Symlink) {
                        self.expand(&path, rest, false, depth + 1)?;
                    }
                }
                Ok(())
            }
            Part::Folders => {
                if !rest.is_empty() {
                    self.expand(folder, rest, start, depth + 1)?;
                }
                let (items, _held) = self.list(folder, start)?;
                for item in items {
                    let path = join(folder, &item.name);
                    if item.kind == FileType::Directory {
                        self.expand(&path, parts, false, depth + 1)?;
                    }
                    if rest.is_empty() {
                        self.add(path, item.kind)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn name(&mut self, path: String, start: bool) -> Result<(), Error> {
        let request = self.run.path(&path);
        if !start && !self.run.would_allow(FS, &Request::File { access: Access::Read, path: &request }) {
            return Ok(());
        }
        let kind = resolve(self.run, &path, &[Access::Read], Last::Keep, false)
            .and_then(|place| place.kind().map_err(|source| failed(&path, source)));
        match kind {
            Ok(kind) => self.add(path, kind),
            Err(failure) => self.pass(failure, start),
        }
    }
}
