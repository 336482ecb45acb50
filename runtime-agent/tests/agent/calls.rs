//! What each call of the Runtime API answers, in each state, and what the caller of the function gets.

use crate::gateway::Answer;
use crate::http::{Client, Response, Silent};
use serde_json::json;
use warmpod_link::control::InitOutcome;
use warmpod_link::frame::{InvokeMeta, Kind};

const LIMIT: usize = 6_291_556;
const OTHER_ID: &str = "00000000-0000-4000-8000-000000000000";

fn refused(response: &Response, status: u16, kind: &str, message: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(response.text(), format!("{{\"errorMessage\":\"{message}\",\"errorType\":\"{kind}\"}}\n"));
}

fn forbidden(response: &Response, from: &str, to: &str) {
    let message =
        format!("State transition from {from} to {to} failed for runtime. Error: State transition is not allowed");
    refused(response, 403, "InvalidStateTransition", &message);
}

fn accepted(response: &Response) {
    assert_eq!((response.status, response.text()), (202, "{\"status\":\"OK\"}\n"));
    assert_eq!(response.header("Content-Type"), Some("application/json"));
}

/// A worker whose runtime has an event and has not answered it.
fn running() -> (Silent, Client, Response, uuid::Uuid) {
    let (mut silent, mut client) = Silent::ready(|_| {});
    let request = silent.gateway.begin(b"{}", &InvokeMeta::default());
    let event = client.response();
    (silent, client, event, request)
}

#[test]
fn next_gives_the_event_with_the_headers_that_have_a_value() {
    let (mut silent, mut client) = Silent::ready(|_| {});
    let meta = InvokeMeta {
        trace_id: "Root=1-a;Parent=b;Sampled=0",
        invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:f:live",
        client_context: Some("{\"a\":\n1}\r\nInjected: header"),
        cognito_identity: None,
        tail: false,
    };
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let request = silent.gateway.begin(b"\x00payload\xff", &meta);
    let event = client.response();
    assert_eq!((event.status, event.body.as_slice()), (200, &b"\x00payload\xff"[..]));
    assert_eq!(event.header("Content-Type"), Some("application/json"));
    assert_eq!(event.header("Lambda-Runtime-Aws-Request-Id"), Some(request.to_string().as_str()));
    assert_eq!(event.header("Lambda-Runtime-Trace-Id"), Some(meta.trace_id));
    assert_eq!(event.header("Lambda-Runtime-Invoked-Function-Arn"), Some(meta.invoked_arn));
    assert_eq!(event.header("Lambda-Runtime-Client-Context"), Some("{\"a\": 1}  Injected: header"));
    assert_eq!(event.header("Injected"), None);
    assert!(!event.head.contains("Cognito"));
    let deadline: u64 = event.header("Lambda-Runtime-Deadline-Ms").unwrap().parse().unwrap();
    assert!((before + 60_000..before + 120_000).contains(&deadline), "{deadline} from {before}");
    accepted(&client.post(&event, "response", "", b"done"));
    assert_eq!(silent.gateway.answer(request).text(), "done");

    client.ask_next();
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    let event = client.response();
    assert_eq!(
        event.header("Lambda-Runtime-Invoked-Function-Arn"),
        Some("arn:aws:lambda:us-east-1:000000000000:function:f")
    );
    assert!(!event.head.contains("Trace-Id") && !event.head.contains("Client-Context"));
    accepted(&client.post(&event, "response", "", b""));
    assert_eq!(silent.gateway.answer(request).text(), "");
}

#[test]
fn the_checks_of_a_response_come_in_awss_order() {
    let (mut silent, mut client, event, request) = running();
    let attempt = event.header("Lambda-Runtime-Invocation-Id").unwrap();
    let other_attempt = format!("Lambda-Runtime-Invocation-Id: {OTHER_ID}\r\n");
    let bad_mode = "Lambda-Runtime-Function-Response-Mode: wrong\r\n";
    let everything_wrong = format!("{other_attempt}{bad_mode}");
    for what in ["response", "error"] {
        // 1: a foreign id, whatever else is wrong, and however long the body is.
        let path = format!("POST /2018-06-01/runtime/invocation/{OTHER_ID}/{what}");
        for body in [vec![b'x'; 10], vec![b'x'; LIMIT + 1]] {
            refused(&client.request(&path, &everything_wrong, &body), 400, "InvalidRequestID", "Invalid request ID");
        }
        let path = format!("POST /2018-06-01/runtime/invocation/not-an-id/{what}");
        refused(&client.request(&path, "", b""), 400, "InvalidRequestID", "Invalid request ID");
        // 2: another attempt's.
        let response = client.post(&event, what, &everything_wrong, b"x");
        refused(&response, 410, "InvokeTimeout", "Invoke timeout");
        let response = client.post(&event, what, "Lambda-Runtime-Invocation-Id: x\r\n", b"x");
        refused(&response, 410, "InvokeTimeout", "Invoke timeout");
    }
    // 7: all is well, also with the attempt's id sent back.
    accepted(&client.post(&event, "response", &format!("lambda-runtime-invocation-id: {attempt}\r\n"), b"\x01\x02"));
    assert_eq!(silent.gateway.answer(request).body, b"\x01\x02");
    // 3: a second answer, before its mode is looked at.
    let response = client.post(&event, "response", bad_mode, b"x");
    forbidden(&response, "RuntimeResponseSentState", "InvocationResponse");
    let response = client.post(&event, "error", "", b"x");
    forbidden(&response, "RuntimeResponseSentState", "InvocationErrorResponse");
}

