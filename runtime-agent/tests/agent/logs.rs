//! The function's log: where its events begin and end, in which order, and what happens when there is too much of it.

use crate::gateway::{Gateway, claim, code, resident};
use crate::provided::ECHO;
use crate::python_library::python;
use warmpod_link::worker::RuntimeSpec;

/// An echo that runs `script` first, for each event.
fn function(script: &str) -> (Gateway, tempfile::TempDir) {
    let code = code(&[("bootstrap", &ECHO.replace("echo \"got $event\"", script))]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let mut claim = claim(code.path(), "x");
    // A gigabyte takes its time on a busy machine.
    claim.timeout_ms = 300_000;
    gateway.claim_well(claim);
    (gateway, code)
}

fn lines(gateway: &Gateway) -> Vec<String> {
    gateway.log.iter().map(|event| String::from_utf8_lossy(&event.line).into_owned()).collect()
}

#[test]
fn each_write_is_an_event_and_all_are_between_start_and_end() {
    let (mut gateway, _code) = function("echo one; echo two >&2; printf 'a\\nb\\n' | cat; printf 'no newline'");
    gateway.invoke(b"x");
    gateway.log_with("REPORT");
    let lines = lines(&gateway);
    assert!(lines[0].starts_with("INIT_START ") && lines[1].starts_with("START "), "{lines:?}");
    assert_eq!(&lines[2..6], ["one\n", "two\n", "a\nb\n", "no newline"]);
    assert!(lines[6].starts_with("END ") && lines[7].starts_with("REPORT "), "{lines:?}");
    assert!(gateway.log.is_sorted_by_key(|event| event.time_ms));
}

#[test]
fn a_python_function_has_an_event_for_each_print_and_each_record() {
    let Some(runtime) = python(true) else { return };
    let code = code(&[(
        "app.py",
        "import logging, sys\n\
         def handler(event, context):\n    print('one')\n    print('two\\nlines')\n    \
         logging.error('three\\nlines\\nlong')\n    sys.stderr.write('four\\n')\n    raise ValueError('five')\n",
    )]);
    let mut gateway = Gateway::start(runtime);
    gateway.claim_well(claim(code.path(), "app.handler"));
    let answer = gateway.invoke(b"{}");
    assert_eq!(answer.json()["errorType"], "ValueError");
    gateway.log_with("REPORT");
    let mut lines = lines(&gateway);
    for expected in ["one\n", "two\nlines\n", "four\n"] {
        assert!(lines.contains(&expected.to_owned()), "{expected:?} in {lines:?}");
    }
    lines.retain(|line| line.starts_with("[ERROR]"));
    assert!(lines[0].starts_with("[ERROR]\t2") && lines[0].ends_with("\tthree\nlines\nlong\n"), "{lines:?}");
    assert!(lines[1].starts_with("[ERROR] ValueError: five\nTraceback (most recent call last):\n\u{a0}\u{a0}File"));
}

#[test]
fn the_tail_is_the_last_4096_bytes_and_of_this_invocation() {
    let (mut gateway, _code) = function("head -c 10000 /dev/zero | tr '\\0' x");
    let first = gateway.invoke_with_tail(b"x").tail;
    assert_eq!(first.len(), 4096);
    assert!(first.contains("xxx\nEND RequestId: ") || first.contains("xxxEND RequestId: "), "{first}");
    assert!(first.ends_with(" ms\t\n") && first.contains("REPORT RequestId: ") && first.contains("Init Duration: "));
    let (mut gateway, _code) = function("echo hello");
    let cold = gateway.invoke_with_tail(b"x").tail;
    assert!(cold.starts_with("INIT_START "), "on a cold start the init's lines are in it: {cold}");
    gateway.invoke(b"x");
    let warm = gateway.invoke_with_tail(b"x").tail;
    assert!(warm.starts_with("START "), "{warm}");
    assert_eq!(warm.matches("START ").count(), 1);
}

#[test]
fn a_gigabyte_of_logs_neither_grows_the_agent_nor_stops_the_invocation() {
    const GIGABYTE: u64 = 1 << 30;
    let (mut gateway, _code) = function("yes 'a line of the log that is long enough' | head -c 1073741824");
    // Nobody reads the control connection until the answer is there.
    let answer = gateway.invoke(b"x");
    assert_eq!(answer.text(), "echo: x");
    assert!(resident(gateway.agent_pid()) < 16 * 1024, "{} KiB", resident(gateway.agent_pid()));
    gateway.read_until("the end of the log", |gateway| {
        gateway.dropped.0 > 0 && gateway.log.iter().any(|event| event.line.starts_with(b"REPORT"))
    });
    let kept: u64 = gateway.log.iter().map(|event| event.line.len() as u64).sum();
    let told = kept + gateway.dropped.1;
    assert!((GIGABYTE..GIGABYTE + 4096).contains(&told), "{kept} kept, {:?} dropped", gateway.dropped);
}

#[test]
fn a_gateway_that_reads_loses_nothing() {
    const SIZE: u64 = 50_000_000;
    let (mut gateway, _code) = function("yes 'a line of the log that is long enough' | head -c 50000000");
    gateway.begin(b"x", &warmpod_link::frame::InvokeMeta::default());
    gateway.read_until("the end of the log", |gateway| {
        gateway.log.last().is_some_and(|event| event.line.starts_with(b"REPORT"))
    });
    let of_function: u64 = gateway.log.iter().map(|event| event.line.len() as u64).sum();
    assert!((SIZE..SIZE + 4096).contains(&of_function), "{of_function}");
    assert_eq!(gateway.dropped, (0, 0));
}
