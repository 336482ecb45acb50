//! What the runtime's calls mean: the checks of each operation in AWS's order, its answer, and what the environment
//! hears of it.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use super::Worker;
use crate::environment::Event;
use crate::environment::failure::{Failure, response_too_large};
use crate::runtime_api::answer::{self, Refusal};
use crate::runtime_api::request::{Echo, Request, Route};
use crate::runtime_api::state::Transition;
use crate::runtime_api::{Call, Step, Wait};
use rustix::event::PollFlags;
use uuid::Uuid;
use warmpod_link::frame::Kind;

/// How often a connection is read for the last time: enough for any answer.
const LAST_READS: usize = 1024;
/// A body that belongs to no claim is not kept.
const NO_LIMIT_YET: u32 = 64 * 1024;

impl Worker {
    /// Reads from the connections that poll found ready, and writes to them.
    pub(super) fn serve_runtime(&mut self, ready: &[PollFlags]) {
        // From the last to the first, since a connection that is over leaves the list.
        for (index, found) in ready.iter().enumerate().rev() {
            if index >= self.api.connections.len() || found.is_empty() {
                continue;
            }
            if found.contains(PollFlags::OUT) {
                self.api.connections[index].flush();
                self.step_connection(index);
            } else {
                self.read_connection(index);
            }
        }
    }

    /// Reads once, and acts on every request that is complete. False: nothing was there, or the connection is gone.
    fn read_connection(&mut self, index: usize) -> bool {
        self.api.connections[index].read() && self.step_connection(index)
    }

    fn step_connection(&mut self, mut index: usize) -> bool {
        let limit = self.max_response() as usize;
        loop {
            let Some(connection) = self.api.connections.get_mut(index) else { return false };
            match connection.step(limit) {
                Step::Wait => return true,
                Step::Close => {
                    self.api.connections.remove(index);
                    return false;
                }
                Step::Call(call) => match self.handle(index, call) {
                    Some(same) => index = same,
                    // The call ended the processes, and their connections with them.
                    None => return false,
                },
            }
        }
    }

    fn max_response(&self) -> u32 {
        self.claim.as_ref().map_or(NO_LIMIT_YET, |claim| claim.max_response)
    }

    /// Answers a call. Gives where its connection is now.
    fn handle(&mut self, index: usize, call: Call) -> Option<usize> {
        let done = |worker: &mut Worker, call, bytes: &[u8]| {
            let connection = &mut worker.api.connections[index];
            connection.finish(call);
            connection.send(&[bytes]);
            Some(index)
        };
        match call.request.route {
            Route::Ping => done(self, call, answer::PONG),
            Route::Unknown => done(self, call, answer::NOT_FOUND),
            Route::WrongMethod => done(self, call, answer::METHOD_NOT_ALLOWED),
            Route::Next => self.next(index, call),
            Route::InitError => self.init_error(index, call),
            Route::Response(id) | Route::Error(id) => self.response(index, id, call),
        }
    }

    fn next(&mut self, index: usize, call: Call) -> Option<usize> {
        match self.state.after(Transition::Next) {
            Err(refusal) => self.refuse(index, call, &Refusal::StateTransition(refusal)),
            Ok(state) => {
                self.state = state;
                let lazily = self.api.connections[index].is_late();
                self.api.connections[index].finish(call);
                let index = self.api.waits_for_event(index);
                self.apply(Event::Next { lazily });
                // Again, or for the first time if it lost the connection that waited.
                if self.environment.is_running() {
                    self.deliver();
                }
                (index < self.api.connections.len()).then_some(index)
            }
        }
    }

    fn init_error(&mut self, index: usize, call: Call) -> Option<usize> {
        match self.state.after(Transition::InitError) {
            Err(refusal) => self.refuse(index, call, &Refusal::StateTransition(refusal)),
            Ok(state) => {
                self.state = state;
                let document = document(&call.request, self.api.connections[index].body(&call));
                let kind = call.request.error_type.clone().unwrap_or_else(|| "Runtime.Unknown".to_owned());
                self.accept(index, call);
                self.log.drain(self.now);
                self.apply(Event::InitError { kind, document });
                (index < self.api.connections.len()).then_some(index)
            }
        }
    }

