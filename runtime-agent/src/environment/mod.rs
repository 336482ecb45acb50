//! The life of one execution environment, as a value: events in, actions out. No clock, no process, no socket.
//!
//! ```text
//!  Unclaimed ──claim──> Init ──next──> Idle ──invoke──> Running ──answer──> Answered ──next──> Idle
//!                        │ failure      │exit             │ failure, timeout   │ failure, timeout
//!                        └────────────> Down <────────────┴────────────────────┘
//!                                        └──invoke──> Starting (the init repeated) ──next──> Running
//!                                                        └ failure, timeout ──> Down
//! ```
//!
//! Down means: no runtime runs. The first failure of an invocation decides its answer; a document that the runtime sent
//! itself is passed on as it is. Files stay over all of this: the sandbox is the same.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>

pub mod failure;
#[cfg(test)]
mod tests;

use crate::clock::Moment;
use crate::sandbox::Ended;
use failure::Failure;
use std::time::Duration;
use uuid::Uuid;
use warmpod_link::control::{InitOutcome, InitReport};
use warmpod_link::frame::Kind;

/// How long a runtime that reported a failed init may take to leave by itself.
const LEAVE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub init: Duration,
    pub timeout: Duration,
}

pub struct Environment {
    limits: Limits,
    phase: Phase,
    /// What the first init took, until a REPORT has told it.
    cold: Option<Duration>,
    /// No invocation has run to its end yet.
    first: bool,
}

#[derive(Debug)]
enum Phase {
    Unclaimed,
    Init {
        since: Moment,
    },
    Idle,
    /// With `leave_by`: the runtime of a failed init has not left yet.
    Down {
        leave_by: Option<Moment>,
    },
    Invoking(Invocation),
}

#[derive(Debug)]
struct Invocation {
    request: Uuid,
    since: Moment,
    stage: Stage,
    /// What the runtime's own answer was, for the report.
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The init is repeated.
    Starting,
    Running,
    /// The runtime has answered, and is not back in `next` yet.
    Answered {
        at: Moment,
    },
}

#[derive(Debug)]
pub enum Event {
    Claimed,
    Invoked {
        request: Uuid,
    },
    /// The runtime asks for an event. `lazily`: its call was read late, it came soon after the answer.
    Next {
        lazily: bool,
    },
    InitError {
        kind: String,
        document: Vec<u8>,
    },
    /// The runtime has answered; `error` is its error type if that was an error.
    Answered {
        error: Option<String>,
    },
    /// The runtime's process is gone.
    Exited {
        ended: Ended,
        out_of_memory: bool,
    },
    /// Anything else that ends what runs.
    Failed(Failure),
    /// Time has passed.
    Tick,
}

#[derive(Debug, PartialEq)]
pub enum Action {
    /// Start the runtime; the answer to failing is [`Event::Failed`].
    Start,
    /// End all processes.
    End,
    Log(Line),
    /// Tell the gateway that invocations may come.
    Ready(InitReport),
    /// The event may go to the runtime.
    Deliver,
    /// Answer the caller with a document that is not the runtime's answer.
    Answer(Kind, Vec<u8>),
    /// The invocation is over: what was held back for the log's tail goes out.
    Over,
}

/// A line of the platform in the function's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    InitStart,
    /// The init failed. `repeated`: it was the one inside an invocation.
    InitFailed {
        repeated: bool,
        duration: Duration,
        status: Status,
    },
    Start,
    Failed(Failure),
    TimedOut(Duration),
    /// The runtime is done (JSON only).
    RuntimeDone {
        duration: Duration,
        status: Status,
    },
    End,
    Report {
        duration: Duration,
        init: Option<Duration>,
        status: Status,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    /// The runtime reported an error, of this type.
    Error(String),
    /// The environment failed, with this error type.
    Failure(String),
    Timeout,
}

