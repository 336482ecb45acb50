//! The platform's own lines in a function's log: INIT_START, START, END, REPORT and what failures add, as text or as
//! the JSON events that AWS writes with `LogFormat: JSON`.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>

use crate::clock::WallTime;
use crate::environment::{Line, Status};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;
use warmpod_link::control::{Claim, LogFormat};

/// What the lines say besides their own facts.
pub struct Context<'a> {
    pub claim: &'a Claim,
    pub request: Uuid,
    pub trace_id: &'a str,
    pub max_memory_mib: u64,
    pub now: WallTime,
}

/// The text of a line; `None` where the format has none for it.
pub fn render(line: &Line, context: &Context<'_>) -> Option<String> {
    match context.claim.log_format {
        LogFormat::Text => text(line, context),
        LogFormat::Json => {
            let (kind, record) = event(line, context)?;
            let time = context.now.to_string();
            Some(format!("{}\n", json!({ "time": time, "type": kind, "record": record })))
        }
    }
}

fn text(line: &Line, context: &Context<'_>) -> Option<String> {
    let request = context.request;
    Some(match line {
        Line::InitStart => {
            let (version, arn) = context.claim.runtime_version.as_ref()?;
            format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n")
        }
        Line::InitFailed { repeated, duration, status } => {
            let phase = phase(*repeated);
            format!("INIT_REPORT Init Duration: {} ms\tPhase: {phase}{}\n", millis(*duration), status_text(status))
        }
        Line::Start => format!("START RequestId: {request} Version: {}\n", context.claim.environment.version),
        Line::Failed(failure) => format!("RequestId: {request} Error: {}\n{}\n", failure.message, failure.kind),
        Line::TimedOut(timeout) => {
            format!("{} {request} {}\n\n", context.now, crate::environment::failure::timeout_text(*timeout))
        }
        Line::RuntimeDone { .. } => return None,
        Line::End => format!("END RequestId: {request}\n"),
        Line::Report { duration, init, status } => report(*duration, *init, status, context),
    })
}

fn report(duration: Duration, init: Option<Duration>, status: &Status, context: &Context<'_>) -> String {
    let mut line = format!(
        "REPORT RequestId: {}\tDuration: {} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
        context.request,
        millis(duration),
        billed(duration, init),
        context.claim.memory_mib,
        context.max_memory_mib,
    );
    let mut add = |text: std::fmt::Arguments<'_>| line.write_fmt(text).expect("writing to memory does not fail");
    if let Some(init) = init {
        add(format_args!("Init Duration: {} ms\t", millis(init)));
    }
    // A handler's own exception does not show here.
    if !matches!(status, Status::Error(_)) {
        add(format_args!("{}", status_text(status).trim_start_matches('\t')));
    }
    add(format_args!("\n"));
    if let Some((root, parent)) = sampled(context.trace_id) {
        add(format_args!("XRAY TraceId: {root}\tSegmentId: {parent}\tSampled: true\t\n"));
    }
    line
}

fn status_text(status: &Status) -> String {
    match status {
        Status::Success => String::new(),
        Status::Timeout => "\tStatus: timeout".to_owned(),
        Status::Error(kind) | Status::Failure(kind) => format!("\tStatus: error\tError Type: {kind}"),
    }
}

