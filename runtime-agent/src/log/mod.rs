//! A function's log on its way from the processes to the gateway, and the tail that a caller may ask for.
//!
//! Two pipes: one for standard output and error, one for the frames of managed runtimes. Events leave in batches. The
//! amount kept is bounded: when the gateway does not keep up, the pipes are left full first, so that the function waits
//! as it would for any pipe; after a while without room events are dropped, counted, and the count is told.
//!
//! ```text
//!  room ──full──> waiting (pipes unread) ──PATIENCE──> dropping ──room──> LogsDropped, room
//! ```

mod frame;
mod line;
mod output;

pub use line::{Context, render};

use crate::buffer::{Filled, Incoming};
use crate::clock::{Moment, Now, WallTime};
use crate::gateway::Gateway;
use frame::Frames;
use output::{Output, PACKET};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use warmpod_link::FromAgent;
use warmpod_link::control::LogEvent;

/// A batch leaves when it has so many bytes, or is so old.
const BATCH: usize = 64 * 1024;
const BATCH_AGE: Duration = Duration::from_millis(20);
/// What may wait for the gateway, bytes. Above, pipes are left unread; above twice this, events are dropped at once.
const ROOM: usize = 1024 * 1024;
/// How long a function waits for room before its events are dropped.
const PATIENCE: Duration = Duration::from_secs(1);
/// Packets taken in one go: a pipe holds no more.
const PACKETS: usize = 64;
/// What an event costs besides its bytes.
const OVERHEAD: usize = 48;
/// AWS's length of a log tail.
const TAIL: usize = 4096;

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

pub struct Log {
    output: Pipe,
    frames: Pipe,
    cutter: Output,
    parser: Frames,
    incoming: Incoming,
    batch: Vec<LogEvent>,
    batch_bytes: usize,
    batch_since: Option<Moment>,
    full_since: Option<Moment>,
    dropping: bool,
    /// What the gateway has yet to send on, as of the last flush.
    backlog: usize,
    dropped: (u64, u64),
    tail: Option<Vec<u8>>,
}

impl Log {
    pub fn new() -> io::Result<Log> {
        Ok(Log {
            output: Pipe::new(PipeFlags::DIRECT)?,
            frames: Pipe::new(PipeFlags::empty())?,
            cutter: Output::default(),
            parser: Frames::default(),
            incoming: Incoming::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            batch_since: None,
            full_since: None,
            dropping: false,
            backlog: 0,
            dropped: (0, 0),
            tail: None,
        })
    }

    /// Standard output and error of a process.
    pub fn output_writer(&self) -> io::Result<OwnedFd> {
        self.output.writer.try_clone()
    }

    /// `_LAMBDA_TELEMETRY_LOG_FD` of a process.
    pub fn frame_writer(&self) -> io::Result<OwnedFd> {
        self.frames.writer.try_clone()
    }

    /// The pipes to watch: standard output, frames. None while there is no room.
    pub fn pipes(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let read = self.full_since.is_none() || self.dropping;
        [&self.output, &self.frames].map(|pipe| read.then(|| pipe.reader.as_fd()))
    }

    /// Takes what waits in the standard output's pipe.
    pub fn read_output(&mut self, now: Now) {
        let mut packet = [0; PACKET];
        for _ in 0..PACKETS {
            let Ok(count) = rustix::io::retry_on_intr(|| rustix::io::read(&self.output.reader, &mut packet)) else {
                return;
            };
            if let Some(event) = self.cutter.packet(&packet[..count], now.at) {
                self.push(now.wall, now.at, event);
            }
        }
    }

    /// Takes what waits in the frames' pipe.
    pub fn read_frames(&mut self, now: Now) {
        if self.incoming.fill(&self.frames.reader, 64 * 1024) != Filled::Some {
            return;
        }
        let (mut parser, mut incoming) = (std::mem::take(&mut self.parser), std::mem::take(&mut self.incoming));
        parser.take(&mut incoming, now.wall, |time, event| self.push(time, now.at, event));
        (self.parser, self.incoming) = (parser, incoming);
    }

    /// A phase ends: an unfinished line belongs to it, and so does what waits in pipes that were left unread.
    pub fn end_of_phase(&mut self, now: Now) {
        if self.full_since.is_some() {
            self.drain(now);
        } else if let Some(event) = self.cutter.take() {
            self.push(now.wall, now.at, event);
        }
    }