    /// `response` and `error`: the checks in AWS's order.
    fn response(&mut self, index: usize, id: Option<Uuid>, call: Call) -> Option<usize> {
        let is_error = matches!(call.request.route, Route::Error(_));
        let current = self.invocation.as_ref().map(|invocation| (invocation.request, invocation.attempt));
        let Some((_, attempt)) = current.filter(|(request, _)| id == Some(*request)) else {
            return self.refuse(index, call, &Refusal::InvalidRequestId);
        };
        if !matches!(call.request.echo, Echo::Absent) && call.request.echo != Echo::Attempt(attempt) {
            return self.refuse(index, call, &Refusal::InvokeTimeout);
        }
        let transition = if is_error { Transition::Error } else { Transition::Response };
        let state = match self.state.after(transition) {
            Ok(state) => state,
            Err(refusal) => return self.refuse(index, call, &Refusal::StateTransition(refusal)),
        };
        if !is_error && call.request.unknown_response_mode {
            return self.fail(index, call, &Refusal::InvalidResponseMode, Failure::invalid_response_mode());
        }
        let limit = self.max_response();
        if call.is_oversized() {
            self.state = state;
            self.answer(Kind::FunctionError, &response_too_large(limit));
            let index = self.refuse(index, call, &Refusal::TooLarge { limit })?;
            self.apply(Event::Answered { error: Some("Function.ResponseSizeTooLarge".to_owned()) });
            return Some(index);
        }
        if call.truncated {
            return self.fail(index, call, &Refusal::Truncated, Failure::truncated_response());
        }
        self.state = state;
        self.answer_with_body(index, &call, is_error);
        let error = is_error.then(|| call.request.error_type.clone().unwrap_or_else(|| "Function.Unknown".to_owned()));
        self.accept(index, call);
        self.rest(index);
        self.apply(Event::Answered { error });
        Some(index)
    }

    /// The frame leaves before the 202: the caller waits, the runtime does not.
    fn answer_with_body(&mut self, index: usize, call: &Call, is_error: bool) {
        // The connection is taken out of the way: its buffer holds the body that is written from there.
        let connection = self.api.connections.swap_remove(index);
        if is_error && call.request.carries_cause {
            self.answer(Kind::FunctionError, &document(&call.request, connection.body(call)));
        } else {
            self.answer(if is_error { Kind::FunctionError } else { Kind::Response }, connection.body(call));
        }
        self.api.connections.push(connection);
        let last = self.api.connections.len() - 1;
        self.api.connections.swap(index, last);
    }

    fn accept(&mut self, index: usize, call: Call) {
        let connection = &mut self.api.connections[index];
        connection.finish(call);
        connection.send(&[answer::ACCEPTED]);
    }

    fn refuse(&mut self, index: usize, call: Call, refusal: &Refusal) -> Option<usize> {
        let connection = &mut self.api.connections[index];
        connection.finish(call);
        connection.send(&[&refusal.to_bytes()]);
        Some(index)
    }

    /// Refuses, and ends the invocation and its environment's processes.
    fn fail(&mut self, index: usize, call: Call, refusal: &Refusal, failure: Failure) -> Option<usize> {
        self.refuse(index, call, refusal);
        self.log.drain(self.now);
        self.apply(Event::Failed(failure));
        None
    }

    /// Reads the `next` that came after the last answer, if it has come; else watches for it.
    pub(super) fn settle_next(&mut self) {
        let Some(invocation) = &self.invocation else { return };
        if invocation.lazy_since.is_none() {
            return;
        }
        let lazy = self.api.connections.iter().position(|connection| connection.wait() == Wait::Nothing);
        if let Some(index) = lazy {
            self.read_connection(index);
        }
        if let Some(invocation) = &mut self.invocation {
            invocation.lazy_since = None;
        }
    }

    /// Reads what a process that has ended left in its connections. Bounded, since others may still be writing.
    pub(super) fn hear_out(&mut self) {
        for _ in 0..LAST_READS {
            if !self.api.accept() {
                break;
            }
        }
        let mut index = self.api.connections.len();
        while index > 0 {
            index -= 1;
            for _ in 0..LAST_READS {
                if index >= self.api.connections.len() || !self.read_connection(index) {
                    break;
                }
            }
        }
    }
}

/// An error document as the caller reads it: what is for X-Ray alone is taken out.
fn document(request: &Request, body: &[u8]) -> Vec<u8> {
    if request.carries_cause
        && let Ok(mut document) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body)
        && document.shift_remove("errorCause").is_some()
    {
        return serde_json::Value::Object(document).to_string().into_bytes();
    }
    body.to_vec()
}