/// The JSON event and its record, if the default level (INFO) lets it through.
fn event(line: &Line, context: &Context<'_>) -> Option<(&'static str, Value)> {
    let claim = context.claim;
    Some(match line {
        Line::InitStart => {
            let (version, arn) = claim.runtime_version.as_ref()?;
            let record = json!({
                "initializationType": claim.initialization_type,
                "phase": "init",
                "runtimeVersion": version,
                "runtimeVersionArn": arn,
                "functionName": claim.function_name,
                "functionVersion": claim.environment.version,
                "instanceMaxMemory": u64::from(claim.memory_mib) * 1024 * 1024,
            });
            ("platform.initStart", record)
        }
        Line::InitFailed { repeated, duration, status } => {
            let mut record = json!({ "initializationType": claim.initialization_type, "phase": phase(*repeated) });
            set_status(&mut record, status);
            record["metrics"] = json!({ "durationMs": number(*duration) });
            ("platform.initReport", record)
        }
        Line::Start => {
            let mut record = json!({ "requestId": context.request, "version": claim.environment.version });
            set_tracing(&mut record, context.trace_id);
            ("platform.start", record)
        }
        Line::RuntimeDone { status: Status::Success, .. } => return None,
        Line::RuntimeDone { duration, status } => {
            let mut record = json!({ "requestId": context.request });
            set_status(&mut record, status);
            record["metrics"] = json!({ "durationMs": number(*duration), "producedBytes": 0 });
            ("platform.runtimeDone", record)
        }
        Line::Report { duration, init, status } => {
            let mut record = json!({ "requestId": context.request });
            let mut metrics = json!({
                "durationMs": number(*duration),
                "billedDurationMs": billed(*duration, *init),
                "memorySizeMB": claim.memory_mib,
                "maxMemoryUsedMB": context.max_memory_mib,
            });
            if let Some(init) = init {
                metrics["initDurationMs"] = number(*init);
            }
            record["metrics"] = metrics;
            set_tracing(&mut record, context.trace_id);
            set_status(&mut record, status);
            ("platform.report", record)
        }
        Line::Failed(_) | Line::TimedOut(_) | Line::End => return None,
    })
}

fn phase(repeated: bool) -> &'static str {
    if repeated { "invoke" } else { "init" }
}

fn set_status(record: &mut Value, status: &Status) {
    let (name, kind) = match status {
        Status::Success => ("success", None),
        Status::Error(kind) => ("error", Some(kind)),
        Status::Failure(kind) => ("failure", Some(kind)),
        Status::Timeout => ("timeout", None),
    };
    record["status"] = json!(name);
    if let Some(kind) = kind {
        record["errorType"] = json!(kind);
    }
}

fn set_tracing(record: &mut Value, trace_id: &str) {
    if !trace_id.is_empty() {
        record["tracing"] = json!({ "type": "X-Amzn-Trace-Id", "value": trace_id });
    }
}

/// Root and parent of a trace that is sampled.
fn sampled(trace_id: &str) -> Option<(&str, &str)> {
    let field = |name: &str| trace_id.split(';').find_map(|field| field.strip_prefix(name));
    (field("Sampled=") == Some("1")).then_some(())?;
    Some((field("Root=")?, field("Parent=")?))
}

/// Two decimals, as text lines have them.
fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

/// At most three decimals, as JSON records have them.
fn number(duration: Duration) -> Value {
    json!(duration.as_micros() as f64 / 1000.0)
}

