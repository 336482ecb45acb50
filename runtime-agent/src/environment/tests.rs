use super::*;
use crate::clock::Now;
use proptest::prelude::*;

const INIT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST: Uuid = Uuid::from_u128(1);

/// An environment, a clock of its own, and what it decided last.
struct Life {
    environment: Environment,
    now: Moment,
}

impl Life {
    fn claimed() -> Life {
        let mut life = Life { environment: Environment::new(), now: Now::read().at };
        life.environment.claim(Limits { init: INIT, timeout: TIMEOUT });
        assert_eq!(life.on(Event::Claimed), [Action::Log(Line::InitStart), Action::Start]);
        life
    }

    fn ready() -> Life {
        let mut life = Life::claimed();
        life.on(Event::Next { lazily: false });
        life
    }

    fn running() -> Life {
        let mut life = Life::ready();
        life.on(Event::Invoked { request: REQUEST });
        life
    }

    /// Down after a failed init.
    fn down() -> Life {
        let mut life = Life::claimed();
        life.on(exit(1));
        life
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.environment.apply(event, self.now, &mut out);
        out
    }

    fn after(&mut self, time: Duration) -> &mut Life {
        self.now = self.now + time;
        self
    }
}

fn exit(code: i32) -> Event {
    Event::Exited { ended: Ended::Exited(code), out_of_memory: false }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn ready(outcome: InitOutcome, took: Duration) -> Action {
    Action::Ready(InitReport { outcome, duration_us: took.as_micros() as u64 })
}

fn over(took: Duration, init: Option<Duration>, status: Status) -> Vec<Action> {
    vec![
        Action::Log(Line::RuntimeDone { duration: took, status: status.clone() }),
        Action::Log(Line::End),
        Action::Log(Line::Report { duration: took, init, status }),
        Action::Over,
    ]
}

fn failed(kind: &str) -> Status {
    Status::Failure(kind.to_owned())
}

fn answer(failure: &Failure) -> Action {
    Action::Answer(Kind::FunctionError, failure.document(&REQUEST))
}

#[test]
fn a_good_init_is_ready_and_its_duration_is_in_the_first_report_only() {
    let mut life = Life::claimed();
    assert_eq!(life.after(ms(50)).on(Event::Next { lazily: false }), [ready(InitOutcome::Succeeded, ms(50))]);
    for cold in [Some(ms(50)), None] {
        let started = life.on(Event::Invoked { request: REQUEST });
        assert_eq!(started, [Action::Log(Line::Start), Action::Deliver]);
        assert_eq!(life.after(ms(7)).on(Event::Answered { error: None }), []);
        assert_eq!(life.after(ms(2)).on(Event::Next { lazily: false }), over(ms(9), cold, Status::Success));
        assert!(life.environment.is_free());
    }
}

#[test]
fn a_next_that_was_read_late_does_not_count_as_duration() {
    let mut life = Life::running();
    life.after(ms(7)).on(Event::Answered { error: None });
    let actions = life.after(ms(900)).on(Event::Next { lazily: true });
    assert_eq!(actions, over(ms(7), Some(ms(0)), Status::Success));
}

#[test]
fn an_init_over_its_limit_is_ended_and_repeated_in_the_invocation() {
    let mut life = Life::claimed();
    assert_eq!(life.after(INIT - ms(1)).on(Event::Tick), []);
    let line = Line::InitFailed { repeated: false, duration: INIT, status: Status::Timeout };
    assert_eq!(life.after(ms(1)).on(Event::Tick), [Action::Log(line), ready(InitOutcome::TimedOut, INIT), Action::End]);
    assert_eq!(life.on(Event::Invoked { request: REQUEST }), [Action::Start]);
    assert_eq!(life.after(ms(5)).on(Event::Next { lazily: false }), [Action::Log(Line::Start), Action::Deliver]);
    life.on(Event::Answered { error: None });
    assert_eq!(life.on(Event::Next { lazily: false }), over(ms(5), None, Status::Success), "no Init Duration");
}

#[test]
fn an_init_that_fails_twice_answers_with_the_second_failure() {
    let mut life = Life::claimed();
    let kind = "Runtime.ExitError".to_owned();
    let line = |repeated, took| {
        Action::Log(Line::InitFailed { repeated, duration: took, status: failed("Runtime.ExitError") })
    };
    assert_eq!(
        life.after(ms(154)).on(exit(1)),
        [line(false, ms(154)), ready(InitOutcome::Failed { error_type: kind }, ms(154)), Action::End]
    );
    life.on(Event::Invoked { request: REQUEST });
    let failure = Failure::exited(Ended::Exited(2));
    let mut expected = vec![
        line(true, ms(99)),
        Action::Log(Line::Start),
        Action::Log(Line::Failed(failure.clone())),
        answer(&failure),
    ];
    expected.extend(over(ms(99), None, failed("Runtime.ExitError")));
    expected.push(Action::End);
    assert_eq!(life.after(ms(99)).on(exit(2)), expected);
    assert_eq!(life.on(Event::Invoked { request: REQUEST }), [Action::Start], "every invocation tries again");
}

#[test]
fn the_documents_of_a_failing_runtime_are_the_answer() {
    let error = |document: &str| Event::InitError {
        kind: "Runtime.ImportModuleError".to_owned(),
        document: document.as_bytes().to_vec(),
    };
    let mut life = Life::claimed();
    let first = life.on(error("first"));
    assert!(!first.contains(&Action::End), "it leaves by itself: {first:?}");
    assert_eq!(life.on(Event::Invoked { request: REQUEST }), [Action::End, Action::Start]);
    let second = life.on(error("second"));
    assert!(second.contains(&Action::Answer(Kind::FunctionError, b"second".to_vec())));
    // Its exit afterwards changes nothing for the caller.
    assert_eq!(life.on(exit(1)), [Action::End]);
}

#[test]
fn a_runtime_that_stays_after_its_init_error_is_ended() {
    let mut life = Life::claimed();
    life.on(Event::InitError { kind: "Runtime.Unknown".to_owned(), document: Vec::new() });
    assert_eq!(life.after(LEAVE).on(Event::Tick), [Action::End]);
    assert_eq!(life.environment.deadline(), None);
}

#[test]
fn a_timeout_answers_with_the_configured_time_and_resets() {
    let mut life = Life::running();
    let failure = Failure::timed_out(TIMEOUT);
    let mut expected = vec![Action::Log(Line::TimedOut(TIMEOUT)), answer(&failure)];
    expected.extend(over(TIMEOUT, Some(ms(0)), Status::Timeout));
    expected.push(Action::End);
    assert_eq!(life.after(TIMEOUT + ms(3)).on(Event::Tick), expected);
    assert_eq!(life.on(Event::Invoked { request: REQUEST }), [Action::Start]);
}

#[test]
fn a_repeated_init_counts_against_the_functions_timeout() {
    let mut life = Life::down();
    life.on(Event::Invoked { request: REQUEST });
    let actions = life.after(TIMEOUT).on(Event::Tick);
    assert_eq!(
        actions[0],
        Action::Log(Line::InitFailed { repeated: true, duration: TIMEOUT, status: Status::Timeout })
    );
    assert!(actions.contains(&answer(&Failure::timed_out(TIMEOUT))));
}

#[test]
fn who_has_its_answer_keeps_it_when_the_deadline_passes_or_the_runtime_dies() {
    for event in [Event::Tick, exit(1)] {
        let mut life = Life::running();
        life.on(Event::Answered { error: None });
        let actions = life.after(TIMEOUT).on(event);
        assert!(!actions.iter().any(|action| matches!(action, Action::Answer(..))), "{actions:?}");
        assert!(actions.contains(&Action::Over) && actions.contains(&Action::End));
    }
}

#[test]
fn memory_over_the_limit_is_told_apart_from_a_kill() {
    let end = |out_of_memory| Event::Exited { ended: Ended::Signaled(libc::SIGKILL), out_of_memory };
    assert!(Life::running().on(end(true)).contains(&answer(&Failure::out_of_memory())));
    let killed = Failure::exited(Ended::Signaled(libc::SIGKILL));
    assert!(Life::running().on(end(false)).contains(&answer(&killed)));
}

#[test]
fn a_runtime_that_dies_while_idle_is_started_again_by_the_next_invocation() {
    let mut life = Life::ready();
    assert_eq!(life.on(exit(0)), [Action::End]);
    assert_eq!(life.on(Event::Invoked { request: REQUEST }), [Action::Start]);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(()).prop_map(|()| Event::Invoked { request: REQUEST }),
        4 => any::<bool>().prop_map(|lazily| Event::Next { lazily }),
        3 => Just(()).prop_map(|()| Event::Answered { error: None }),
        1 => Just(()).prop_map(|()| Event::Answered { error: Some("Function.Unknown".to_owned()) }),
        1 => Just(()).prop_map(|()| Event::InitError { kind: "Runtime.Unknown".to_owned(), document: vec![1] }),
        1 => (0..3).prop_map(exit),
        1 => Just(()).prop_map(|()| Event::Failed(Failure::truncated_response())),
        2 => Just(()).prop_map(|()| Event::Tick),
    ]
}

