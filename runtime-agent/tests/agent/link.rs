//! Losing the gateway, and finding it again; what the agent does not take from it.

use crate::gateway::{Gateway, SECRET, claim, code};
use crate::http::Silent;
use crate::provided::ECHO;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use warmpod_link::ToAgent;
use warmpod_link::control::{Channel, Held};
use warmpod_link::frame::InvokeMeta;
use warmpod_link::worker::RuntimeSpec;

const LONG: Duration = Duration::from_secs(60);

/// An environment whose every answer holds its runtime's pid, and which waits for `go` before it answers `wait`.
fn environment(orphan_timeout: Duration) -> (Gateway, tempfile::TempDir) {
    let script = ECHO
        .replace("echo \"got $event\"", "[ \"$event\" = wait ] && { : > began; until [ -e go ]; do sleep 0.01; done; }")
        .replace("echo: $event", "$$");
    let code = code(&[("bootstrap", &script)]);
    let mut gateway = Gateway::start_with(RuntimeSpec::Provided, orphan_timeout);
    gateway.claim_well(claim(code.path(), "x"));
    (gateway, code)
}

fn wait_for(path: &Path) {
    let since = std::time::Instant::now();
    while !path.exists() {
        assert!(since.elapsed() < crate::gateway::PATIENCE, "{} did not come", path.display());
        std::thread::yield_now();
    }
}

