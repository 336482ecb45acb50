//! A request's head: which operation of the Runtime API it names, the headers that count, and how its body is framed.
//!
//! Strict where laxness would let two readers see two requests (both lengths, unknown codings); everything else follows
//! what AWS's own endpoint, a Go server, lets through.

use std::mem::MaybeUninit;
use uuid::Uuid;

/// The longest head in bytes. Runtime clients send error causes of up to 1 MiB in a header.
pub const MAX_HEAD: usize = 1024 * 1024 + 64 * 1024;
const MAX_HEADERS: usize = 128;

/// Body type of an error document that carries a cause for X-Ray, which the caller does not get.
const ERROR_WITH_CAUSE: &[u8] = b"application/vnd.aws.lambda.error.cause+json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Ping,
    Next,
    /// `None`: not a request id at all.
    Response(Option<Uuid>),
    Error(Option<Uuid>),
    InitError,
    Unknown,
    WrongMethod,
}

/// `Lambda-Runtime-Invocation-Id`, which newer clients send back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Absent,
    Attempt(Uuid),
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub route: Route,
    pub echo: Echo,
    /// `Lambda-Runtime-Function-Response-Mode` is there and is none that AWS knows.
    pub unknown_response_mode: bool,
    /// `Lambda-Runtime-Function-Error-Type`, if it is one that AWS keeps.
    pub error_type: Option<String>,
    pub carries_cause: bool,
    pub expects_continue: bool,
    pub keep_alive: bool,
    pub framing: Framing,
}

/// Why a head cannot be used. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    Malformed,
    TooLarge,
    UnknownCoding,
}

/// The request at the start of `bytes` and the length of its head; `None` while bytes are missing.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, BadHead> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut []);
    let length = match head.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
        Err(_) => return Err(BadHead::Malformed),
    };
    let mut request = Request {
        route: route(head.method.unwrap_or_default(), head.path.unwrap_or_default()),
        echo: Echo::Absent,
        unknown_response_mode: false,
        error_type: None,
        carries_cause: false,
        expects_continue: false,
        keep_alive: head.version == Some(1),
        framing: Framing::Length(0),
    };
    let mut content_length = None;
    for header in head.headers.iter() {
        let (name, value) = (header.name, header.value);
        if name.eq_ignore_ascii_case("Content-Length") {
            let value = decimal(value).ok_or(BadHead::Malformed)?;
            if content_length.replace(value).is_some_and(|before| before != value) {
                return Err(BadHead::Malformed);
            }
        } else if name.eq_ignore_ascii_case("Transfer-Encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(BadHead::UnknownCoding);
            }
            request.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("Lambda-Runtime-Invocation-Id") {
            request.echo = Uuid::try_parse_ascii(value).map_or(Echo::Unreadable, Echo::Attempt);
        } else if name.eq_ignore_ascii_case("Lambda-Runtime-Function-Response-Mode") {
            request.unknown_response_mode = !value.is_empty() && !value.eq_ignore_ascii_case(b"streaming");
        } else if name.eq_ignore_ascii_case("Lambda-Runtime-Function-Error-Type") {
            request.error_type = kept_error_type(value);
        } else if name.eq_ignore_ascii_case("Content-Type") {
            request.carries_cause = value.eq_ignore_ascii_case(ERROR_WITH_CAUSE);
        } else if name.eq_ignore_ascii_case("Expect") {
            request.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        } else if name.eq_ignore_ascii_case("Connection") {
            if value.eq_ignore_ascii_case(b"close") {
                request.keep_alive = false;
            } else if value.eq_ignore_ascii_case(b"keep-alive") {
                request.keep_alive = true;
            }
        }
    }
    match (request.framing, content_length) {
        (Framing::Chunked, Some(_)) => return Err(BadHead::Malformed),
        (Framing::Length(_), Some(length)) => request.framing = Framing::Length(length),
        (_, None) => {}
    }
    Ok(Some((request, length)))
}

fn route(method: &str, target: &str) -> Route {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let Some(path) = path.strip_prefix("/2018-06-01/") else { return Route::Unknown };
    let (route, expected) = match path {
        "ping" => (Route::Ping, "GET"),
        "runtime/invocation/next" => (Route::Next, "GET"),
        "runtime/init/error" => (Route::InitError, "POST"),
        _ => match path.strip_prefix("runtime/invocation/").and_then(|rest| rest.split_once('/')) {
            Some((id, "response")) => (Route::Response(request_id(id)), "POST"),
            Some((id, "error")) => (Route::Error(request_id(id)), "POST"),
            _ => return Route::Unknown,
        },
    };
    if method == expected { route } else { Route::WrongMethod }
}