proptest! {
    #[test]
    fn every_invocation_that_is_taken_ends_once_and_is_answered_once(
        events in proptest::collection::vec((any_event(), 0_u64..4000), 0..60)
    ) {
        let mut life = Life::claimed();
        let (mut open, mut answered, mut readies) = (false, false, 0);
        for (event, pause) in events {
            life.after(ms(pause));
            let taken = matches!(event, Event::Invoked { .. }) && life.environment.is_free();
            let by_runtime = matches!(event, Event::Answered { .. }) && life.environment.is_running();
            let actions = life.on(event);
            if taken {
                (open, answered) = (true, false);
            }
            answered |= by_runtime;
            for action in &actions {
                match action {
                    Action::Answer(..) => {
                        prop_assert!(open && !answered, "a second answer");
                        answered = true;
                    }
                    Action::Over => {
                        prop_assert!(open && answered, "over without an answer");
                        open = false;
                    }
                    Action::Ready(_) => readies += 1,
                    _ => {}
                }
            }
            prop_assert_eq!(open, life.environment.is_invoking());
            prop_assert!(readies <= 1);
            if let Some(deadline) = life.environment.deadline() {
                // Whatever it waits for, it does not wait for ever.
                prop_assert!(deadline.since(life.now) <= INIT);
            }
        }
    }
}