impl Environment {
    pub fn new() -> Environment {
        let limits = Limits { init: Duration::from_secs(10), timeout: Duration::from_secs(3) };
        Environment { limits, phase: Phase::Unclaimed, cold: None, first: true }
    }

    pub fn claim(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether an invocation would be taken.
    pub fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Down { .. })
    }

    /// No invocation has run to its end since the first init, whether that succeeded or not.
    pub fn is_cold(&self) -> bool {
        self.first
    }

    pub fn is_invoking(&self) -> bool {
        matches!(self.phase, Phase::Invoking(_))
    }

    /// The runtime is to have the event.
    pub fn is_running(&self) -> bool {
        matches!(&self.phase, Phase::Invoking(Invocation { stage: Stage::Running, .. }))
    }

    /// An invocation that comes now is taken a little later, when the runtime is in `next`.
    pub fn is_soon_free(&self) -> bool {
        let answered = matches!(&self.phase, Phase::Invoking(Invocation { stage: Stage::Answered { .. }, .. }));
        answered || matches!(self.phase, Phase::Init { .. })
    }

    /// Since when processes of an init or invocation work.
    pub fn busy_since(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Init { since } => Some(*since),
            Phase::Invoking(invocation) => Some(invocation.since),
            _ => None,
        }
    }

    /// When a [`Event::Tick`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Init { since } => Some(*since + self.limits.init),
            Phase::Invoking(invocation) => Some(invocation.since + self.limits.timeout),
            Phase::Down { leave_by } => *leave_by,
            Phase::Unclaimed | Phase::Idle => None,
        }
    }

    pub fn apply(&mut self, event: Event, now: Moment, out: &mut Vec<Action>) {
        match event {
            Event::Claimed => self.claimed(now, out),
            Event::Invoked { request } => self.invoked(request, now, out),
            Event::Next { lazily } => self.next(lazily, now, out),
            Event::InitError { kind, document } => self.init_error(kind, document, now, out),
            Event::Answered { error } => self.answered(error, now),
            Event::Exited { ended, out_of_memory } => {
                let failure = if out_of_memory { Failure::out_of_memory() } else { Failure::exited(ended) };
                self.fail(failure, now, out);
            }
            Event::Failed(failure) => self.fail(failure, now, out),
            Event::Tick => self.tick(now, out),
        }
    }

    fn claimed(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.phase = Phase::Init { since: now };
        out.extend([Action::Log(Line::InitStart), Action::Start]);
    }

    fn invoked(&mut self, request: Uuid, now: Moment, out: &mut Vec<Action>) {
        let stage = match self.phase {
            Phase::Idle => {
                out.extend([Action::Log(Line::Start), Action::Deliver]);
                Stage::Running
            }
            Phase::Down { leave_by } => {
                if leave_by.is_some() {
                    out.push(Action::End);
                }
                out.push(Action::Start);
                Stage::Starting
            }
            // The worker asks `is_free` first.
            Phase::Unclaimed | Phase::Init { .. } | Phase::Invoking(_) => return,
        };
        self.phase = Phase::Invoking(Invocation { request, since: now, stage, status: Status::Success });
    }

    fn next(&mut self, lazily: bool, now: Moment, out: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::Init { since } => {
                let took = now.since(*since);
                self.cold = Some(took);
                out.push(Action::Ready(report(InitOutcome::Succeeded, took)));
                self.phase = Phase::Idle;
            }
            Phase::Invoking(invocation) => match invocation.stage {
                Stage::Starting => {
                    invocation.stage = Stage::Running;
                    out.extend([Action::Log(Line::Start), Action::Deliver]);
                }
                // The runtime's state machine gives it the same event again.
                Stage::Running => {}
                Stage::Answered { at } => {
                    let took = if lazily { at } else { now }.since(invocation.since);
                    let status = invocation.status.clone();
                    self.over(took, status, out);
                    self.phase = Phase::Idle;
                }
            },
            Phase::Unclaimed | Phase::Idle | Phase::Down { .. } => {}
        }
    }

    fn answered(&mut self, error: Option<String>, now: Moment) {
        if let Phase::Invoking(invocation) = &mut self.phase
            && invocation.stage == Stage::Running
        {
            invocation.stage = Stage::Answered { at: now };
            invocation.status = error.map_or(Status::Success, Status::Error);
        }
    }

    fn init_error(&mut self, kind: String, document: Vec<u8>, now: Moment, out: &mut Vec<Action>) {
        let leave_by = Some(now + LEAVE);
        match &self.phase {
            Phase::Init { since } => {
                let took = now.since(*since);
                out.push(Action::Log(Line::InitFailed {
                    repeated: false,
                    duration: took,
                    status: Status::Error(kind.clone()),
                }));
                out.push(Action::Ready(report(InitOutcome::Failed { error_type: kind }, took)));
                self.phase = Phase::Down { leave_by };
            }
            Phase::Invoking(Invocation { since, stage: Stage::Starting, .. }) => {
                let took = now.since(*since);
                let status = Status::Error(kind);
                out.extend([
                    Action::Log(Line::InitFailed { repeated: true, duration: took, status: status.clone() }),
                    Action::Log(Line::Start),
                    Action::Answer(Kind::FunctionError, document),
                ]);
                self.over(took, status, out);
                self.phase = Phase::Down { leave_by };
            }
            _ => {}
        }
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if let Phase::Down { .. } = self.phase {
            out.push(Action::End);
            self.phase = Phase::Down { leave_by: None };
        } else {
            self.fail(Failure::timed_out(self.limits.timeout), now, out);
        }
    }

    /// Ends what runs. The processes that are left end too, so that the next start is a fresh one.
    fn fail(&mut self, failure: Failure, now: Moment, out: &mut Vec<Action>) {
        let status = if failure.is_timeout() { Status::Timeout } else { Status::Failure(failure.kind.to_owned()) };
        match &self.phase {
            Phase::Unclaimed => return,
            Phase::Init { since } => {
                let took = if failure.is_timeout() { self.limits.init } else { now.since(*since) };
                let outcome = if failure.is_timeout() {
                    InitOutcome::TimedOut
                } else {
                    InitOutcome::Failed { error_type: failure.kind.to_owned() }
                };
                out.extend([
                    Action::Log(Line::InitFailed { repeated: false, duration: took, status }),
                    Action::Ready(report(outcome, took)),
                ]);
            }
            Phase::Idle | Phase::Down { .. } => {}
            Phase::Invoking(invocation) => {
                let took = if failure.is_timeout() { self.limits.timeout } else { now.since(invocation.since) };
                if invocation.stage == Stage::Starting {
                    out.extend([
                        Action::Log(Line::InitFailed { repeated: true, duration: took, status: status.clone() }),
                        Action::Log(Line::Start),
                    ]);
                }
                // One that has its answer keeps it.
                let answer = !matches!(invocation.stage, Stage::Answered { .. });
                let document = answer.then(|| failure.document(&invocation.request));
                out.push(Action::Log(if failure.is_timeout() {
                    Line::TimedOut(self.limits.timeout)
                } else {
                    Line::Failed(failure)
                }));
                out.extend(document.map(|document| Action::Answer(Kind::FunctionError, document)));
                self.over(took, status, out);
            }
        }
        out.push(Action::End);
        self.phase = Phase::Down { leave_by: None };
    }

    fn over(&mut self, took: Duration, status: Status, out: &mut Vec<Action>) {
        self.first = false;
        out.extend([
            Action::Log(Line::RuntimeDone { duration: took, status: status.clone() }),
            Action::Log(Line::End),
            Action::Log(Line::Report { duration: took, init: self.cold.take(), status }),
            Action::Over,
        ]);
    }
}

fn report(outcome: InitOutcome, took: Duration) -> InitReport {
    InitReport { outcome, duration_us: took.as_micros() as u64 }
}
