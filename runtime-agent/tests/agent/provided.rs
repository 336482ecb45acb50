//! Functions that bring their own runtime: a shell script with curl.

use crate::gateway::{Gateway, claim, code};
use warmpod_link::frame::Kind;
use warmpod_link::worker::RuntimeSpec;

/// Echoes its events.
pub const ECHO: &str = r#"#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
head=$(mktemp)
trap 'rm -f "$head"' EXIT
while true; do
  event=$(curl -sS -D "$head" "$api/invocation/next")
  id=$(grep -i lambda-runtime-aws-request-id "$head" | tr -d '[:space:]' | cut -d: -f2)
  echo "got $event"
  curl -sS -o /dev/null "$api/invocation/$id/response" -d "echo: $event"
done
"#;

#[test]
fn a_shell_bootstrap_is_claimed_and_invoked() {
    let code = code(&[("bootstrap", ECHO)]);
    let mut gateway = Gateway::start(RuntimeSpec::Provided);
    gateway.claim_well(claim(code.path(), "x"));
    let answer = gateway.invoke(b"one");
    assert_eq!((answer.kind, answer.text()), (Kind::Response, "echo: one"));
    let answer = gateway.invoke_with_tail(b"two");
    assert_eq!((answer.kind, answer.text()), (Kind::Response, "echo: two"));
    let lines: Vec<&str> = answer.tail.lines().collect();
    assert!(lines[0].starts_with("START RequestId: "), "{lines:?}");
    assert_eq!(lines[1], "got two");
    assert!(lines[2].starts_with("END RequestId: "));
    assert!(lines[3].starts_with("REPORT RequestId: "));
}
