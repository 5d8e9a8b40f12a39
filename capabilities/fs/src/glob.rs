//! `glob`: the paths that match a pattern.

use crate::Cancel;
use crate::ops::MAX_DEPTH;
use crate::pattern::{self, Part, Pattern};
use crate::resolve::{FS, Last, failed, open_directory, resolve};
use crate::walk::{ITEM, Item, MAX_ENTRIES, check_still, entries, join, too_many};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Held, Request, Run, error};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

struct Search<'a> {
    run: &'a Run,
    cancel: &'a Cancel,
    pattern: &'a str,
    only_directories: bool,
    absolute: bool,
    /// How many parts the pattern has, and how many of them come before the first wildcard.
    length: usize,
    plain: usize,
    /// Wildcards match names that begin with a dot too.
    hidden: bool,
    found: Vec<String>,
    visited: usize,
    /// What the paths found take of the run's budget until they are pulled.
    held: Held,
}

/// Every path that matches, sorted, each once, and what they take of the run's budget. Paths are relative where the pattern is.
/// What matches is what bash finds with its option `globstar`, and with `hidden` that of `dotglob`.
///
/// Directories on the way that are not granted are passed over; only the directory that the pattern starts
/// in, up to its first wildcard, must be granted.
///
/// # Errors
/// `denied`, `invalid-argument`, `limit`, or the operating system's.
pub fn glob(run: &Run, text: &str, hidden: bool, cancel: &Cancel) -> Result<(Vec<String>, Held), Error> {
    let (mut found, mut held) = (Vec::new(), run.budget.nothing());
    for Pattern { absolute, parts, only_directories } in pattern::parse(text)? {
        let plain = parts.iter().take_while(|part| matches!(part, Part::Name(_))).count();
        let (length, visited) = (parts.len(), 0);
        let mut search = Search {
            run,
            cancel,
            pattern: text,
            only_directories,
            absolute,
            length,
            plain,
            hidden,
            found,
            visited,
            held,
        };
        search.expand(if absolute { "/" } else { "" }, &parts, true, 0)?;
        (found, held) = (search.found, search.held);
    }
    found.sort_unstable();
    found.dedup();
    Ok((found, held))
}

impl Search<'_> {
    fn too_deep(&self) -> Error {
        let pattern = self.pattern;
        error(ErrorCode::Limit, format!("{pattern}: directories are nested deeper than {MAX_DEPTH}"))
    }

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

    /// Whether a path that was found is a directory, by a link too.
    fn is_directory(&self, path: &str, kind: FileType) -> bool {
        kind == FileType::Directory
            || kind == FileType::Symlink
                && self.would_read(path)
                && resolve(self.run, path, &[Access::Read], Last::Follow, false)
                    .is_ok_and(|place| place.kind() == Ok(FileType::Directory))
    }

    /// Without this, passing over something would be audited as an attempt to read it.
    fn would_read(&self, path: &str) -> bool {
        let path = self.run.path(path);
        self.run.would_allow(FS, &Request::File { access: Access::Read, path: &path })
    }

    fn add(&mut self, mut path: String, kind: FileType) -> Result<(), Error> {
        if self.only_directories {
            if !self.is_directory(&path, kind) {
                return Ok(());
            }
            if !path.ends_with('/') {
                path.push('/');
            }
        }
        if self.found.len() >= MAX_ENTRIES {
            return Err(too_many(self.pattern));
        }
        self.held.grow(path.len() + 2 * ITEM)?;
        self.found.push(path);
        Ok(())
    }

    /// What is in a directory; none where there is no directory that may be listed.
    fn list(&mut self, directory: &str, start: bool) -> Result<Option<(Vec<Item>, Held)>, Error> {
        self.cancel.check()?;
        let path = if directory.is_empty() { "." } else { directory };
        if !start && !self.would_read(path) {
            return Ok(None);
        }
        let listed = resolve(self.run, path, &[Access::Read], Last::Follow, false).and_then(|place| {
            let directory = open_directory(self.run, &[Access::Read], &place)?;
            let items = entries(self.run, &directory, path)?;
            check_still(self.run, &directory, &place.real, path, Access::Read)?;
            Ok(items)
        });
        let items = match listed {
            Ok(items) => items,
            Err(failure) => return self.pass(failure, start).map(|()| None),
        };
        self.visited += items.0.len();
        if self.visited > MAX_ENTRIES {
            return Err(too_many(self.pattern));
        }
        Ok(Some(items))
    }

    fn expand(&mut self, directory: &str, parts: &[Part], start: bool, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        let Some((part, rest)) = parts.split_first() else {
            // `/` itself.
            return if start && !directory.is_empty() {
                self.name(directory.to_owned(), start)
            } else {
                Ok(())
            };
        };
        match part {
            Part::Name(name) => {
                let path = join(directory, OsStr::new(name));
                if rest.is_empty() {
                    self.name(path, start)
                } else {
                    self.expand(&path, rest, start, depth + 1)
                }
            }
            Part::Match(tokens) => {
                let Some((items, _held)) = self.list(directory, start)? else { return Ok(()) };
                let hidden = self.hidden || pattern::may_be_hidden(tokens);
                for item in items {
                    if is_hidden(&item) && !hidden || !pattern::matches(tokens, &item.name.to_string_lossy())
                    {
                        continue;
                    }
                    let path = join(directory, &item.name);
                    if rest.is_empty() {
                        self.add(path, item.kind)?;
                    } else if matches!(item.kind, FileType::Directory | FileType::Symlink) {
                        self.expand(&path, rest, false, depth + 1)?;
                    }
                }
                Ok(())
            }
            Part::Directories => {
                if !rest.is_empty() {
                    self.expand(directory, rest, start, depth + 1)?;
                }
                let Some((items, held)) = self.list(directory, start)? else { return Ok(()) };
                if rest.is_empty() && !directory.is_empty() {
                    // The directory itself, in the form that bash gives it.
                    let slash =
                        if self.plain + 1 == self.length && !directory.ends_with('/') { "/" } else { "" };
                    self.add(format!("{directory}{slash}"), FileType::Directory)?;
                }
                self.below(directory, (items, held), rest, depth)
            }
        }
    }

    /// What a `**` matches in a directory, of which `items` are the entries. Links to directories are not entered.
    fn below(
        &mut self,
        directory: &str,
        (items, _held): (Vec<Item>, Held),
        rest: &[Part],
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        for item in items {
            if is_hidden(&item) && !self.hidden {
                continue;
            }
            let path = join(directory, &item.name);
            if rest.is_empty() {
                self.add(path.clone(), item.kind)?;
            }
            let is_directory = item.kind == FileType::Directory;
            // As in bash: what follows is looked for in a directory that a link leads to, unless the pattern begins with this.
            let is_first = !self.absolute && rest.len() + 1 == self.length;
            if !rest.is_empty() && (is_directory || item.kind == FileType::Symlink && !is_first) {
                self.expand(&path, rest, false, depth + 1)?;
            }
            if is_directory && let Some(items) = self.list(&path, false)? {
                self.below(&path, items, rest, depth + 1)?;
            }
        }
        Ok(())
    }

    fn name(&mut self, path: String, start: bool) -> Result<(), Error> {
        if !start && !self.would_read(&path) {
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

fn is_hidden(item: &Item) -> bool {
    item.name.as_bytes().starts_with(b".")
}
