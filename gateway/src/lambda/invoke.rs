//! Invoke: from a name and a payload to the function's answer.
//!
//! The warm way is one lookup, one lease, one frame out, one frame in. Only where nothing is idle does an invocation get a
//! task of its own, so that it runs on when its client goes away while it still waits.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use super::Lambda;
use super::alias::draw_version;
use super::catalog::LATEST;
use super::error::LambdaError;
use crate::pool::environment::Answer;
use crate::pool::group::Pending;
use crate::pool::{Group, InvocationError, Lease, LeaseError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::fmt::Write as _;
use std::sync::Arc;
use uuid::Uuid;
use warmpod_link::frame::InvokeMeta;
use warmpod_protocol::{Caller, FunctionReference};

/// The largest event of a synchronous invocation, bytes.
pub const MAX_SYNCHRONOUS: usize = 6_291_456;
/// The largest event of an asynchronous one.
pub const MAX_ASYNCHRONOUS: usize = 1_048_576;
/// The longest client context, bytes of base64.
const MAX_CLIENT_CONTEXT: usize = 3583;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvocationType {
    RequestResponse,
    Event,
    DryRun,
}

impl InvocationType {
    pub fn parse(text: Option<&str>) -> Result<Self, LambdaError> {
        match text {
            None | Some("RequestResponse") => Ok(Self::RequestResponse),
            Some("Event") => Ok(Self::Event),
            Some("DryRun") => Ok(Self::DryRun),
            Some(other) => Err(LambdaError::Validation(format!(
                "1 validation error detected: Value '{other}' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"
            ))),
        }
    }
}

/// One call of Invoke, still in the client's words.
pub struct Call<'a> {
    pub request: Uuid,
    pub name: &'a str,
    pub qualifier: Option<&'a str>,
    pub kind: InvocationType,
    /// `X-Amz-Log-Type: Tail`
    pub tail: bool,
    /// Base64, as the header has it.
    pub client_context: Option<&'a str>,
    /// `X-Amzn-Trace-Id`
    pub trace: Option<&'a str>,
    pub payload: Bytes,
}

pub enum Invoked {
    /// The function's answer; the group says which version ran.
    Answered {
        answer: Answer,
        group: Arc<Group>,
        trace: Trace,
    },
    Accepted {
        trace: Trace,
    },
    DryRun,
}

/// What of an invocation must outlive its client.
struct Owned {
    trace: String,
    invoked_arn: String,
    client_context: Option<String>,
    tail: bool,
}

impl Owned {
    fn meta(&self) -> InvokeMeta<'_> {
        InvokeMeta {
            trace_id: &self.trace,
            invoked_arn: &self.invoked_arn,
            client_context: self.client_context.as_deref(),
            cognito_identity: None,
            tail: self.tail,
        }
    }
}

impl Lambda {
    pub async fn invoke(self: &Arc<Self>, caller: &Caller<'_>, call: Call<'_>) -> Result<Invoked, LambdaError> {
        let reference = FunctionReference::parse(call.name, call.qualifier, caller)?;
        let limit = if call.kind == InvocationType::Event { MAX_ASYNCHRONOUS } else { MAX_SYNCHRONOUS };
        if call.payload.len() > limit {
            return Err(too_large(call.kind, call.payload.len()));
        }
        // A caller who sends nothing sends an empty event: the runtimes' clients cannot read nothing.
        let payload = if call.payload.is_empty() { Bytes::from_static(b"{}") } else { call.payload };
        check_json(&payload)?;
        let group = self.target(&reference)?;
        let trace = Trace::of(call.trace);
        match call.kind {
            InvocationType::DryRun => Ok(Invoked::DryRun),
            InvocationType::Event => {
                self.queue.accept(&reference, call.request, trace.full(), payload).await?;
                Ok(Invoked::Accepted { trace })
            }
            InvocationType::RequestResponse => {
                let owned = Owned {
                    trace: trace.full(),
                    invoked_arn: match reference.qualifier {
                        Some(_) => reference.named_arn(),
                        None => String::new(),
                    },
                    client_context: call.client_context.map(client_context).transpose()?,
                    tail: call.tail,
                };
                let answer = self.run(&group, call.request, owned, payload).await?;
                Ok(Invoked::Answered { answer, group, trace })
            }
        }
    }

    /// One attempt of an asynchronous invocation.
    pub async fn attempt(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        name: &str,
        qualifier: Option<&str>,
        request: Uuid,
        trace: String,
        payload: Bytes,
    ) -> Result<Answer, LambdaError> {
        let reference = FunctionReference::parse(name, qualifier, caller)?;
        let group = self.target(&reference)?;
        let invoked_arn = reference.named_arn();
        self.run(&group, request, Owned { trace, invoked_arn, client_context: None, tail: false }, payload).await
    }