#[test]
fn an_unknown_response_mode_is_fatal_and_a_known_one_is_not() {
    let (mut silent, mut client, event, request) = running();
    let response = client.post(&event, "response", "Lambda-Runtime-Function-Response-Mode: wrong\r\n", b"x");
    refused(&response, 400, "InvalidFunctionResponseMode", "Invalid function response mode");
    let answer = silent.gateway.answer(request);
    assert_eq!(answer.kind, Kind::FunctionError);
    assert_eq!(answer.json()["errorType"], "Runtime.InvalidResponseModeHeader");

    let (mut silent, mut client, event, request) = running();
    // A stream to a buffered invocation is collected.
    let id = event.header("Lambda-Runtime-Aws-Request-Id").unwrap();
    client.send(
        format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\
             Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
        )
        .as_bytes(),
    );
    accepted(&client.response());
    assert_eq!(silent.gateway.answer(request).text(), "abcdef");
}

#[test]
fn a_response_over_the_limit_is_a_function_error_and_the_environment_stays() {
    let (mut silent, mut client) = Silent::ready(|_| {});
    let too_large = |answer: Answer| {
        assert_eq!(answer.kind, Kind::FunctionError);
        assert_eq!(
            answer.text(),
            "{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size (6291556 bytes).\",\
             \"errorType\":\"Function.ResponseSizeTooLarge\"}"
        );
    };
    for size in [LIMIT, LIMIT + 1, 3 * LIMIT] {
        let request = silent.gateway.begin(b"", &InvokeMeta::default());
        let event = client.response();
        let response = client.post(&event, "response", "", &vec![b'x'; size]);
        if size == LIMIT {
            accepted(&response);
            assert_eq!(silent.gateway.answer(request).body.len(), LIMIT);
        } else {
            let message = "Exceeded maximum allowed payload size (6291556 bytes).";
            refused(&response, 413, "RequestEntityTooLarge", message);
            too_large(silent.gateway.answer(request));
        }
        client.ask_next();
    }
}