    /// Takes all that is there, before a line of the platform that must come after it.
    pub fn drain(&mut self, now: Now) {
        self.read_output(now);
        self.read_frames(now);
        if let Some(event) = self.cutter.take() {
            self.push(now.wall, now.at, event);
        }
    }

    /// The processes are gone, and what they left unfinished with them.
    pub fn end_of_processes(&mut self, now: Now) {
        self.drain(now);
        self.incoming = Incoming::default();
        if let Some(event) = self.parser.end() {
            self.push(now.wall, now.at, event);
        }
    }

    /// Adds an event.
    pub fn push(&mut self, time: WallTime, now: Moment, line: Vec<u8>) {
        if let Some(tail) = &mut self.tail {
            if tail.len() > 4 * TAIL {
                tail.drain(..tail.len() - TAIL);
            }
            tail.extend_from_slice(&line);
        }
        let (cost, kept) = (line.len() + OVERHEAD, self.backlog + self.batch_bytes);
        if kept + cost > if self.dropping { ROOM } else { 2 * ROOM } {
            self.dropped.0 += 1;
            self.dropped.1 += line.len() as u64;
            return;
        }
        self.batch_bytes += cost;
        self.batch_since.get_or_insert(now);
        self.batch.push(LogEvent { time_ms: time.0, line });
    }

    /// When `settle` should be called at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let batch = self.batch_since.map(|since| since + BATCH_AGE);
        let patience = self.full_since.filter(|_| !self.dropping).map(|since| since + PATIENCE);
        [batch, patience, self.cutter.due()].into_iter().flatten().min()
    }

    /// Sends a batch that is large or old enough, and finds out whether there is room.
    pub fn settle(&mut self, gateway: &mut Gateway, now: Now) {
        if self.cutter.due().is_some_and(|due| due <= now.at)
            && let Some(event) = self.cutter.take()
        {
            self.push(now.wall, now.at, event);
        }
        if self.batch_bytes >= BATCH || self.batch_since.is_some_and(|since| since + BATCH_AGE <= now.at) {
            self.flush(gateway);
        }
        self.backlog = gateway.backlog();
        if self.backlog + self.batch_bytes < ROOM {
            (self.full_since, self.dropping) = (None, false);
            self.tell_dropped(gateway);
        } else {
            let since = *self.full_since.get_or_insert(now.at);
            self.dropping |= now.at.since(since) >= PATIENCE;
        }
    }

    /// Hands everything to the gateway's connection.
    pub fn flush(&mut self, gateway: &mut Gateway) {
        self.batch_since = None;
        if !self.batch.is_empty() {
            self.batch_bytes = 0;
            gateway.send(&FromAgent::Logs(std::mem::take(&mut self.batch)));
        }
        self.backlog = gateway.backlog();
    }

    fn tell_dropped(&mut self, gateway: &mut Gateway) {
        let (events, bytes) = std::mem::take(&mut self.dropped);
        if events > 0 {
            gateway.send(&FromAgent::LogsDropped { events, bytes });
        }
    }

    /// Begins to keep the tail: at an init, and at an invocation whose caller wants it. After an init, the invocation's
    /// tail holds the init's lines too.
    pub fn keep_tail(&mut self, wanted: bool, cold: bool) {
        match (wanted, cold) {
            (false, _) => self.tail = None,
            (true, true) => {
                self.tail.get_or_insert_default();
            }
            (true, false) => self.tail = Some(Vec::new()),
        }
    }

    /// The last 4,096 bytes.
    pub fn take_tail(&mut self) -> Vec<u8> {
        let mut tail = self.tail.take().unwrap_or_default();
        tail.drain(..tail.len().saturating_sub(TAIL));
        tail
    }
}

impl Pipe {
    fn new(flags: PipeFlags) -> io::Result<Pipe> {
        let (reader, writer) = pipe_with(flags | PipeFlags::CLOEXEC)?;
        // Only our end: the function's writes wait as those to any pipe do.
        let flags = rustix::fs::fcntl_getfl(&reader)?;
        rustix::fs::fcntl_setfl(&reader, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Pipe { reader, writer })
    }
}
