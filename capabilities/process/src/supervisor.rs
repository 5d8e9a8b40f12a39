//! The supervisor of a run: a small process between the run and the programs it starts, their parent and, by
//! PR_SET_CHILD_SUBREAPER, that of everything they leave behind. So whatever a program does (fork twice, open a
//! new session) it stays below the supervisor, belongs to one run, and can be found and ended with it.
//!
//! It is this executable again, with nothing of the run's memory, descriptors or environment. It lives as long as
//! the run holds the other end of its socket: a run that is killed is noticed like one that ends.

mod exec;
pub mod tree;
pub mod wire;

use exec::Exec;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send, sockopt};
use rustix::process::{Pid, Signal, set_child_subreaper, set_parent_process_death_signal, setsid};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wire::{DESCRIPTORS, News, Order, PACKET, Reach, Text};

/// The name that makes this executable a supervisor.
pub const NAME: &str = "assay-supervisor";
/// How long it tries to end what does not end: programs of another user, or in an uninterruptible call.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Signals that would end it, and that are for the run to receive.
const IGNORED: [libc::c_int; 12] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGXCPU,
];

/// Becomes the supervisor, and never returns, if this process was started as one. To be called first in `main`.
pub fn run_if_asked() {
    if std::env::args_os().next().is_none_or(|name| name != NAME) {
        return;
    }
    let code = match Supervisor::new() {
        Ok(mut supervisor) => {
            supervisor.serve();
            supervisor.end();
            0
        }
        Err(_) => {
            // Where it cannot be said, the exit code is left.
            let _ = writeln!(io::stderr(), "{NAME} is a part of assay that it starts itself");
            64
        }
    };
    std::process::exit(code)
}

struct Supervisor {
    socket: OwnedFd,
    /// Readable when a child has ended.
    signals: OwnedFd,
    children: HashMap<u64, Pid>,
}

/// A raw system call's result, -1 is `errno`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives every signal that has a handler or is ignored its default, and blocks none. Async-signal-safe.
fn reset_signals() {
    // The kernel's own structure of an action, at most so many words; all zero is the default. The C library's call
    // refuses the signals that it uses itself, which the parent of this process may have ignored.
    let action = [0_u64; 4];
    // SAFETY: valid pointers, and the kernel's size of a signal set; what is refused (SIGKILL, SIGSTOP) changes
    // nothing.
    unsafe {
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null::<u64>(), 8);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Ignores what would end the supervisor, and makes the end of children readable.
fn take_signals() -> io::Result<OwnedFd> {
    // SAFETY: valid arguments; this process has one thread, so the mask is the process's. The new descriptor
    // belongs to nobody else.
    unsafe {
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Closes what was inherited beyond the three standard descriptors.
fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor yet.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) == 0 {
            return;
        }
        // Linux before 5.9.
        let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        for fd in open.into_iter().filter(|fd| *fd > 2) {
            libc::close(fd);
        }
    }
}

/// Waits until one of `descriptors` is readable or closed, at most so many milliseconds (-1: for ever). Tells which.
pub fn wait_readable<const N: usize>(descriptors: [RawFd; N], milliseconds: i32) -> [bool; N] {
    let mut polled = descriptors.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: the pointer and the count are those of a live array.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, milliseconds) };
    polled.map(|one| ready > 0 && one.revents != 0)
}