    /// The group that a name means now.
    fn target(&self, reference: &FunctionReference<'_>) -> Result<Arc<Group>, LambdaError> {
        let arn = reference.arn();
        let qualifier = reference.qualifier.unwrap_or(LATEST);
        let not_found = || LambdaError::FunctionNotFound(format!("{arn}:{qualifier}"));
        let function = self.catalog.get(&arn).ok_or_else(not_found)?;
        if let Some(group) = function.groups.get(qualifier) {
            return Ok(group.clone());
        }
        if qualifier == LATEST {
            return Err(LambdaError::NotActive(function.record.latest.state().to_owned()));
        }
        let alias = function.record.aliases.get(qualifier).ok_or_else(not_found)?;
        let draw = (Uuid::new_v4().as_u128() >> 75) as f64 / (1_u64 << 53) as f64;
        function.groups.get(draw_version(alias, draw)).cloned().ok_or_else(not_found)
    }

    async fn run(
        self: &Arc<Self>,
        group: &Arc<Group>,
        request: Uuid,
        owned: Owned,
        payload: Bytes,
    ) -> Result<Answer, LambdaError> {
        let explain = |error: Failed| error.explain(request, group);
        match group.try_lease().map_err(Failed::Lease).map_err(explain)? {
            Ok(lease) => {
                lease.invoke(request, &owned.meta(), payload).await.map_err(Failed::Invocation).map_err(explain)
            }
            Err(pending) => {
                let running = self.tasks.spawn(run_cold(pending, request, owned, payload));
                running.await.map_err(|error| LambdaError::Internal(error.into()))?.map_err(explain)
            }
        }
    }
}

async fn run_cold(pending: Pending, request: Uuid, owned: Owned, payload: Bytes) -> Result<Answer, Failed> {
    let lease: Lease = pending.wait().await.map_err(Failed::Lease)?;
    lease.invoke(request, &owned.meta(), payload).await.map_err(Failed::Invocation)
}

enum Failed {
    Lease(LeaseError),
    Invocation(InvocationError),
}

impl Failed {
    fn explain(self, request: Uuid, group: &Group) -> LambdaError {
        let environment = &group.spec.environment;
        let name = environment.function_arn.rsplit(':').next().unwrap_or_default();
        let function = format!("{name}:{}", environment.version);
        match self {
            Self::Lease(LeaseError::Throttled(throttle)) => LambdaError::Throttled(throttle),
            Self::Lease(LeaseError::TimedOut(after)) => LambdaError::StartTimeout { request, function, after },
            Self::Lease(error) => LambdaError::Environment { request, function, reason: error.to_string() },
            Self::Invocation(error) => {
                tracing::warn!(%request, %function, %error, "an invocation was lost");
                LambdaError::Environment { request, function, reason: error.to_string() }
            }
        }
    }
}

pub fn too_large(kind: InvocationType, length: usize) -> LambdaError {
    LambdaError::TooLarge(match kind {
        InvocationType::Event => {
            format!("{length} byte payload is too large for the Event invocation type (limit {MAX_ASYNCHRONOUS} bytes)")
        }
        _ => format!("Request must be smaller than {MAX_SYNCHRONOUS} bytes for the InvokeFunction operation"),
    })
}

fn client_context(header: &str) -> Result<String, LambdaError> {
    let invalid = |text: &str| LambdaError::InvalidRequestContent(text.to_owned());
    if header.len() > MAX_CLIENT_CONTEXT {
        return Err(invalid("Client context must be no more than 3583 bytes."));
    }
    let bytes =
        STANDARD.decode(header).map_err(|_| invalid("Client context must be a valid Base64-encoded JSON object."))?;
    String::from_utf8(bytes).map_err(|_| invalid("Client context must be a valid Base64-encoded JSON object."))
}

