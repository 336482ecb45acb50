//! What a runtime may call when. Pure; the only place that knows the states.
//!
//! ```text
//!  Started ──init/error──> InitError
//!     └──next──> Ready ──event sent──> Running ──response, error──> ResponseSent ──next──> Ready
//!                                       │  ^
//!                                       └──┘ next: the same event again
//! ```
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>; the names are those that AWS writes in its answers.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeState {
    Started,
    InitError,
    Ready,
    Running,
    ResponseSent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    InitError,
    Next,
    Response,
    Error,
}

/// A call that its state does not allow. The text is AWS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("State transition from {} to {} failed for runtime. Error: State transition is not allowed", from.name(), to.name())]
pub struct NotAllowed {
    pub from: RuntimeState,
    pub to: Transition,
}

impl RuntimeState {
    /// The state after a call.
    pub fn after(self, call: Transition) -> Result<RuntimeState, NotAllowed> {
        use RuntimeState::{InitError, Ready, ResponseSent, Running, Started};
        match (self, call) {
            (Started, Transition::InitError) => Ok(InitError),
            (Started | Ready | ResponseSent, Transition::Next) => Ok(Ready),
            (Running, Transition::Next) => Ok(Running),
            (Running, Transition::Response | Transition::Error) => Ok(ResponseSent),
            (from, to) => Err(NotAllowed { from, to }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            RuntimeState::Started => "Started",
            RuntimeState::InitError => "InitError",
            RuntimeState::Ready => "Ready",
            RuntimeState::Running => "Running",
            RuntimeState::ResponseSent => "RuntimeResponseSentState",
        }
    }
}

impl Transition {
    fn name(self) -> &'static str {
        match self {
            Transition::InitError => "InitError",
            Transition::Next => "Ready",
            Transition::Response => "InvocationResponse",
            Transition::Error => "InvocationErrorResponse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeState::{InitError, Ready, ResponseSent, Running, Started};
    use super::*;

    #[test]
    fn every_call_in_every_state_does_what_the_table_says() {
        let table = [
            // state, init/error, next, response, error
            (Started, [Some(InitError), Some(Ready), None, None]),
            (InitError, [None, None, None, None]),
            (Ready, [None, Some(Ready), None, None]),
            (Running, [None, Some(Running), Some(ResponseSent), Some(ResponseSent)]),
            (ResponseSent, [None, Some(Ready), None, None]),
        ];
        for (state, row) in table {
            let calls = [Transition::InitError, Transition::Next, Transition::Response, Transition::Error];
            assert_eq!(calls.map(|call| state.after(call).ok()), row, "in {state:?}");
        }
    }

    #[test]
    fn a_forbidden_call_is_told_in_awss_words() {
        assert_eq!(
            ResponseSent.after(Transition::Response).unwrap_err().to_string(),
            "State transition from RuntimeResponseSentState to InvocationResponse failed for runtime. \
             Error: State transition is not allowed"
        );
    }
}