impl Supervisor {
    fn new() -> io::Result<Supervisor> {
        // A socket that keeps packets apart is what only a run gives.
        let stdin = io::stdin();
        if sockopt::socket_type(&stdin)? != rustix::net::SocketType::SEQPACKET {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        close_inherited();
        let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
        let null = File::open("/dev/null")?;
        // SAFETY: both are open; descriptor 0 is the socket that was just duplicated.
        check(unsafe { libc::dup2(null.as_raw_fd(), 0) })?;
        // Away from the terminal and its signals, and from the directory, whose file system may be unmounted.
        let _ = setsid();
        std::env::set_current_dir("/")?;
        set_child_subreaper(Some(rustix::process::getpid()))?;
        let signals = take_signals()?;
        Ok(Supervisor { socket, signals, children: HashMap::new() })
    }

    /// Works until the run closes its end.
    fn serve(&mut self) {
        loop {
            let [news, ended] = wait_readable([self.socket.as_raw_fd(), self.signals.as_raw_fd()], -1);
            if ended {
                self.reap();
            }
            if news && !self.obey() {
                return;
            }
        }
    }

    /// Takes one order; false when no more will come.
    fn obey(&mut self) -> bool {
        let mut packet = [0; PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let received = match recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
            Err(_) => return false,
        };
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let Some(order) = packet.get(..received.bytes).and_then(Order::decode) else {
            // The end is an empty packet; anything else is not ours.
            return false;
        };
        let news = match order {
            Order::Start { id, terminal } => match start(descriptors, terminal) {
                Ok(pid) => {
                    self.children.insert(id, pid);
                    News::Started { id, pid: pid.as_raw_nonzero().get() }
                }
                Err(error) => News::Failed { id, errno: errno(&error) },
            },
            Order::Signal { id, child, signal, reach } => match self.signal(child, signal, reach) {
                Ok(()) => News::Done { id },
                Err(error) => News::Failed { id, errno: errno(&error) },
            },
        };
        self.tell(news)
    }

    fn tell(&self, news: News) -> bool {
        loop {
            match send(&self.socket, &news.encode(), SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.is_ok(),
            }
        }
    }

    /// Its children are reaped here only, so their numbers are theirs while they are listed.
    fn signal(&self, child: u64, signal: i32, reach: Reach) -> io::Result<()> {
        let Some(pid) = self.children.get(&child) else {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        };
        let pid = pid.as_raw_nonzero().get();
        match reach {
            Reach::Process => check(unsafe { libc::kill(pid, signal) }).map(drop),
            Reach::Group => check(unsafe { libc::kill(-pid, signal) }).map(drop),
            Reach::Tree => {
                tree::kill(pid);
                Ok(())
            }
        }
    }

    /// Reaps what has ended: the run's programs, of which it is told, and what they left behind. False when no
    /// child is left.
    fn reap(&mut self) -> bool {
        let mut seen = [0; 512];
        while rustix::io::read(&self.signals, &mut seen).is_ok_and(|read| read > 0) {}
        loop {
            let mut status = 0;
            // SAFETY: a valid pointer. Any child, without waiting.
            match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
                0 => return true,
                pid if pid > 0 => {
                    let listed = self.children.iter().find(|(_, child)| child.as_raw_nonzero().get() == pid);
                    if let Some(id) = listed.map(|(id, _)| *id) {
                        self.children.remove(&id);
                        self.tell(News::Ended { id, status });
                    }
                }
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => return false,
            }
        }
    }

    /// Ends everything that is left.
    fn end(&mut self) {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let started = Instant::now();
        while started.elapsed() < END_PATIENCE {
            // What is known needs no look into /proc.
            for child in self.children.values() {
                let _ = rustix::process::kill_process_group(*child, Signal::KILL);
            }
            tree::kill(own);
            if !self.reap() {
                return;
            }
            wait_readable([self.signals.as_raw_fd()], 20);
        }
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Starts a program with the descriptors of [`Order::Start`].
fn start(descriptors: Vec<OwnedFd>, terminal: bool) -> io::Result<Pid> {
    let bad = || io::Error::from_raw_os_error(libc::EBADF);
    let [input, output, errors, directory, text, home, file]: [OwnedFd; DESCRIPTORS] =
        descriptors.try_into().map_err(|_| bad())?;
    let mut words = Vec::new();
    let mut text = File::from(text);
    text.rewind()?;
    text.read_to_end(&mut words)?;
    let text = Text::decode(&words)?;
    let (name, args) = text.args.split_first().ok_or_else(bad)?;
    let exec = Exec::new(&text, home, file)?;
    let mut command = Command::new(&text.program);
    command.arg0(name).args(args).env_clear().envs(text.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let supervisor = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec, in a copy of this process, which has one thread, and makes
    // system calls only.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            if terminal {
                // Its input is the terminal, which becomes the one of the new session.
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
            }
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before the line above.
            if rustix::process::getppid() != Some(supervisor) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            rustix::process::fchdir(directory.as_fd())?;
            reset_signals();
            exec.replace()
        });
    }
    let child = command.spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(bad)
}
