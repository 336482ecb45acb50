//! One environment, as the gateway holds it: the agent's invocation connection and what is on its way over it.
//!
//! ```text
//!  idle ──begin──> sending ──> awaiting the answer ──complete──> idle
//! ```
//! `complete` can be dropped at any await and called again: what is still to send stays in the environment, so a client
//! that hangs up never leaves half a frame behind.

use bytes::{Buf, Bytes, BytesMut};
use std::cell::Cell;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use uuid::Uuid;
use warmpod_link::frame::{HEAD, Head, InvokeMeta, Kind, MAX_BODY};
use warmpod_link::{LinkError, WorkerId};

/// Payloads up to this size are copied behind the head and leave in one write; longer ones follow by themselves.
const COPIED: usize = 16 * 1024;
/// A buffer that grew beyond this is given back when the environment is idle.
const KEPT: usize = 4 * 1024;

thread_local! {
    static EVENT_LOOP: Cell<usize> = const { Cell::new(0) };
}

/// Names the event loop that this thread runs.
pub fn set_event_loop(number: usize) {
    EVENT_LOOP.set(number);
}

pub fn event_loop() -> usize {
    EVENT_LOOP.get()
}

#[derive(Debug)]
pub struct Environment {
    pub worker: WorkerId,
    socket: UnixStream,
    /// The event loop whose poller knows the socket.
    home: usize,
    sending: BytesMut,
    payload: Bytes,
    received: BytesMut,
    running: Option<Uuid>,
}

/// What the function (or its environment's end) answered.
#[derive(Debug)]
pub struct Answer {
    pub function_error: bool,
    /// The last bytes of the invocation's log, where they were asked for.
    pub tail: Bytes,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("the environment's connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error("the environment ended during the invocation")]
    Closed,
    #[error("the environment sent what it must not: {0}")]
    Protocol(#[source] LinkError),
    #[error("the environment answered another invocation")]
    ForeignAnswer,
}

impl Environment {
    pub fn new(worker: WorkerId, socket: UnixStream, received: BytesMut) -> Self {
        let (sending, payload) = (BytesMut::new(), Bytes::new());
        let received = if received.is_empty() { BytesMut::new() } else { received };
        Self { worker, socket, home: event_loop(), sending, payload, received, running: None }
    }

    pub fn is_at_home(&self) -> bool {
        self.home == event_loop()
    }

    /// Moves the socket to this thread's event loop.
    pub fn move_here(self) -> io::Result<Self> {
        let socket = UnixStream::from_std(self.socket.into_std()?)?;
        Ok(Self { socket, home: event_loop(), ..self })
    }

    /// Whether an invocation was begun and has not been answered.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Lays down what `complete` sends.
    pub fn begin(&mut self, request: Uuid, meta: &InvokeMeta<'_>, payload: Bytes) -> Result<(), LinkError> {
        let meta = meta.encode()?;
        if payload.len() > MAX_BODY {
            return Err(LinkError::TooLong(payload.len(), MAX_BODY));
        }
        let (meta_len, body_len) = (meta.len() as u16, payload.len() as u32);
        let head = Head { kind: Kind::Invoke, last: true, meta: meta_len, body: body_len, request };
        self.sending.clear();
        self.sending.extend_from_slice(&head.encode());
        self.sending.extend_from_slice(&meta);
        if payload.len() <= COPIED {
            self.sending.extend_from_slice(&payload);
        } else {
            self.payload = payload;
        }
        self.running = Some(request);
        Ok(())
    }

    /// Sends what is left and waits for the answer.
    pub async fn complete(&mut self) -> Result<Answer, Lost> {
        while self.sending.has_remaining() {
            self.socket.write_buf(&mut self.sending).await.map_err(Lost::Broken)?;
        }
        while self.payload.has_remaining() {
            self.socket.write_buf(&mut self.payload).await.map_err(Lost::Broken)?;
        }
        let head = loop {
            match Head::decode(&self.received).map_err(Lost::Protocol)? {
                Some(head) if self.received.len() >= head.frame_len() => break head,
                Some(head) => self.received.reserve(head.frame_len() - self.received.len()),
                None => self.received.reserve(4096),
            }
            if self.socket.read_buf(&mut self.received).await.map_err(Lost::Broken)? == 0 {
                return Err(Lost::Closed);
            }
        };
        if Some(head.request) != self.running || head.kind == Kind::Invoke || !head.last {
            return Err(Lost::ForeignAnswer);
        }
        let mut frame = self.received.split_to(head.frame_len());
        frame.advance(HEAD);
        let tail = frame.split_to(usize::from(head.meta)).freeze();
        self.running = None;
        // Idle environments are many: they keep no room for an answer.
        self.received = BytesMut::from(&self.received[..]);
        if self.sending.capacity() > KEPT {
            self.sending = BytesMut::new();
        }
        Ok(Answer { function_error: head.kind == Kind::FunctionError, tail, body: frame.freeze() })
    }
}
