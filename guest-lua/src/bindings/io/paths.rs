//! Modes of `io.open`, the file functions of `os` for its binding, and the source of `dofile` and `loadfile`.

use super::read::{Format, Value, read};
use super::stream::{Source, Stream};
use super::{attempt, soft};
use crate::bindings::fs::buffer::Buffer;
use crate::bindings::fs::read_to_end;
use crate::call::{Call, Error};
use crate::host::fs::{self, OpenFlags};
use crate::task::{Pending, wait};

/// What a mode of `io.open` means: `[rwa]%+?b*`.
pub fn flags(mode: &[u8]) -> Option<OpenFlags> {
    let (first, rest) = mode.split_first()?;
    let both = rest.first() == Some(&b'+');
    if !rest[usize::from(both)..].iter().all(|byte| *byte == b'b') {
        return None;
    }
    let flags = match first {
        b'r' if both => OpenFlags::READ | OpenFlags::WRITE,
        b'r' => OpenFlags::READ,
        b'w' => OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE,
        b'a' => OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE,
        _ => return None,
    };
    Some(if both { flags | OpenFlags::READ } else { flags })
}

/// `os.remove(path)`: a file, a link or an empty directory.
pub fn remove(call: Call) -> Result<Pending, Error> {
    let path = call.string(1)?;
    attempt(fs::remove_one(path))
}

/// `os.rename(from, to)`
pub fn rename(call: Call) -> Result<Pending, Error> {
    let (from, to) = (call.string(1)?, call.string(2)?);
    attempt(fs::rename(from, to))
}

/// `os.tmpname()`: the name of a new, empty file in the run's own temporary directory.
pub fn tmpname(_: Call) -> Result<Pending, Error> {
    wait(async move {
        let path = format!("{}/lua", fs::temp_directory().await?);
        fs::open(path.clone(), OpenFlags::WRITE | OpenFlags::CREATE).await?;
        Ok(move |call: Call| {
            call.lua().push_str(&path);
            Ok(1)
        })
    })
}

// `dofile` and `loadfile`.

/// `source(path)`: a chunk's text without its first line if that is for the system; or nil and why not.
pub fn source(call: Call) -> Result<Pending, Error> {
    let path = call.opt_str(1)?.map(str::to_owned);
    wait(async move {
        let result = match &path {
            Some(path) => file_source(path).await,
            None => {
                let stream = Stream::new(Source::Stdin);
                read(&stream, &[Format::All]).await.map(|mut values| values.pop())
            }
        };
        let mut result = match result {
            Ok(Some(Value::Text(text))) => Ok(text),
            Ok(_) => Ok(Buffer::new()),
            Err(Error::Failed(mut error)) => {
                if error.errno != 0 {
                    error.message = format!("cannot open {}", error.message);
                }
                Err(error)
            }
            Err(error) => return Err(error),
        };
        Ok(move |call: Call| match &mut result {
            Ok(text) => {
                let bare = crate::run::without_shebang(text.as_slice());
                if bare.len() == text.as_slice().len() {
                    text.push(call.lua());
                } else {
                    call.lua().push_bytes(bare);
                }
                Ok(1)
            }
            Err(error) => soft(call.lua(), error),
        })
    })
}

async fn file_source(path: &str) -> Result<Option<Value>, Error> {
    let file = fs::open(path.to_owned(), OpenFlags::READ).await?;
    Ok(Some(Value::Text(read_to_end(&file).await?)))
}
