//! What a run and its supervisor tell each other: packets of one fixed size over a socket that keeps
//! message boundaries. Descriptors travel beside the packet; long data is in a memory file among them.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;

/// Bytes of a packet.
pub const PACKET: usize = 32;
/// Descriptors of [`Order::Start`]: input, output, errors, working directory, the file with [`Text`], and the program: the
/// directory it lies in and its file.
pub const DESCRIPTORS: usize = 7;

/// How far a signal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The program itself.
    Process,
    /// Its process group.
    Group,
    /// Everything that descends from it, in other groups and sessions as well. Only for SIGKILL.
    Tree,
}

/// From the run to its supervisor. `id` is chosen by the run and comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start a program; `terminal` where the descriptors are its controlling terminal. `id` names it from then on.
    Start { id: u64, terminal: bool },
    /// Send a signal to the program that was started as `child`.
    Signal { id: u64, child: u64, signal: i32, reach: Reach },
}

/// From the supervisor to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Started {
        id: u64,
        pid: i32,
    },
    /// An order failed, with the system's number.
    Failed {
        id: u64,
        errno: i32,
    },
    /// A signal was sent.
    Done {
        id: u64,
    },
    /// A program has ended, with the status of waitpid(2).
    Ended {
        id: u64,
        status: i32,
    },
}

fn pack(kind: u8, first: u64, second: u64, third: i32, fourth: i32) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = kind;
    packet[8..16].copy_from_slice(&first.to_ne_bytes());
    packet[16..24].copy_from_slice(&second.to_ne_bytes());
    packet[24..28].copy_from_slice(&third.to_ne_bytes());
    packet[28..].copy_from_slice(&fourth.to_ne_bytes());
    packet
}

fn unpack(packet: &[u8]) -> Option<(u8, u64, u64, i32, i32)> {
    let packet: &[u8; PACKET] = packet.try_into().ok()?;
    let long = |at: usize| Some(u64::from_ne_bytes(packet.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| Some(i32::from_ne_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    Some((packet[0], long(8)?, long(16)?, short(24)?, short(28)?))
}

impl Order {
    pub fn encode(self) -> [u8; PACKET] {
        match self {
            Order::Start { id, terminal } => pack(1, id, 0, terminal.into(), 0),
            Order::Signal { id, child, signal, reach } => {
                let reach = match reach {
                    Reach::Process => 0,
                    Reach::Group => 1,
                    Reach::Tree => 2,
                };
                pack(2, id, child, signal, reach)
            }
        }
    }

    pub fn decode(packet: &[u8]) -> Option<Order> {
        let (kind, id, child, third, fourth) = unpack(packet)?;
        match kind {
            1 => Some(Order::Start { id, terminal: third != 0 }),
            2 => {
                let reach = match fourth {
                    0 => Reach::Process,
                    1 => Reach::Group,
                    _ => Reach::Tree,
                };
                Some(Order::Signal { id, child, signal: third, reach })
            }
            _ => None,
        }
    }
}

impl News {
    pub fn encode(self) -> [u8; PACKET] {
        match self {
            News::Started { id, pid } => pack(1, id, 0, pid, 0),
            News::Failed { id, errno } => pack(2, id, 0, errno, 0),
            News::Done { id } => pack(3, id, 0, 0, 0),
            News::Ended { id, status } => pack(4, id, 0, status, 0),
        }
    }

    pub fn decode(packet: &[u8]) -> Option<News> {
        let (kind, id, _, value, _) = unpack(packet)?;
        match kind {
            1 => Some(News::Started { id, pid: value }),
            2 => Some(News::Failed { id, errno: value }),
            3 => Some(News::Done { id }),
            4 => Some(News::Ended { id, status: value }),
            _ => None,
        }
    }
}

/// The words of a program to start: none holds a NUL byte, which separates them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The path of the program, for what can be started by its name only.
    pub program: OsString,
    /// The name it is called by, and its arguments.
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
}

impl Text {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.args.len().to_string().into_bytes();
        let mut word = |parts: &[&OsString]| {
            bytes.push(0);
            for (n, part) in parts.iter().enumerate() {
                if n > 0 {
                    bytes.push(b'=');
                }
                bytes.extend_from_slice(part.as_encoded_bytes());
            }
        };
        word(&[&self.program]);
        self.args.iter().for_each(|arg| word(&[arg]));
        self.env.iter().for_each(|(name, value)| word(&[name, value]));
        bytes
    }

    /// # Errors
    /// When `bytes` were not made by [`Text::encode`].
    pub fn decode(bytes: &[u8]) -> io::Result<Text> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut words = bytes.split(|byte| *byte == 0);
        let mut next = || words.next().map(|word| OsString::from_vec(word.to_vec())).ok_or_else(bad);
        let count = next()?.to_str().and_then(|count| count.parse::<usize>().ok()).ok_or_else(bad)?;
        let program = next()?;
        let mut args = Vec::new();
        for _ in 0..count {
            args.push(next()?);
        }
        let env = words.map(|word| {
            let at = word.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            Ok((OsString::from_vec(word[..at].to_vec()), OsString::from_vec(word[at + 1..].to_vec())))
        });
        Ok(Text { program, args, env: env.collect::<io::Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_as_they_were() {
        for order in [
            Order::Start { id: 7, terminal: true },
            Order::Start { id: u64::MAX, terminal: false },
            Order::Signal { id: 1, child: 2, signal: 15, reach: Reach::Tree },
            Order::Signal { id: 1, child: 2, signal: 9, reach: Reach::Group },
        ] {
            assert_eq!(Order::decode(&order.encode()), Some(order));
        }
        for news in [
            News::Started { id: 1, pid: 4_194_303 },
            News::Failed { id: 2, errno: 2 },
            News::Done { id: 3 },
            News::Ended { id: 4, status: 0x0900 },
        ] {
            assert_eq!(News::decode(&news.encode()), Some(news));
        }
        assert_eq!(Order::decode(&[0; PACKET]), None);
        assert_eq!(News::decode(b"short"), None);
    }

    #[test]
    fn words_come_back_as_they_were() {
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        for text in [
            Text { program: "/bin/true".into(), args: vec!["true".into()], env: vec![] },
            Text {
                program: "/bin/sh".into(),
                args: vec!["sh".into(), "".into(), bytes(b"\xff\n "), "a=b".into()],
                env: vec![("A".into(), "x=y".into()), ("B".into(), "".into())],
            },
        ] {
            assert_eq!(Text::decode(&text.encode()).unwrap(), text);
        }
        assert!(Text::decode(b"").is_err());
        assert!(Text::decode(b"9\0/bin/true\0true").is_err());
    }
}