fn is_running(pid: &str) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn bound(held: &Held) -> (&str, bool) {
    match held {
        Held::Bound { environment, busy } => (&environment.version, *busy),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idle_environment_outlives_its_gateway() {
    let (mut gateway, _code) = environment(LONG);
    let pid = gateway.invoke(b"x").text().to_owned();
    gateway.vanish();
    gateway.come_back();
    assert_eq!((gateway.hello.channel, gateway.hello.credential), (Channel::Control, SECRET));
    assert_eq!(bound(&gateway.hello.held), ("$LATEST", false));
    gateway.accept_invocation();
    assert_eq!(gateway.invoke(b"x").text(), pid, "the same runtime");
}

#[test]
fn an_invocation_outlives_its_gateway_and_its_answer_is_dropped() {
    let (mut gateway, code) = environment(LONG);
    let pid = gateway.invoke(b"x").text().to_owned();
    gateway.begin(b"wait", &InvokeMeta::default());
    wait_for(&code.path().join("began"));
    gateway.vanish();
    gateway.come_back();
    assert_eq!(bound(&gateway.hello.held), ("$LATEST", true));
    assert_eq!(gateway.idle, 0);
    std::fs::write(code.path().join("go"), "").unwrap();
    gateway.read_until("Idle", |gateway| gateway.idle == 1);
    gateway.accept_invocation();
    assert_eq!(gateway.invoke(b"x").text(), pid, "the same runtime, and no stale answer");
}

#[test]
fn an_invocation_connection_that_is_lost_comes_back_when_the_worker_is_free() {
    let (mut gateway, code) = environment(LONG);
    gateway.begin(b"wait", &InvokeMeta::default());
    wait_for(&code.path().join("began"));
    gateway.drop_invocation_connection();
    std::fs::write(code.path().join("go"), "").unwrap();
    gateway.read_until("Idle", |gateway| gateway.idle == 1);
    gateway.accept_invocation();
    gateway.invoke(b"x");
    // The same while it is free.
    gateway.drop_invocation_connection();
    gateway.accept_invocation();
    gateway.invoke(b"x");
}

#[test]
fn a_second_invocation_at_the_same_time_is_refused_by_closing() {
    let (mut gateway, code) = environment(LONG);
    gateway.begin(b"wait", &InvokeMeta::default());
    wait_for(&code.path().join("began"));
    gateway.begin(b"second", &InvokeMeta::default());
    gateway.invocation_connection_ends();
    std::fs::write(code.path().join("go"), "").unwrap();
    gateway.read_until("Idle", |gateway| gateway.idle == 1);
    gateway.accept_invocation();
    gateway.invoke(b"x");
}

#[test]
fn an_invocation_may_come_as_soon_as_the_answer_is_there() {
    let (mut silent, mut client) = Silent::ready(|_| {});
    let request = silent.gateway.begin(b"1", &InvokeMeta::default());
    let event = client.response();
    client.post(&event, "response", "", b"one");
    silent.gateway.answer(request);
    // The runtime is not back in `next`: the event waits for it.
    let request = silent.gateway.begin(b"2", &InvokeMeta::default());
    let event = client.next();
    assert_eq!(event.text(), "2");
    client.post(&event, "response", "", b"two");
    assert_eq!(silent.gateway.answer(request).text(), "two");
}

#[test]
fn an_orphan_ends_its_processes_and_itself() {
    let (mut gateway, _code) = environment(Duration::from_millis(300));
    let pid = gateway.invoke(b"x").text().to_owned();
    assert!(is_running(&pid));
    gateway.vanish();
    assert!(!gateway.agent_ends().success());
    assert!(!is_running(&pid));
}

#[test]
fn a_worker_that_is_told_to_leave_ends_its_processes_and_sends_its_log() {
    let (mut gateway, _code) = environment(LONG);
    let pid = gateway.invoke(b"x").text().to_owned();
    gateway.send(&ToAgent::Shutdown);
    let log = gateway.log_with("START RequestId");
    assert!(gateway.agent_ends().success(), "{log}");
    assert!(!is_running(&pid));
}

#[test]
fn a_second_claim_ends_the_worker() {
    let (mut gateway, code) = environment(LONG);
    gateway.send(&ToAgent::Claim(Box::new(claim(code.path(), "y"))));
    assert_eq!(gateway.claim_fails(), "the worker is an environment already");
    assert!(!gateway.agent_ends().success());
}

#[test]
fn code_that_cannot_be_shown_fails_at_the_first_invocation_or_the_claim() {
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let report = gateway.claim(claim(Path::new("/no/such/folder"), "x"));
    assert_ne!(report.outcome, warmpod_link::control::InitOutcome::Succeeded);
    assert_eq!(gateway.invoke(b"").json()["errorType"], "Runtime.InvalidEntrypoint");
}

#[test]
fn garbage_from_a_gateway_closes_the_connection_and_the_agent_dials_again() {
    let (mut gateway, _code) = environment(LONG);
    for garbage in [&[0xff; 64][..], &[3, 0, 0, 0, 9, 9, 9]] {
        gateway.write_control(garbage);
        gateway.accept_control();
        assert_eq!(bound(&gateway.hello.held), ("$LATEST", false));
        gateway.accept_invocation();
    }
    gateway.write_invocation(&[0xee; 64]);
    gateway.invocation_connection_ends();
    gateway.accept_invocation();
    gateway.invoke(b"x");
}

#[test]
fn a_specification_that_cannot_be_read_ends_the_agent_at_once() {
    use std::process::{Command, Stdio};
    for bytes in [&b""[..], b"garbage", &[0; 100]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmpod-agent"));
        let mut agent = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        agent.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = agent.wait_with_output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((said.lines().count(), said.starts_with("warmpod-agent: ")), (1, true), "{said}");
    }
}

#[test]
fn the_version_is_told() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_warmpod-agent")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("warmpod-agent {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_gateway_that_never_says_welcome_is_no_gateway() {
    let mut gateway = Gateway::start_with(RuntimeSpec::Provided, Duration::from_millis(300));
    gateway.wait_for_warm();
    let path = gateway.folder().join("gateway.sock");
    gateway.vanish();
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    let silent: UnixStream = listener.accept().unwrap().0;
    assert!(!gateway.agent_ends().success());
    drop(silent);
}

#[test]
fn an_agent_that_has_nothing_to_do_sleeps() {
    const TIME: Duration = Duration::from_millis(500);
    let (mut silent, mut client) = Silent::ready(|_| {});
    silent.gateway.log_with("INIT_START");
    assert!(silent.gateway.wakeups_in(TIME) <= 10, "idle");
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    silent.gateway.log_with("START RequestId");
    let event = client.response();
    // It looks at the memory of a function that takes long, every 20 ms.
    assert!(silent.gateway.wakeups_in(TIME) <= 100, "a long invocation");
    client.post(&event, "response", "", b"");
    silent.gateway.answer(request);
    client.ask_next();
    silent.gateway.log_with("REPORT");
    assert!(silent.gateway.wakeups_in(TIME) <= 10, "after an invocation");
}
