//! Why an environment failed, in AWS's words: error types, messages, and the document that the caller reads.
//!
//! The texts are Go's, since AWS's own agent is a Go program and prints what its standard library says.

use crate::sandbox::{Ended, SpawnError};
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// AWS's error type.
    pub kind: &'static str,
    pub message: String,
}

impl Failure {
    pub fn exited(ended: Ended) -> Failure {
        Failure { kind: "Runtime.ExitError", message: exit_text(ended) }
    }

    pub fn out_of_memory() -> Failure {
        Failure { kind: "Runtime.OutOfMemory", message: exit_text(Ended::Signaled(libc::SIGKILL)) }
    }

    pub fn timed_out(timeout: Duration) -> Failure {
        Failure { kind: "Sandbox.Timedout", message: timeout_text(timeout) }
    }

    pub fn no_bootstrap() -> Failure {
        let message = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]".to_owned();
        Failure { kind: "Runtime.InvalidEntrypoint", message }
    }

    pub fn invalid_response_mode() -> Failure {
        Failure { kind: "Runtime.InvalidResponseModeHeader", message: "Invalid function response mode".to_owned() }
    }

    pub fn truncated_response() -> Failure {
        Failure { kind: "Runtime.TruncatedResponse", message: "HTTP request detected as truncated".to_owned() }
    }

    /// A process could not be started.
    pub fn not_started(error: &SpawnError) -> Failure {
        let reason = error.errno().map_or_else(|| "invalid argument".to_owned(), errno_text);
        let (kind, message) = match error {
            SpawnError::Exec { program, .. } => {
                ("Runtime.InvalidEntrypoint", format!("fork/exec {}: {reason}", program.display()))
            }
            SpawnError::Directory { directory, .. } => {
                ("Runtime.InvalidWorkingDir", format!("chdir {}: {reason}", directory.display()))
            }
            SpawnError::Nul(_) => ("Runtime.InvalidTaskConfig", reason),
            SpawnError::Fork(_) | SpawnError::Confine { .. } => ("Sandbox.Failure", format!("fork/exec: {reason}")),
        };
        Failure { kind, message }
    }

    /// The wrapper script of a managed runtime could not be run: there, a shell says so.
    pub fn wrapper_not_started(wrapper: &Path, error: &SpawnError) -> Failure {
        match error {
            SpawnError::Exec { program, source } if program == wrapper => {
                let missing = source.kind() == std::io::ErrorKind::NotFound;
                Failure::exited(Ended::Exited(if missing { 127 } else { 126 }))
            }
            other => Failure::not_started(other),
        }
    }

    pub fn is_timeout(&self) -> bool {
        self.kind == "Sandbox.Timedout"
    }

    /// The error document, in AWS's key order.
    pub fn document(&self, request: &Uuid) -> Vec<u8> {
        let message = serde_json::Value::String(format!("RequestId: {request} Error: {}", self.message));
        format!("{{\"errorType\":\"{}\",\"errorMessage\":{message}}}", self.kind).into_bytes()
    }
}

/// The document for an answer over the limit. It has no request id, and another key order.
pub fn response_too_large(limit: u32) -> Vec<u8> {
    format!(
        "{{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size ({limit} bytes).\",\
         \"errorType\":\"Function.ResponseSizeTooLarge\"}}"
    )
    .into_bytes()
}

pub fn timeout_text(timeout: Duration) -> String {
    format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
}

