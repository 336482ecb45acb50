//! Inits and invocations that fail: what the caller reads, what the log says, what the next invocation finds.

use crate::gateway::{Gateway, claim, code};
use crate::http::Silent;
use crate::provided::ECHO;
use warmpod_link::control::{Code, InitOutcome, LogFormat};
use warmpod_link::frame::{InvokeMeta, Kind};
use warmpod_link::worker::RuntimeSpec;

fn failed(kind: &str) -> InitOutcome {
    InitOutcome::Failed { error_type: kind.to_owned() }
}

/// The document of a failing environment.
fn document(kind: &str, request: impl std::fmt::Display, message: &str) -> String {
    format!("{{\"errorType\":\"{kind}\",\"errorMessage\":\"RequestId: {request} Error: {message}\"}}")
}

/// A function whose every init ends with `script`.
fn init_that_ends(script: &str, kind: &str, message: &str) {
    let code = code(&[("bootstrap", &format!("#!/bin/bash\necho starting\n{script}\n"))]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let report = gateway.claim(claim(code.path(), "x"));
    assert_eq!(report.outcome, failed(kind));
    // A first invocation's tail holds the init before it, too.
    for begins in ["INIT_START Runtime Version: ", "starting\n"] {
        let request = gateway.begin(b"{}", &InvokeMeta { tail: true, ..InvokeMeta::default() });
        let answer = gateway.answer(request);
        assert_eq!((answer.kind, answer.text()), (Kind::FunctionError, document(kind, request, message).as_str()));
        assert!(answer.tail.starts_with(begins), "{}", answer.tail);
        let repeated = answer.tail.rfind("starting\n").unwrap();
        let lines: Vec<&str> = answer.tail[repeated..].lines().collect();
        assert!(lines[1].starts_with("INIT_REPORT Init Duration: "), "{lines:?}");
        assert!(lines[1].ends_with(&format!(" ms\tPhase: invoke\tStatus: error\tError Type: {kind}")));
        assert_eq!(lines[2], format!("START RequestId: {request} Version: $LATEST"));
        assert_eq!(lines[3], format!("RequestId: {request} Error: {message}"));
        assert_eq!(lines[4], kind);
        assert_eq!(lines[5], format!("END RequestId: {request}"));
        assert!(lines[6].starts_with(&format!("REPORT RequestId: {request}\tDuration: ")), "{lines:?}");
        assert!(lines[6].ends_with(&format!("\tStatus: error\tError Type: {kind}")));
    }
    let log = gateway.log_with("Phase: init\t");
    assert!(log.starts_with("INIT_START Runtime Version: test:1.v1\tRuntime Version ARN: arn:"), "{log}");
}

#[test]
fn an_init_that_exits_with_zero() {
    init_that_ends("exit 0", "Runtime.ExitError", "Runtime exited without providing a reason");
}

#[test]
fn an_init_that_exits_with_a_code() {
    init_that_ends("exit 3", "Runtime.ExitError", "Runtime exited with error: exit status 3");
}

#[test]
fn an_init_that_dies_of_a_signal() {
    init_that_ends("kill -SEGV $$", "Runtime.ExitError", "Runtime exited with error: signal: segmentation fault");
}

#[test]
fn a_bootstrap_that_cannot_be_run_is_told_as_aws_tells_it() {
    use std::os::unix::fs::PermissionsExt;
    let cases = [
        (("other", ""), 0o755, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        (("bootstrap", "#!/bin/sh\n"), 0o644, "permission denied"),
        (("bootstrap", "\x7fELF not really"), 0o755, "exec format error"),
    ];
    for (file, mode, message) in cases {
        let code = code(&[file]);
        let path = code.path().join(file.0);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut gateway = Gateway::start(RuntimeSpec::Provided);
        assert_eq!(gateway.claim(claim(code.path(), "x")).outcome, failed("Runtime.InvalidEntrypoint"));
        let answer = gateway.invoke(b"{}");
        assert_eq!(answer.json()["errorType"], "Runtime.InvalidEntrypoint");
        assert!(answer.json()["errorMessage"].as_str().unwrap().ends_with(message), "{}", answer.text());
    }
}

#[test]
fn a_missing_working_directory_is_told() {
    // The bootstrap is a layer's, and the code's folder is gone.
    let (code, layer) = (code(&[]), code(&[("bootstrap", ECHO)]));
    let mut claim = claim(&code.path().join("gone"), "x");
    claim.layers = vec![Code::Directory(layer.path().to_owned())];
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    assert_eq!(gateway.claim(claim).outcome, failed("Runtime.InvalidWorkingDir"));
}

#[test]
fn an_init_over_its_limit_is_repeated_in_the_invocation() {
    // Slow the first time only.
    let script = format!("#!/bin/bash\nmark={}\n", "$PWD/mark");
    let script = format!("{script}[ -e $mark ] || {{ touch $mark; exec sleep 600; }}\n{ECHO}");
    let code = code(&[("bootstrap", &script)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let mut slow = claim(code.path(), "x");
    slow.init_timeout_ms = 300;
    assert_eq!(gateway.claim(slow).outcome, InitOutcome::TimedOut);
    assert_eq!(gateway.invoke(b"hello").text(), "echo: hello");
    let log = gateway.log_with("REPORT");
    assert!(log.contains("INIT_REPORT Init Duration: 300.00 ms\tPhase: init\tStatus: timeout\n"), "{log}");
    assert!(!log.contains("Phase: invoke") && !log.contains("\tInit Duration"), "{log}");
}

#[test]
fn a_timeout_answers_in_awss_words_and_resets_in_the_same_sandbox() {
    let script = format!("#!/bin/bash\necho \"start $(cat file)\"; echo x >> file\n{ECHO}");
    let script = script.replace("echo \"got $event\"", "[ \"$event\" = sleep ] && sleep 600");
    let code = code(&[("bootstrap", &script)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let mut short = claim(code.path(), "x");
    short.timeout_ms = 1000;
    gateway.claim_well(short);
    let request = gateway.begin(b"sleep", &InvokeMeta { tail: true, ..InvokeMeta::default() });
    let answer = gateway.answer(request);
    assert_eq!(answer.kind, Kind::FunctionError);
    assert_eq!(answer.text(), document("Sandbox.Timedout", request, "Task timed out after 1.00 seconds"));
    assert!(answer.tail.contains(&format!("Z {request} Task timed out after 1.00 seconds\n\nEND RequestId")));
    assert!(answer.tail.contains("\tDuration: 1000.00 ms\tBilled Duration: "), "{}", answer.tail);
    assert!(answer.tail.ends_with("\tStatus: timeout\n"), "{}", answer.tail);
    // Files are still there, and the repeated init is no line of its own.
    let answer = gateway.invoke_with_tail(b"quick");
    assert_eq!(answer.text(), "echo: quick");
    assert!(answer.tail.starts_with("start x\nSTART RequestId"), "{}", answer.tail);
}

#[test]
fn a_timeout_in_a_repeated_init_is_the_functions() {
    let code = code(&[("bootstrap", "#!/bin/bash\n[ -e mark ] && exec sleep 600\ntouch mark\nexit 1\n")]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    let mut short = claim(code.path(), "x");
    short.timeout_ms = 1000;
    assert_eq!(gateway.claim(short).outcome, failed("Runtime.ExitError"));
    let request = gateway.begin(b"", &InvokeMeta::default());
    let answer = gateway.answer(request);
    assert_eq!(answer.text(), document("Sandbox.Timedout", request, "Task timed out after 1.00 seconds"));
}

#[test]
fn a_crash_ends_the_invocation_and_the_processes_it_started() {
    let script =
        ECHO.replace("echo \"got $event\"", "sleep 600 & echo \"child=$!\"; [ \"$event\" = die ] && kill -9 $$");
    let code = code(&[("bootstrap", &script)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    gateway.claim_well(claim(code.path(), "x"));
    let request = gateway.begin(b"die", &InvokeMeta::default());
    let answer = gateway.answer(request);
    let message = "Runtime exited with error: signal: killed";
    assert_eq!(answer.text(), document("Runtime.ExitError", request, message));
    let log = gateway.log_with("Status: error\tError Type: Runtime.ExitError");
    let (_, rest) = log.split_once("child=").unwrap();
    let child = rest.lines().next().unwrap();
    assert_eq!(gateway.invoke(b"again").text(), "echo: again");
    assert!(!std::path::Path::new(&format!("/proc/{child}")).exists(), "{child} is still there");
}

#[test]
fn what_a_runtime_said_before_it_exited_counts() {
    let post = "api=\"http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime\"\n";
    let document = r#"{"errorMessage":"no luck","errorType":"Odd"}"#;
    let script = format!(
        "#!/bin/bash\n{post}curl -sS -o /dev/null \"$api/init/error\" -H 'Lambda-Runtime-Function-Error-Type: Runtime.Odd' \
         -d '{document}'\necho bye\nexit 1\n"
    );
    let code = code(&[("bootstrap", &script)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    assert_eq!(gateway.claim(claim(code.path(), "x")).outcome, failed("Runtime.Odd"));
    let answer = gateway.invoke(b"");
    assert_eq!((answer.kind, answer.text()), (Kind::FunctionError, document));
}

#[test]
fn a_runtime_may_die_before_it_has_read_its_event() {
    let script = "#!/bin/bash\nexec 3<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}\n\
                  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n' >&3\n\
                  read -r -n 1 <&3\nexit 4\n";
    let code = code(&[("bootstrap", script)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    gateway.claim_well(claim(code.path(), "x"));
    let request = gateway.begin(&vec![b'x'; 6 * 1024 * 1024], &InvokeMeta::default());
    let message = "Runtime exited with error: exit status 4";
    assert_eq!(gateway.answer(request).text(), document("Runtime.ExitError", request, message));
}

#[test]
fn an_answer_of_six_megabytes_counts_even_if_the_runtime_exits_right_after_it() {
    let script = ECHO.replace("-d \"echo: $event\"", "--data-binary @big; exit 5");
    let big = "x".repeat(6_000_000);
    let code = code(&[("bootstrap", &script), ("big", &big)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    gateway.claim_well(claim(code.path(), "x"));
    let answer = gateway.invoke(b"x");
    assert_eq!((answer.kind, answer.body.len()), (Kind::Response, big.len()));
    let log = gateway.log_with("REPORT");
    assert!(log.contains("Error: Runtime exited with error: exit status 5\nRuntime.ExitError\nEND RequestId"), "{log}");
}

#[test]
fn who_is_answered_keeps_the_answer_when_the_runtime_does_not_come_back() {
    let (mut silent, mut client) = Silent::ready(|claim| claim.timeout_ms = 1000);
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    let event = client.response();
    client.post(&event, "response", "", b"kept");
    assert_eq!(silent.gateway.answer(request).text(), "kept");
    // It never asks for the next event: the environment is reset at the deadline.
    let log = silent.gateway.log_with("REPORT");
    assert!(log.contains("Task timed out after 1.00 seconds"), "{log}");
    client.is_closed();
    // The next invocation starts it again, and waits for it.
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    let answer = silent.gateway.answer(request);
    assert_eq!(answer.json()["errorType"], "Sandbox.Timedout");
}

#[test]
fn a_late_response_belongs_to_no_invocation() {
    let (mut silent, mut client) = Silent::ready(|claim| claim.timeout_ms = 1000);
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    let event = client.response();
    assert_eq!(silent.gateway.answer(request).json()["errorType"], "Sandbox.Timedout");
    // By then the reset is over, which closes all connections.
    silent.gateway.log_with("REPORT");
    let mut late = silent.client();
    assert_eq!(late.post(&event, "response", "", b"late").status, 400);
}

#[test]
fn json_logs_hold_the_platforms_events() {
    let (mut silent, mut client) = Silent::ready(|claim| {
        claim.log_format = LogFormat::Json;
        claim.timeout_ms = 1000;
    });
    let trace = "Root=1-a;Parent=b;Sampled=1";
    for body in [Some("x"), None] {
        let request = silent.gateway.begin(b"", &InvokeMeta { trace_id: trace, ..InvokeMeta::default() });
        if let Some(body) = body {
            let event = client.response();
            client.post(&event, "response", "", body.as_bytes());
            client.ask_next();
        }
        silent.gateway.answer(request);
    }
    let log = silent.gateway.log_with("\"status\":\"timeout\"}}");
    let events: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "platform.initStart",
            "platform.start",
            "platform.report",
            "platform.start",
            "platform.runtimeDone",
            "platform.report"
        ]
    );
    assert!(log.lines().filter(|line| !line.starts_with("api=")).all(|line| line.starts_with("{\"time\":\"2")));
    assert_eq!(events[0]["record"]["runtimeVersion"], "test:1.v1");
    assert_eq!(events[1]["record"]["tracing"]["value"], trace);
    let report = &events[2]["record"];
    assert_eq!((&report["status"], &report["metrics"]["memorySizeMB"]), (&"success".into(), &512.into()));
    assert!(report["metrics"]["initDurationMs"].as_f64().unwrap() > 0.0);
    assert_eq!(events[5]["record"]["metrics"]["durationMs"], 1000.0);
    assert!(!log.contains("Task timed out") && !log.contains("END RequestId"));
}
