//! The agent's two connections to its gateway: dialling, hello, reading, bounded writing, and coming back after a loss.
//!
//! Knows the link's messages, and nothing of Lambda: the worker decides what they mean.
//!
//! ```text
//!  lost ──dial──> greeting (control: Hello sent) ──Welcome──> up ──broken──> lost     (again after 10 ms … 1 s)
//!                                                              │
//!                                  invocation connection: open while the worker is free or serves this gateway
//! ```
//!
//! A gateway that is away for longer than the orphan timeout is not coming back: the worker ends.

use crate::buffer::{Filled, Incoming, Outgoing};
use crate::clock::Moment;
use crate::journal;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use warmpod_link::control::{self, Channel, Held, Hello};
use warmpod_link::frame::{HEAD, Head};
use warmpod_link::worker::{ENDPOINT_SOCKET, GatewayAddress};
use warmpod_link::{FromAgent, ToAgent, VERSION, WorkerSpec};

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// How long a gateway may take to answer a hello.
const GREETING: Duration = Duration::from_secs(10);

pub struct Gateway {
    /// The folder of the gateway's socket, opened before the sandbox hides it, and the socket's name in it.
    folder: OwnedFd,
    name: OsString,
    hello: Hello,
    orphan_timeout: Duration,
    control: Option<Control>,
    invocation: Option<Invocation>,
    /// An invocation connection is to be there.
    offered: bool,
    /// From the invocation connection. A frame that is being served outlives its connection.
    frames: Incoming,
    /// Length of the frame that is being served, at the start of the buffer.
    serving: Option<usize>,
    /// Encoded messages that wait for the control connection.
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    retry: Duration,
    retry_at: Option<Moment>,
    alone_since: Moment,
    /// The time of the last `tick`.
    ticked: Moment,
}

struct Control {
    socket: OwnedFd,
    incoming: Incoming,
    /// How much of the queue's first message is written.
    written: usize,
    welcome_by: Option<Moment>,
}

struct Invocation {
    socket: OwnedFd,
    outgoing: Outgoing,
}

/// A connection, as poll sees it: what to watch, and whether there is something to write.
pub struct Watch<'a> {
    pub socket: BorrowedFd<'a>,
    pub writes: bool,
}