fn exit_text(ended: Ended) -> String {
    match ended {
        Ended::Exited(0) => "Runtime exited without providing a reason".to_owned(),
        Ended::Exited(code) => format!("Runtime exited with error: exit status {code}"),
        Ended::Signaled(signal) => format!("Runtime exited with error: signal: {}", signal_name(signal)),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGUSR1 => "user defined signal 1",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGUSR2 => "user defined signal 2",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGSTKFLT => "stack fault",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "file size limit exceeded",
        libc::SIGVTALRM => "virtual timer expired",
        libc::SIGPROF => "profiling timer expired",
        libc::SIGIO => "I/O possible",
        libc::SIGPWR => "power failure",
        libc::SIGSYS => "bad system call",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn errno_text(errno: i32) -> String {
    let text = match errno {
        libc::EPERM => "operation not permitted",
        libc::ENOENT => "no such file or directory",
        libc::EIO => "input/output error",
        libc::E2BIG => "argument list too long",
        libc::ENOEXEC => "exec format error",
        libc::EAGAIN => "resource temporarily unavailable",
        libc::ENOMEM => "cannot allocate memory",
        libc::EACCES => "permission denied",
        libc::ENOTDIR => "not a directory",
        libc::EISDIR => "is a directory",
        libc::EINVAL => "invalid argument",
        libc::ETXTBSY => "text file busy",
        libc::ENAMETOOLONG => "file name too long",
        libc::ELOOP => "too many levels of symbolic links",
        other => return format!("errno {other}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    const REQUEST: Uuid = Uuid::nil();

    fn document(failure: &Failure) -> String {
        String::from_utf8(failure.document(&REQUEST)).unwrap()
    }

    #[test]
    fn documents_are_awss_byte_for_byte() {
        let expected = |kind: &str, message: &str| {
            format!("{{\"errorType\":\"{kind}\",\"errorMessage\":\"RequestId: {REQUEST} Error: {message}\"}}")
        };
        let exit = |ended| document(&Failure::exited(ended));
        assert_eq!(exit(Ended::Exited(0)), expected("Runtime.ExitError", "Runtime exited without providing a reason"));
        assert_eq!(exit(Ended::Exited(7)), expected("Runtime.ExitError", "Runtime exited with error: exit status 7"));
        assert_eq!(
            exit(Ended::Signaled(11)),
            expected("Runtime.ExitError", "Runtime exited with error: signal: segmentation fault")
        );
        assert_eq!(
            document(&Failure::out_of_memory()),
            expected("Runtime.OutOfMemory", "Runtime exited with error: signal: killed")
        );
        assert_eq!(
            document(&Failure::timed_out(Duration::from_secs(1))),
            expected("Sandbox.Timedout", "Task timed out after 1.00 seconds")
        );
        assert_eq!(
            document(&Failure::no_bootstrap()),
            expected(
                "Runtime.InvalidEntrypoint",
                "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
            )
        );
        assert_eq!(
            response_too_large(6_291_556),
            b"{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size (6291556 bytes).\",\
              \"errorType\":\"Function.ResponseSizeTooLarge\"}"
        );
    }

    #[test]
    fn a_process_that_cannot_be_started_is_told_as_go_tells_it() {
        let exec =
            |errno| SpawnError::Exec { program: "/var/task/bootstrap".into(), source: Error::from_raw_os_error(errno) };
        let message = |error: &SpawnError| Failure::not_started(error).message;
        assert_eq!(message(&exec(libc::EACCES)), "fork/exec /var/task/bootstrap: permission denied");
        assert_eq!(message(&exec(libc::ENOEXEC)), "fork/exec /var/task/bootstrap: exec format error");
        assert_eq!(message(&exec(libc::ENOENT)), "fork/exec /var/task/bootstrap: no such file or directory");
        let directory =
            SpawnError::Directory { directory: "/x".into(), source: Error::from_raw_os_error(libc::ENOENT) };
        assert_eq!(message(&directory), "chdir /x: no such file or directory");
        assert_eq!(Failure::not_started(&directory).kind, "Runtime.InvalidWorkingDir");
        let wrapper = Path::new("/var/task/bootstrap");
        assert_eq!(
            Failure::wrapper_not_started(wrapper, &exec(libc::ENOENT)).message,
            "Runtime exited with error: exit status 127"
        );
    }

    #[test]
    fn a_hostile_path_cannot_break_the_document() {
        let failure = Failure { kind: "Runtime.InvalidEntrypoint", message: "fork/exec /a\"b\n".to_owned() };
        let parsed: serde_json::Value = serde_json::from_slice(&failure.document(&REQUEST)).unwrap();
        assert!(parsed["errorMessage"].as_str().unwrap().ends_with("/a\"b\n"));
    }
}
