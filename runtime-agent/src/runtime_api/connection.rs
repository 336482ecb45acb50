//! One connection of a runtime: requests in, answers out, in order.
//!
//! ```text
//!  head ──> body ──> call ──answered──> head      a `next` that waits for its event stops the reading
//!                                                 after a 202 the connection may rest unread (*lazy*): the runtime's
//!                                                 `next` is sure to come, and is read when an invocation needs it
//! ```

use super::answer;
use super::body::{Body, Progress};
use super::request::{self, BadHead, MAX_HEAD, Request};
use crate::buffer::{Filled, Incoming, Outgoing};
use rustix::event::PollFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub struct Connection {
    socket: OwnedFd,
    incoming: Incoming,
    outgoing: Outgoing,
    current: Option<(Request, Body)>,
    /// Bytes at the start of the buffer that hold no end of a head.
    scanned: usize,
    wait: Wait,
    /// What is read now may have come while nothing was waited for.
    late: bool,
    /// Nothing more comes from the other side.
    ended: bool,
    /// To be closed once what was answered is written.
    closing: bool,
}

/// What the connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Request,
    /// An event: it asked for the next one.
    Event,
    /// Nothing: its next request is read when it is needed.
    Nothing,
}

/// What came of reading.
pub enum Step {
    /// Nothing to do until more is read.
    Wait,
    /// A request with its whole body, or with what there will ever be of it.
    Call(Call),
    /// The connection is over.
    Close,
}

pub struct Call {
    pub request: Request,
    body: Body,
    pub truncated: bool,
}

impl Call {
    pub fn is_oversized(&self) -> bool {
        self.body.is_oversized()
    }
}

impl Connection {
    pub fn new(socket: OwnedFd) -> Connection {
        Connection {
            socket,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            current: None,
            scanned: 0,
            wait: Wait::Request,
            late: false,
            ended: false,
            closing: false,
        }
    }

    pub fn wait(&self) -> Wait {
        self.wait
    }

    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// What poll should watch. Answers go out before more is read, so that nothing piles up here.
    pub fn interest(&self) -> PollFlags {
        match self.wait {
            _ if !self.outgoing.is_empty() => PollFlags::OUT,
            Wait::Request => PollFlags::IN,
            Wait::Event | Wait::Nothing => PollFlags::RDHUP,
        }
    }

    /// Whether the request that was read last lay unread for a while.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// Reads once. False: nothing was there.
    pub fn read(&mut self) -> bool {
        self.late = self.wait == Wait::Nothing;
        if self.late {
            self.wait = Wait::Request;
        }
        if self.ended {
            return false;
        }
        let want = self.current.as_ref().map_or(0, |(_, body)| body.wanted(&self.incoming));
        match self.incoming.fill(&self.socket, want) {
            Filled::Some => true,
            Filled::NotYet => false,
            Filled::Closed => {
                self.ended = true;
                true
            }
        }
    }

    /// The next thing to do with what was read.
    pub fn step(&mut self, limit: usize) -> Step {
        if !self.outgoing.is_empty() {
            return Step::Wait;
        }
        if self.closing || self.wait == Wait::Event {
            return if self.closing || self.ended { Step::Close } else { Step::Wait };
        }
        let (request, mut body, begins) = match self.current.take() {
            Some((request, body)) => (request, body, false),
            None => match self.take_head() {
                Ok(Some(request)) => {
                    let body = Body::new(request.framing, limit);
                    (request, body, true)
                }
                Ok(None) if self.ended => return Step::Close,
                Ok(None) => return Step::Wait,
                Err(bad) => return self.refuse(bad),
            },
        };
        match body.advance(&mut self.incoming) {
            Progress::Complete => Step::Call(Call { request, body, truncated: false }),
            Progress::Missing if self.ended => Step::Call(Call { request, body, truncated: true }),
            Progress::Malformed => Step::Call(Call { request, body, truncated: true }),
            Progress::Missing => {
                if begins && request.expects_continue {
                    self.send(&[answer::CONTINUE]);
                }
                self.current = Some((request, body));
                Step::Wait
            }
        }
    }

    fn take_head(&mut self) -> Result<Option<Request>, BadHead> {
        let data = self.incoming.data();
        // A head that comes byte by byte is parsed once, not once a byte.
        if !holds_head_end(&data[self.scanned..]) {
            self.scanned = data.len().saturating_sub(3);
            return if data.len() < MAX_HEAD { Ok(None) } else { Err(BadHead::TooLarge) };
        }
        match request::parse(data)? {
            Some((request, length)) => {
                self.incoming.consume(length);
                self.scanned = 0;
                Ok(Some(request))
            }
            // An empty line before the request line, as HTTP allows.
            None if data.len() < MAX_HEAD => Ok(None),
            None => Err(BadHead::TooLarge),
        }
    }

    fn refuse(&mut self, bad: BadHead) -> Step {
        self.send(&[match bad {
            BadHead::Malformed => answer::BAD_REQUEST,
            BadHead::TooLarge => answer::HEAD_TOO_LARGE,
            BadHead::UnknownCoding => answer::NOT_IMPLEMENTED,
        }]);
        self.closing = true;
        if self.outgoing.is_empty() { Step::Close } else { Step::Wait }
    }

    /// A call's body.
    pub fn body<'a>(&'a self, call: &'a Call) -> &'a [u8] {
        call.body.bytes(&self.incoming)
    }

    /// Ends a call: its body is done with.
    pub fn finish(&mut self, call: Call) {
        self.closing |= !call.request.keep_alive || call.truncated;
        call.body.finish(&mut self.incoming);
    }

    pub fn send(&mut self, parts: &[&[u8]]) {
        if self.outgoing.send(&self.socket, parts).is_err() {
            self.give_up();
        }
    }

    /// Writes what could not be written at once.
    pub fn flush(&mut self) {
        if self.outgoing.flush(&self.socket).is_err() {
            self.give_up();
        }
    }

    /// A runtime that does not take its answer is dead; its process's end tells the rest.
    fn give_up(&mut self) {
        (self.ended, self.closing, self.outgoing) = (true, true, Outgoing::default());
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn holds_head_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}