#[test]
fn a_response_that_is_cut_short_is_truncated() {
    let (mut silent, mut client, event, request) = running();
    let id = event.header("Lambda-Runtime-Aws-Request-Id").unwrap();
    client.send(
        format!("POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
            .as_bytes(),
    );
    client.end_of_sending();
    refused(&client.response(), 400, "TruncatedHTTPRequest", "HTTP request detected as truncated");
    let answer = silent.gateway.answer(request);
    assert_eq!((answer.kind, &answer.json()["errorType"]), (Kind::FunctionError, &json!("Runtime.TruncatedResponse")));
}

#[test]
fn an_error_document_is_passed_on_unchanged() {
    let (mut silent, mut client, event, request) = running();
    let document = b"{\"errorType\" : \"Odd\",\"errorMessage\":\"\xc3\xa4\", \"more\": [1]}";
    accepted(&client.post(&event, "error", "Lambda-Runtime-Function-Error-Type: Function.Odd\r\n", document));
    let answer = silent.gateway.answer(request);
    assert_eq!((answer.kind, answer.body.as_slice()), (Kind::FunctionError, &document[..]));
}

#[test]
fn the_cause_of_an_error_is_not_for_the_caller() {
    let (mut silent, mut client, event, request) = running();
    let document = br#"{"errorMessage":"m","errorCause":{"secret":1},"errorType":"T"}"#;
    let headers = "Content-Type: application/vnd.aws.lambda.error.cause+json\r\n";
    accepted(&client.post(&event, "error", headers, document));
    assert_eq!(silent.gateway.answer(request).text(), r#"{"errorMessage":"m","errorType":"T"}"#);
}

#[test]
fn a_returned_error_document_is_a_success() {
    let (mut silent, mut client, event, request) = running();
    accepted(&client.post(&event, "response", "", br#"{"errorType":"X"}"#));
    assert_eq!(silent.gateway.answer(request).kind, Kind::Response);
}

#[test]
fn a_long_header_with_an_errors_cause_is_taken() {
    let (mut silent, mut client, event, request) = running();
    let cause = "x".repeat(1024 * 1024);
    let headers = format!("Lambda-Runtime-Function-XRay-Error-Cause: {cause}\r\n");
    accepted(&client.post(&event, "error", &headers, b"{}"));
    assert_eq!(silent.gateway.answer(request).text(), "{}");
}

#[test]
fn calls_before_the_first_next() {
    let silent = Silent::starting(|_| {});
    let mut client = silent.client();
    let path = format!("POST /2018-06-01/runtime/invocation/{OTHER_ID}/response");
    refused(&client.request(&path, "", b""), 400, "InvalidRequestID", "Invalid request ID");
    let ping = client.request("GET /2018-06-01/ping", "", b"");
    assert_eq!((ping.status, ping.text()), (200, "pong"));
    assert_eq!(client.request("GET /2018-06-01/runtime/restore/next", "", b"").status, 404);
    assert_eq!(client.request("GET /nothing", "", b"").status, 404);
    assert_eq!(client.request("PUT /2018-06-01/runtime/init/error", "", b"").status, 405);
}

#[test]
fn init_error_is_for_runtimes_that_have_not_asked_for_an_event() {
    let mut silent = Silent::starting(|_| {});
    let mut client = silent.client();
    let path = "POST /2018-06-01/runtime/init/error";
    accepted(&client.request(path, "Lambda-Runtime-Function-Error-Type: Runtime.Odd\r\n", b"{}"));
    let report = silent.gateway.next_init();
    assert_eq!(report.outcome, InitOutcome::Failed { error_type: "Runtime.Odd".to_owned() });
    forbidden(&client.request(path, "", b"{}"), "InitError", "InitError");
    forbidden(&client.request("GET /2018-06-01/runtime/invocation/next", "", b""), "InitError", "Ready");

    let (mut silent, mut client, event, request) = running();
    forbidden(&client.request(path, "", b"{}"), "Running", "InitError");
    accepted(&client.post(&event, "response", "", b"{}"));
    silent.gateway.answer(request);
    forbidden(&client.request(path, "", b"{}"), "RuntimeResponseSentState", "InitError");
}

#[test]
fn next_gives_an_unanswered_event_again() {
    let (mut silent, mut client, event, request) = running();
    for mut other in [silent.client(), silent.client()] {
        let again = other.next();
        assert_eq!(again.header("Lambda-Runtime-Aws-Request-Id"), event.header("Lambda-Runtime-Aws-Request-Id"));
        assert_eq!((again.status, again.text()), (200, "{}"));
    }
    accepted(&client.post(&event, "response", "", b"1"));
    assert_eq!(silent.gateway.answer(request).text(), "1");
}

#[test]
fn of_two_that_wait_the_older_is_dropped_and_the_newer_gets_the_event() {
    let (mut silent, mut older) = Silent::ready(|_| {});
    let mut newer = silent.client();
    newer.ask_next();
    older.is_closed();
    let request = silent.gateway.begin(b"e", &InvokeMeta::default());
    let event = newer.response();
    assert_eq!(event.text(), "e");
    accepted(&newer.post(&event, "response", "", b"r"));
    assert_eq!(silent.gateway.answer(request).text(), "r");
}

#[test]
fn a_runtime_may_use_a_new_connection_for_each_call() {
    let (mut silent, mut client) = Silent::ready(|_| {});
    for round in 0..3 {
        let request = silent.gateway.begin(b"e", &InvokeMeta::default());
        let event = client.response();
        let mut other = silent.client();
        accepted(&other.post(&event, "response", "Connection: close\r\n", b"r"));
        other.is_closed();
        assert_eq!(silent.gateway.answer(request).text(), "r", "round {round}");
        client = silent.client();
        client.ask_next();
    }
}

#[test]
fn an_answer_and_the_next_next_may_come_in_one_write() {
    let (mut silent, mut client, event, request) = running();
    let id = event.header("Lambda-Runtime-Aws-Request-Id").unwrap();
    client.send(
        format!(
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nContent-Length: 1\r\n\r\n1\
             GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n"
        )
        .as_bytes(),
    );
    accepted(&client.response());
    assert_eq!(silent.gateway.answer(request).text(), "1");
    let request = silent.gateway.begin(b"second", &InvokeMeta::default());
    let event = client.response();
    assert_eq!(event.text(), "second");
    accepted(&client.post(&event, "response", "", b"2"));
    assert_eq!(silent.gateway.answer(request).text(), "2");
}

#[test]
fn an_answer_on_a_connection_that_rested_is_read() {
    let (mut silent, mut resting, event, request) = running();
    accepted(&resting.post(&event, "response", "", b"1"));
    silent.gateway.answer(request);
    // The runtime asks on another connection, and answers on the first.
    let mut asking = silent.client();
    asking.ask_next();
    let request = silent.gateway.begin(b"", &InvokeMeta::default());
    let event = asking.response();
    accepted(&resting.post(&event, "response", "", b"2"));
    assert_eq!(silent.gateway.answer(request).text(), "2");
}
