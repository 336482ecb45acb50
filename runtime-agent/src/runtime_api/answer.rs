//! The Runtime API's answers, byte for byte. Header names are written as AWS's pages show them, since some hand-written
//! runtimes compare them exactly.

use super::state::NotAllowed;
use std::io::Write;

pub const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
pub const PONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\npong";
pub const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 19\r\n\r\n404 page not found\n";
pub const METHOD_NOT_ALLOWED: &[u8] = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n";

/// A request that cannot be understood; its connection is closed, since nobody knows where the next one begins.
pub const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 15\r\n\r\n400 Bad Request";
pub const HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 35\r\n\r\n\
    431 Request Header Fields Too Large";
pub const NOT_IMPLEMENTED: &[u8] = b"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 29\r\n\r\nUnsupported transfer encoding";

/// A call that was understood and refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request id is not the current one.
    InvalidRequestId,
    /// The answer is that of an earlier attempt.
    InvokeTimeout,
    StateTransition(NotAllowed),
    InvalidResponseMode,
    TooLarge {
        limit: u32,
    },
    Truncated,
}

impl Refusal {
    pub fn to_bytes(&self) -> Vec<u8> {
        let (status, kind, message) = match self {
            Refusal::InvalidRequestId => ("400 Bad Request", "InvalidRequestID", "Invalid request ID".to_owned()),
            Refusal::InvokeTimeout => ("410 Gone", "InvokeTimeout", "Invoke timeout".to_owned()),
            Refusal::StateTransition(what) => ("403 Forbidden", "InvalidStateTransition", what.to_string()),
            Refusal::InvalidResponseMode => {
                ("400 Bad Request", "InvalidFunctionResponseMode", "Invalid function response mode".to_owned())
            }
            Refusal::TooLarge { limit } => (
                "413 Request Entity Too Large",
                "RequestEntityTooLarge",
                format!("Exceeded maximum allowed payload size ({limit} bytes)."),
            ),
            Refusal::Truncated => {
                ("400 Bad Request", "TruncatedHTTPRequest", "HTTP request detected as truncated".to_owned())
            }
        };
        let body = format!("{{\"errorMessage\":\"{message}\",\"errorType\":\"{kind}\"}}\n");
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    }
}

/// What the answer to `next` says besides the event.
pub struct EventHead<'a> {
    pub request_id: &'a str,
    pub invocation_id: &'a str,
    pub deadline_ms: u64,
    pub invoked_arn: &'a str,
    pub trace_id: &'a str,
    pub client_context: Option<&'a str>,
    pub cognito_identity: Option<&'a str>,
    pub length: usize,
}

impl EventHead<'_> {
    /// Writes the head of the answer to `next`. Only headers that have a value are written.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
        header(out, "Lambda-Runtime-Aws-Request-Id", self.request_id);
        header(out, "Lambda-Runtime-Invocation-Id", self.invocation_id);
        header(out, "Lambda-Runtime-Invoked-Function-Arn", self.invoked_arn);
        header(out, "Lambda-Runtime-Trace-Id", self.trace_id);
        header(out, "Lambda-Runtime-Client-Context", self.client_context.unwrap_or_default());
        header(out, "Lambda-Runtime-Cognito-Identity", self.cognito_identity.unwrap_or_default());
        write!(out, "Lambda-Runtime-Deadline-Ms: {}\r\nContent-Length: {}\r\n\r\n", self.deadline_ms, self.length)
            .expect("writing to memory does not fail");
    }
}

/// A caller's JSON may hold line breaks between its tokens; in a header they would begin another one.
fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let start = out.len();
    out.extend_from_slice(value.as_bytes());
    for byte in &mut out[start..] {
        if matches!(*byte, b'\r' | b'\n' | 0) {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}