fn billed(duration: Duration, init: Option<Duration>) -> u64 {
    (duration + init.unwrap_or_default()).as_micros().div_ceil(1000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::failure::Failure;
    use crate::sandbox::Ended;
    use warmpod_link::control::{Code, EnvironmentId};

    fn claim(log_format: LogFormat) -> Claim {
        Claim {
            environment: EnvironmentId {
                function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
                version: "7".to_owned(),
                generation: Uuid::nil(),
            },
            function_name: "f".to_owned(),
            invoked_arn: String::new(),
            account: String::new(),
            handler: String::new(),
            memory_mib: 128,
            timeout_ms: 1000,
            ephemeral_mib: 512,
            init_timeout_ms: 10_000,
            max_response: 1,
            variables: Vec::new(),
            code: Code::Directory("/".into()),
            layers: Vec::new(),
            log_format,
            runtime_version: Some(("python:3.12.v0".to_owned(), "arn:x".to_owned())),
            initialization_type: "on-demand".to_owned(),
        }
    }

    fn rendered(format: LogFormat, trace_id: &str, line: &Line) -> Option<String> {
        let claim = claim(format);
        let now = WallTime(1_762_161_153_123);
        render(line, &Context { claim: &claim, request: Uuid::nil(), trace_id, max_memory_mib: 36, now })
    }

    fn text(line: &Line) -> String {
        rendered(LogFormat::Text, "", line).unwrap()
    }

    fn report(init: Option<u64>, status: Status) -> Line {
        let micros = Duration::from_micros;
        Line::Report { duration: micros(3010), init: init.map(micros), status }
    }

    const ID: &str = "00000000-0000-0000-0000-000000000000";

    #[test]
    fn text_lines_are_awss_byte_for_byte() {
        assert_eq!(text(&Line::InitStart), "INIT_START Runtime Version: python:3.12.v0\tRuntime Version ARN: arn:x\n");
        assert_eq!(text(&Line::Start), format!("START RequestId: {ID} Version: 7\n"));
        assert_eq!(text(&Line::End), format!("END RequestId: {ID}\n"));
        assert_eq!(
            text(&Line::Failed(Failure::exited(Ended::Signaled(11)))),
            format!(
                "RequestId: {ID} Error: Runtime exited with error: signal: segmentation fault\nRuntime.ExitError\n"
            )
        );
        assert_eq!(
            text(&Line::TimedOut(Duration::from_millis(1500))),
            format!("2025-11-03T09:12:33.123Z {ID} Task timed out after 1.50 seconds\n\n")
        );
        let failed = Line::InitFailed {
            repeated: false,
            duration: Duration::from_micros(229_040),
            status: Status::Error("Runtime.ImportModuleError".to_owned()),
        };
        assert_eq!(
            text(&failed),
            "INIT_REPORT Init Duration: 229.04 ms\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError\n"
        );
    }

    #[test]
    fn a_report_bills_the_init_and_ends_with_a_tab() {
        let common = format!("REPORT RequestId: {ID}\tDuration: 3.01 ms\t");
        let memory = "Memory Size: 128 MB\tMax Memory Used: 36 MB\t";
        assert_eq!(text(&report(None, Status::Success)), format!("{common}Billed Duration: 4 ms\t{memory}\n"));
        assert_eq!(
            text(&report(Some(110_100), Status::Success)),
            format!("{common}Billed Duration: 114 ms\t{memory}Init Duration: 110.10 ms\t\n")
        );
        assert_eq!(
            text(&report(None, Status::Timeout)),
            format!("{common}Billed Duration: 4 ms\t{memory}Status: timeout\n")
        );
        assert_eq!(
            text(&report(None, Status::Failure("Runtime.OutOfMemory".to_owned()))),
            format!("{common}Billed Duration: 4 ms\t{memory}Status: error\tError Type: Runtime.OutOfMemory\n")
        );
        let by_handler = Status::Error("Function.Unknown".to_owned());
        assert_eq!(text(&report(None, by_handler)), format!("{common}Billed Duration: 4 ms\t{memory}\n"));
    }

    #[test]
    fn a_sampled_trace_is_in_the_reports_event() {
        let traced = |trace| rendered(LogFormat::Text, trace, &report(None, Status::Success)).unwrap();
        let line = traced("Root=1-6ac7;Parent=8548;Sampled=1");
        assert!(line.ends_with("\t\nXRAY TraceId: 1-6ac7\tSegmentId: 8548\tSampled: true\t\n"), "{line}");
        assert!(!traced("Root=1-6ac7;Parent=8548;Sampled=0").contains("XRAY"));
    }

    #[test]
    fn json_has_events_in_place_of_lines_and_none_where_its_level_says_so() {
        let json = |line| rendered(LogFormat::Json, "", line);
        assert_eq!(json(&Line::End), None);
        assert_eq!(json(&Line::RuntimeDone { duration: Duration::ZERO, status: Status::Success }), None);
        assert_eq!(
            json(&report(None, Status::Failure("Runtime.ExitError".to_owned()))).unwrap(),
            format!(
                "{{\"time\":\"2025-11-03T09:12:33.123Z\",\"type\":\"platform.report\",\"record\":{{\"requestId\":\"{ID}\",\
                 \"metrics\":{{\"durationMs\":3.01,\"billedDurationMs\":4,\"memorySizeMB\":128,\"maxMemoryUsedMB\":36}},\
                 \"status\":\"failure\",\"errorType\":\"Runtime.ExitError\"}}}}\n"
            )
        );
    }
}