impl Gateway {
    pub fn new(spec: &WorkerSpec, now: Moment) -> io::Result<Gateway> {
        let GatewayAddress::Unix(path) = &spec.gateway;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the gateway's address is no path of a socket"));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Gateway {
            folder: rustix::fs::open(folder, flags, Mode::empty())?,
            name: name.to_owned(),
            hello: Hello {
                version: VERSION,
                worker: spec.worker,
                class: spec.class,
                channel: Channel::Control,
                credential: spec.token,
                held: Held::Starting,
            },
            orphan_timeout: Duration::from_millis(spec.orphan_timeout_ms.into()),
            control: None,
            invocation: None,
            offered: false,
            frames: Incoming::default(),
            serving: None,
            queue: VecDeque::new(),
            queued: 0,
            retry: FIRST_RETRY,
            retry_at: Some(now),
            alone_since: now,
            ticked: now,
        })
    }

    /// What later hellos say that the worker is.
    pub fn set_held(&mut self, held: Held) {
        self.hello.held = held;
    }

    fn set_busy(&mut self, now_busy: bool) {
        if let Held::Bound { busy, .. } = &mut self.hello.held {
            *busy = now_busy;
        }
    }

    pub fn control(&self) -> Option<Watch<'_>> {
        let control = self.control.as_ref()?;
        let writes = control.welcome_by.is_none() && !self.queue.is_empty();
        Some(Watch { socket: control.socket.as_fd(), writes })
    }

    pub fn invocation(&self) -> Option<Watch<'_>> {
        let invocation = self.invocation.as_ref()?;
        Some(Watch { socket: invocation.socket.as_fd(), writes: !invocation.outgoing.is_empty() })
    }

    /// When `tick` is due.
    pub fn deadline(&self) -> Option<Moment> {
        let welcome = self.control.as_ref().and_then(|control| control.welcome_by);
        let orphan = (!self.is_up()).then(|| self.alone_since + self.orphan_timeout);
        [self.retry_at, welcome, orphan].into_iter().flatten().min()
    }

    /// The gateway has been away for too long.
    pub fn is_orphan(&self, now: Moment) -> bool {
        !self.is_up() && now.since(self.alone_since) >= self.orphan_timeout
    }

    /// A gateway has said welcome.
    pub fn is_up(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.welcome_by.is_none())
    }

    /// Bytes of messages that wait to be written.
    pub fn backlog(&self) -> usize {
        self.queued
    }

    /// Dials what is missing, if it is time to.
    pub fn tick(&mut self, now: Moment) {
        self.ticked = now;
        if self.control.as_ref().and_then(|control| control.welcome_by).is_some_and(|by| by <= now) {
            self.lose("it did not answer the hello", now);
        }
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        if self.control.is_none() {
            match self.dial(Channel::Control) {
                Ok(socket) => {
                    let welcome_by = Some(now + GREETING);
                    self.control = Some(Control { socket, incoming: Incoming::default(), written: 0, welcome_by });
                }
                Err(_) => self.retry_later(now),
            }
        } else if self.is_up() && self.offered && self.invocation.is_none() && self.serving.is_none() {
            self.dial_invocation(now);
        }
    }

    fn dial_invocation(&mut self, now: Moment) {
        match self.dial(Channel::Invocation) {
            Ok(socket) => {
                self.frames = Incoming::default();
                self.invocation = Some(Invocation { socket, outgoing: Outgoing::default() });
            }
            // Too many dial at once.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.retry_later(now),
            Err(error) => self.lose(&format!("the invocation connection cannot be opened: {error}"), now),
        }
    }

    fn retry_later(&mut self, now: Moment) {
        self.retry_at = Some(now + self.retry);
        self.retry = (self.retry * 2).min(LAST_RETRY);
    }

    /// Connects to a socket in the gateway's folder.
    fn connect(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // By its name in its folder: the sandbox has put another root in place.
        rustix::process::fchdir(&self.folder)?;
        let connected = rustix::net::connect(&socket, &SocketAddrUnix::new(name)?);
        rustix::process::chdir("/")?;
        connected?;
        Ok(socket)
    }

    /// A connection to the endpoint, for a client in this worker.
    pub fn dial_endpoint(&self) -> io::Result<OwnedFd> {
        self.connect(OsStr::new(ENDPOINT_SOCKET))
    }

    fn dial(&self, channel: Channel) -> io::Result<OwnedFd> {
        let socket = self.connect(&self.name)?;
        let hello = control::encode(&Hello { channel, ..self.hello.clone() }).map_err(io::Error::other)?;
        // A fresh socket has room for it.
        match rustix::io::write(&socket, &hello)? {
            written if written == hello.len() => Ok(socket),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// The worker is free: an invocation connection is to be there, until a frame is served. `tick` opens it.
    pub fn offer(&mut self) {
        self.offered = true;
    }

    /// Reads once from the control connection and gives what has come.
    pub fn read_control(&mut self, now: Moment) -> Vec<ToAgent> {
        let Some(control) = &mut self.control else { return Vec::new() };
        match control.incoming.fill(&control.socket, 0) {
            Filled::NotYet => return Vec::new(),
            Filled::Closed => {
                self.lose("it closed the control connection", now);
                return Vec::new();
            }
            Filled::Some => {}
        }
        let mut messages = Vec::new();
        loop {
            match control::decode(control.incoming.data()) {
                Ok(None) => return messages,
                Ok(Some((message, length))) => {
                    control.incoming.consume(length);
                    if let ToAgent::Welcome { secret } = &message {
                        self.hello.credential = *secret;
                        control.welcome_by = None;
                        self.retry = FIRST_RETRY;
                        self.alone_since = now;
                    }
                    messages.push(message);
                }
                Err(error) => {
                    self.lose(&error.to_string(), now);
                    return messages;
                }
            }
        }
    }

    /// Queues a message and writes what goes.
    pub fn send(&mut self, message: &FromAgent) {
        match control::encode(message) {
            Ok(bytes) => {
                self.queued += bytes.len();
                self.queue.push_back(bytes);
                self.flush_control();
            }
            Err(error) => journal::note(format_args!("a message was dropped: {error}")),
        }
    }

    /// Writes what goes of the queue. A broken connection shows when it is read.
    pub fn flush_control(&mut self) {
        let Some(control) = self.control.as_mut().filter(|control| control.welcome_by.is_none()) else { return };
        while let Some(message) = self.queue.front() {
            let Ok(count) =
                rustix::io::retry_on_intr(|| rustix::io::write(&control.socket, &message[control.written..]))
            else {
                return;
            };
            control.written += count;
            if control.written < message.len() {
                return;
            }
            control.written = 0;
            self.queued -= message.len();
            self.queue.pop_front();
        }
    }

    /// Reads once from the invocation connection. True: a whole frame that is not served yet is there.
    pub fn read_invocation(&mut self) -> bool {
        let Some(invocation) = &self.invocation else { return false };
        let missing = match Head::decode(self.frames.data()) {
            Ok(Some(head)) => head.frame_len().saturating_sub(self.frames.data().len()),
            _ => HEAD,
        };
        match self.frames.fill(&invocation.socket, missing) {
            Filled::Some => {}
            Filled::NotYet => return false,
            Filled::Closed => {
                self.drop_invocation("it closed the connection");
                return false;
            }
        }
        if self.serving.is_some() {
            self.drop_invocation("it sent a frame while an invocation was running");
            return false;
        }
        match Head::decode(self.frames.data()) {
            Ok(Some(head)) => self.frames.data().len() >= head.frame_len(),
            Ok(None) => false,
            Err(error) => {
                self.drop_invocation(&error.to_string());
                false
            }
        }
    }

    /// The frame that has come, or is being served: its head, meta part and body.
    pub fn frame(&self) -> Option<(Head, &[u8], &[u8])> {
        let data = self.frames.data();
        let head = Head::decode(data).ok().flatten()?;
        let (meta, body) = data.get(HEAD..head.frame_len())?.split_at(usize::from(head.meta));
        Some((head, meta, body))
    }

    /// The frame that has come and is not served yet.
    pub fn waiting_frame(&self) -> Option<(Head, &[u8], &[u8])> {
        self.frame().filter(|_| self.serving.is_none())
    }

    /// The frame is being served: it stays readable until [`Gateway::served`].
    pub fn serve(&mut self) {
        self.serving = self.frame().map(|(head, _, _)| head.frame_len());
        self.offered = false;
    }

    /// Writes an answer, with one call if it fits.
    pub fn answer(&mut self, head: Head, meta: &[u8], body: &[u8]) {
        if let Some(invocation) = &mut self.invocation
            && invocation.outgoing.send(&invocation.socket, &[&head.encode(), meta, body]).is_err()
        {
            self.drop_invocation("it left before its answer");
        }
    }

    /// The invocation is over: its frame is forgotten.
    pub fn served(&mut self) {
        self.set_busy(false);
        if let Some(length) = self.serving.take() {
            self.frames.consume(length);
        }
    }

    pub fn flush_invocation(&mut self) {
        if let Some(invocation) = &mut self.invocation
            && !invocation.outgoing.is_empty()
            && invocation.outgoing.flush(&invocation.socket).is_err()
        {
            self.drop_invocation("it left in the middle of an answer");
        }
    }

    pub fn has_invocation_connection(&self) -> bool {
        self.invocation.is_some()
    }

    pub fn drop_invocation(&mut self, reason: &str) {
        if self.invocation.take().is_some() {
            self.set_busy(self.serving.is_some());
            // One that closes each connection at once is not dialled in a tight loop.
            self.retry_at = Some(self.ticked + FIRST_RETRY);
            if self.serving.is_none() {
                self.frames = Incoming::default();
            }
            // An idle one that is closed is how a gateway takes an environment out of service.
            if self.serving.is_some() {
                journal::note(format_args!("the gateway's invocation connection is closed: {reason}"));
            }
        }
    }

    fn lose(&mut self, reason: &str, now: Moment) {
        let Some(control) = self.control.take() else { return };
        journal::note(format_args!("the gateway is lost: {reason}"));
        if control.welcome_by.is_none() {
            self.alone_since = now;
        }
        self.drop_invocation("the gateway is lost");
        self.retry_later(now);
    }
}