/// An event is JSON in UTF-8.
fn check_json(payload: &[u8]) -> Result<(), LambdaError> {
    let (line_number, column) = match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
        Err(error) => (error.line(), error.column().saturating_sub(1)),
        // The parser does not look into strings that nobody wants.
        Ok(_) => match std::str::from_utf8(payload) {
            Ok(_) => return Ok(()),
            Err(error) => {
                let before = &payload[..error.valid_up_to()];
                let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
                (before.iter().filter(|byte| **byte == b'\n').count() + 1, column)
            }
        },
    };
    let line = payload.split(|byte| *byte == b'\n').nth(line_number.saturating_sub(1)).unwrap_or_default();
    let at = column.min(line.len());
    let rest = &line[at..];
    const VALUE: &str = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'";
    // The parser stops inside a word; what is wrong is the whole of it.
    let word_start = line[..at].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |before| before + 1);
    let word: String = String::from_utf8_lossy(&line[word_start..])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    let text = match rest.first() {
        None => "Unexpected end-of-input".to_owned(),
        Some(_) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            format!("Unrecognized token '{word}': was expecting ({VALUE})")
        }
        Some(byte @ 0x80..=0xbf) | Some(byte @ 0xf8..) => format!("Invalid UTF-8 start byte 0x{byte:02x}"),
        Some(0xc0..) if std::str::from_utf8(rest).is_err_and(|error| error.valid_up_to() == 0) => {
            format!("Invalid UTF-8 middle byte 0x{:02x}", rest.get(1).unwrap_or(&b'"'))
        }
        Some(byte) if byte.is_ascii_control() => {
            format!("Unexpected character ((CTRL-CHAR, code {byte})): expected a valid value ({VALUE})")
        }
        Some(_) => {
            let character = String::from_utf8_lossy(rest).chars().next().unwrap_or_default();
            format!(
                "Unexpected character ('{character}' (code {})): expected a valid value ({VALUE})",
                character as u32
            )
        }
    };
    Err(LambdaError::InvalidRequestContent(format!(
        "Could not parse request body into json: Could not parse payload into json: {text}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {}, column: {}]",
        line_number,
        at + 1
    )))
}

/// An invocation's trace header: the caller's root and decision, or new ones.
/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    root: String,
    parent: Option<String>,
    sampled: String,
    lineage: Option<String>,
}

impl Trace {
    pub fn of(header: Option<&str>) -> Self {
        let part = |name: &str| {
            let parts = header.unwrap_or_default().split(';');
            let mut values = parts.filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            values.next().filter(|value| !value.is_empty()).map(str::to_owned)
        };
        Self {
            root: part("Root").unwrap_or_else(new_root),
            parent: part("Parent"),
            sampled: part("Sampled").filter(|sampled| sampled == "0" || sampled == "1").unwrap_or_else(|| "0".into()),
            lineage: part("Lineage"),
        }
    }

    /// For the runtime.
    pub fn full(&self) -> String {
        let mut text = String::with_capacity(100);
        let _ = write!(text, "Root={};Parent=", self.root);
        match &self.parent {
            Some(parent) => text.push_str(parent),
            None => drop(write!(text, "{:016x}", Uuid::new_v4().as_u128() as u64)),
        }
        let _ = write!(text, ";Sampled={}", self.sampled);
        if let Some(lineage) = &self.lineage {
            let _ = write!(text, ";Lineage={lineage}");
        }
        text
    }

    /// For the caller.
    pub fn short(&self) -> String {
        format!("Root={};Sampled={}", self.root, self.sampled)
    }
}

fn new_root() -> String {
    let seconds = crate::clock::wall().millis / 1000;
    let random = Uuid::new_v4().as_u128() & ((1 << 96) - 1);
    format!("1-{seconds:08x}-{random:024x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(payload: &[u8]) -> String {
        check_json(payload).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_json_is_refused_in_awss_words() {
        assert_eq!(
            refusal(b"\x87"),
            "Could not parse request body into json: Could not parse payload into json: Invalid UTF-8 start byte 0x87\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 1]"
        );
        assert!(refusal(b"hello").contains("Unrecognized token 'hello': was expecting (JSON String"));
        assert!(refusal(b"<a>").contains("Unexpected character ('<' (code 60)): expected a valid value"));
        assert!(refusal(b"{\"a\":\n\"\xff\"}").contains("Invalid UTF-8 start byte 0xff"));
        assert!(refusal(b"\"\xc3(\"").contains("Invalid UTF-8 middle byte 0x28"));
        assert!(check_json(b" {\"a\": [1, null]}\n").is_ok());
    }

    #[test]
    fn deep_json_is_still_json() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(check_json(&deep).is_ok());
    }

    #[test]
    fn a_callers_root_comes_out_unchanged() {
        let trace =
            Trace::of(Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1"));
        assert_eq!(
            trace.full(),
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1"
        );
        assert_eq!(trace.short(), "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1");
    }

    #[test]
    fn a_new_trace_has_awss_form() {
        let trace = Trace::of(None).full();
        let parts: Vec<_> = trace.split(';').collect();
        assert_eq!((parts[0].len(), parts[1].len(), parts[2]), (5 + 35, 7 + 16, "Sampled=0"), "{trace}");
    }
}