fn request_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH)
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// AWS keeps what matches `(Runtime|Function)\.[A-Z][a-zA-Z]+`.
fn kept_error_type(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let name = text.strip_prefix("Runtime.").or_else(|| text.strip_prefix("Function."))?;
    let kept = name.len() >= 2
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|letter| letter.is_ascii_alphabetic());
    kept.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a1b2c3d-0000-4000-8000-000000000001";

    fn parsed(text: &str) -> Result<Option<(Request, usize)>, BadHead> {
        parse(text.as_bytes())
    }

    fn request(text: &str) -> Request {
        parsed(text).unwrap().unwrap().0
    }

    #[test]
    fn every_operation_has_its_path_and_method() {
        let id = Uuid::try_parse(ID).unwrap();
        let route = |line: &str| request(&format!("{line} HTTP/1.1\r\n\r\n")).route;
        assert_eq!(route("GET /2018-06-01/ping"), Route::Ping);
        assert_eq!(route("GET /2018-06-01/runtime/invocation/next"), Route::Next);
        assert_eq!(route("GET /2018-06-01/runtime/invocation/next?x=1"), Route::Next);
        assert_eq!(route(&format!("POST /2018-06-01/runtime/invocation/{ID}/response")), Route::Response(Some(id)));
        assert_eq!(route(&format!("POST /2018-06-01/runtime/invocation/{ID}/error")), Route::Error(Some(id)));
        assert_eq!(route("POST /2018-06-01/runtime/invocation/12/error"), Route::Error(None));
        assert_eq!(route("POST /2018-06-01/runtime/init/error"), Route::InitError);
        assert_eq!(route("GET /2018-06-01/runtime/init/error"), Route::WrongMethod);
        assert_eq!(route("POST /2018-06-01/runtime/invocation/next"), Route::WrongMethod);
        assert_eq!(route("GET /2018-06-01/runtime/restore/next"), Route::Unknown);
        assert_eq!(route("GET /2018-06-01/runtime/invocation//x/response"), Route::Unknown);
        assert_eq!(route("GET /"), Route::Unknown);
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let head = request(&format!(
            "POST /2018-06-01/runtime/invocation/{ID}/error HTTP/1.1\r\ncontent-LENGTH: 12\r\nEXPECT: 100-Continue\r\n\
             lambda-runtime-function-error-type: Runtime.Odd\r\nlambda-runtime-invocation-id: {ID}\r\n\
             content-type: application/vnd.aws.lambda.error.cause+json\r\nconnection: close\r\n\r\n"
        ));
        assert_eq!(head.framing, Framing::Length(12));
        assert!(head.expects_continue && head.carries_cause && !head.keep_alive);
        assert_eq!(head.error_type.as_deref(), Some("Runtime.Odd"));
        assert_eq!(head.echo, Echo::Attempt(Uuid::try_parse(ID).unwrap()));
    }

    #[test]
    fn a_head_that_two_readers_could_read_differently_is_refused() {
        let refused = |headers: &str| parsed(&format!("POST /x HTTP/1.1\r\n{headers}\r\n\r\n")).unwrap_err();
        assert_eq!(refused("Content-Length: 3\r\nContent-Length: 4"), BadHead::Malformed);
        assert_eq!(refused("Content-Length: 3\r\nTransfer-Encoding: chunked"), BadHead::Malformed);
        assert_eq!(refused("Content-Length: +3"), BadHead::Malformed);
        assert_eq!(refused("Content-Length: 99999999999999999999"), BadHead::Malformed);
        assert_eq!(refused("Content-Length: "), BadHead::Malformed);
        assert_eq!(refused("Transfer-Encoding: gzip, chunked"), BadHead::UnknownCoding);
        assert_eq!(refused(&vec!["A: b"; MAX_HEADERS + 1].join("\r\n")), BadHead::TooLarge);
        assert_eq!(refused("no colon"), BadHead::Malformed);
    }

    #[test]
    fn only_awss_error_types_are_kept() {
        for kept in ["Runtime.ImportModuleError", "Function.Ab"] {
            assert_eq!(kept_error_type(kept.as_bytes()).as_deref(), Some(kept));
        }
        for other in ["Exception", "Runtime.x", "Runtime.A", "Runtime.A1", "Runtime.", "xRuntime.Abc", "Function.Ab c"]
        {
            assert_eq!(kept_error_type(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_head_is_waited_for_until_its_empty_line() {
        let whole = "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(parsed(&whole[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(parsed(whole).unwrap().unwrap().1, whole.len());
    }
}
