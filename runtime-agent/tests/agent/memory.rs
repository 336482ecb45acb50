//! MemorySize: a function that uses more is ended with AWS's error, and the next invocation finds a working environment.

use crate::gateway::{Gateway, claim, code};
use crate::python_library::python;
use std::time::Instant;

const APP: &str = "
def handler(event, context):
    kept = bytearray(event['mib'] * 1024 * 1024)
    for page in range(0, len(kept), 4096):
        kept[page] = 1
    import time
    time.sleep(event.get('then', 0))
    return len(kept)
";

#[test]
fn a_function_over_its_memory_size_is_out_of_memory() {
    let Some(runtime) = python(false) else { return };
    let code = code(&[("app.py", APP)]);
    let mut gateway = Gateway::start(runtime);
    let mut small = claim(code.path(), "app.handler");
    small.memory_mib = 128;
    gateway.claim_well(small);
    let fits = gateway.invoke_with_tail(br#"{"mib": 60}"#);
    assert_eq!(fits.text(), (60 * 1024 * 1024).to_string());
    let since = Instant::now();
    let request = gateway.begin(
        br#"{"mib": 300, "then": 9}"#,
        &warmpod_link::frame::InvokeMeta { tail: true, ..warmpod_link::frame::InvokeMeta::default() },
    );
    let answer = gateway.answer(request);
    assert_eq!(
        answer.text(),
        format!(
            "{{\"errorType\":\"Runtime.OutOfMemory\",\"errorMessage\":\"RequestId: {request} Error: \
             Runtime exited with error: signal: killed\"}}"
        )
    );
    assert!(since.elapsed().as_secs() < 5, "not at the end of its sleep");
    let report = answer.tail.lines().last().unwrap().to_owned();
    assert!(report.contains("\tMemory Size: 128 MB\tMax Memory Used: 128 MB\t"), "{report}");
    assert!(report.ends_with("\tStatus: error\tError Type: Runtime.OutOfMemory"), "{report}");
    assert_eq!(gateway.invoke(br#"{"mib": 1}"#).text(), (1024 * 1024).to_string());
}

#[test]
fn the_report_shows_the_peak_over_the_environments_life() {
    let Some(runtime) = python(false) else { return };
    let code = code(&[("app.py", APP)]);
    let mut gateway = Gateway::start(runtime);
    gateway.claim_well(claim(code.path(), "app.handler"));
    let used = |tail: &str| -> u64 {
        let (_, rest) = tail.split_once("Max Memory Used: ").unwrap();
        rest.split_once(' ').unwrap().0.parse().unwrap()
    };
    let small = used(&gateway.invoke_with_tail(br#"{"mib": 1}"#).tail);
    let large = used(&gateway.invoke_with_tail(br#"{"mib": 100, "then": 0.2}"#).tail);
    let after = used(&gateway.invoke_with_tail(br#"{"mib": 1}"#).tail);
    assert!(small < 60 && (100..200).contains(&large), "{small} {large}");
    assert_eq!(after, large);
}
