//! One invocation: from the gateway's frame to the frame that answers it.

use super::Worker;
use crate::clock::Moment;
use crate::environment::Event;
use crate::runtime_api::Wait;
use crate::runtime_api::answer::EventHead;
use crate::runtime_api::state::RuntimeState;
use std::time::Duration;
use uuid::Uuid;
use uuid::fmt::Hyphenated;
use warmpod_link::control::FromAgent;
use warmpod_link::frame::{Head, InvokeMeta, Kind};

/// A runtime whose `next` was not needed for so long after its answer is looked at for it.
const SETTLE: Duration = Duration::from_millis(20);

pub(super) struct Invocation {
    pub request: Uuid,
    /// Of this attempt; clients send it back.
    pub attempt: Uuid,
    pub trace_id: String,
    pub tail: bool,
    deadline_ms: u64,
    /// Since when the runtime has had its 202 and its connection rests unread.
    pub lazy_since: Option<Moment>,
    /// The answer, held back until the phase is over, since its tail holds END and REPORT.
    held: Option<(Kind, Vec<u8>)>,
    answered: bool,
}

impl Worker {
    /// Takes the frame that has come, once the runtime can take it: the gateway may be quicker than the runtime.
    pub(super) fn take_frame(&mut self) {
        if self.environment.is_soon_free() {
            return;
        }
        let Some((head, meta, _)) = self.gateway.waiting_frame() else { return };
        let refused = match InvokeMeta::decode(meta) {
            _ if head.kind != Kind::Invoke => "it sent a frame that is no invocation",
            _ if !self.environment.is_free() => "it sent an invocation that cannot be taken now",
            Err(_) => "it sent an invocation that cannot be read",
            Ok(meta) => {
                let timeout = self.claim.as_ref().map_or(0, |claim| claim.timeout_ms);
                self.invocation = Some(Invocation {
                    request: head.request,
                    attempt: Uuid::new_v4(),
                    trace_id: meta.trace_id.to_owned(),
                    tail: meta.tail,
                    deadline_ms: self.now.wall.0 + u64::from(timeout),
                    lazy_since: None,
                    held: None,
                    answered: false,
                });
                let wanted = meta.tail;
                self.gateway.serve();
                self.log.keep_tail(wanted, self.environment.is_cold());
                return self.apply(Event::Invoked { request: head.request });
            }
        };
        self.gateway.drop_invocation(refused);
        if !self.environment.is_invoking() {
            self.gateway.offer();
        }
    }

    /// Gives the event to the runtime, if it waits for one.
    pub(super) fn deliver(&mut self) {
        let (Some(invocation), Some(claim)) = (&self.invocation, &self.claim) else { return };
        let Some((_, meta, body)) = self.gateway.frame() else { return };
        let Ok(meta) = InvokeMeta::decode(meta) else { return };
        let Some(connection) = self.api.waiting() else { return };
        let (mut request, mut attempt) = ([0; Hyphenated::LENGTH], [0; Hyphenated::LENGTH]);
        let mut head = Vec::with_capacity(1024);
        EventHead {
            request_id: invocation.request.hyphenated().encode_lower(&mut request),
            invocation_id: invocation.attempt.hyphenated().encode_lower(&mut attempt),
            deadline_ms: invocation.deadline_ms,
            invoked_arn: if meta.invoked_arn.is_empty() { &claim.invoked_arn } else { meta.invoked_arn },
            trace_id: meta.trace_id,
            client_context: meta.client_context,
            cognito_identity: meta.cognito_identity,
            length: body.len(),
        }
        .write(&mut head);
        connection.send(&[&head, body]);
        connection.set_wait(Wait::Request);
        self.state = RuntimeState::Running;
    }

    /// Answers the caller: at once, or when the log's tail is complete.
    pub(super) fn answer(&mut self, kind: Kind, body: &[u8]) {
        let Some(invocation) = self.invocation.as_mut().filter(|invocation| !invocation.answered) else { return };
        invocation.answered = true;
        if invocation.tail {
            invocation.held = Some((kind, body.to_vec()));
        } else {
            self.gateway.answer(answer_head(kind, invocation.request, 0, body), &[], body);
            self.gateway.served();
        }
    }

    /// The runtime has its 202: its `next` is sure to come. It is read at once only if someone waits for the end.
    pub(super) fn rest(&mut self, connection: usize) {
        let Some(invocation) = self.invocation.as_mut().filter(|invocation| !invocation.tail) else { return };
        invocation.lazy_since = Some(self.now.at);
        self.api.connections[connection].set_wait(Wait::Nothing);
    }

    pub(super) fn settle_at(&self) -> Option<Moment> {
        Some(self.invocation.as_ref()?.lazy_since? + SETTLE)
    }

    /// The phase is over.
    pub(super) fn over(&mut self) {
        let Some(invocation) = self.invocation.take() else { return };
        self.api.stop_resting();
        if let Some((kind, body)) = invocation.held {
            let tail = self.log.take_tail();
            self.gateway.answer(answer_head(kind, invocation.request, tail.len(), &body), &tail, &body);
        }
        self.log.keep_tail(false, false);
        self.gateway.served();
        self.gateway.offer();
        if !self.gateway.has_invocation_connection() {
            self.gateway.send(&FromAgent::Idle);
        }
    }
}

fn answer_head(kind: Kind, request: Uuid, meta: usize, body: &[u8]) -> Head {
    let meta = u16::try_from(meta).expect("a tail has at most 4,096 bytes");
    Head { kind, last: true, meta, body: body.len() as u32, request }
}
