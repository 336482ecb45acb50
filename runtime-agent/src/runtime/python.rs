//! Python: AWS's runtime interface client, in a fresh interpreter or in one that waited for the claim.
//!
//! ```text
//!  warm:   spawn ──> imports ──"warm"──> waits ──claim──> the client runs the handler
//!                                                             └ the claim does not fit ──> exec of a fresh interpreter
//!  fresh:  spawn of `python3 -c…`, or of the function's own wrapper with that as its arguments
//! ```
//!
//! A claim fits a warm interpreter when a fresh one would come to the same state: nothing that is read when an
//! interpreter or the dynamic linker starts is set otherwise, and no file of the function's has the name of a module
//! that is loaded. `start.py` is the way into the client for both; `warm.py` is what happens before the claim.

use super::{Program, wrapper};
use crate::log::Log;
use crate::sandbox::{ProcessId, Sandbox};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use serde_json::json;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use warmpod_link::control::Claim;

const START: &str = include_str!("start.py");
const WARM: &str = include_str!("warm.py");
/// Where the warm interpreter finds its end of the channel.
const CHANNEL_FD: i32 = 3;

/// What AWS sets for every function and an interpreter or its linker reads when it starts.
const AT_START: [(&str, &str); 5] = [
    ("LANG", "en_US.UTF-8"),
    ("LC_CTYPE", "C.UTF-8"),
    ("TZ", ":UTC"),
    ("PYTHONPATH", "/var/runtime"),
    (
        "LD_LIBRARY_PATH",
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    ),
];
/// Variables that count when a process starts, by how their names begin.
const BOUND_AT_START: [&str; 10] =
    ["PYTHON", "LD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "OPENSSL_", "LOCPATH", "GCONV_PATH", "BOTO"];
/// Others that count then.
const NEEDS_FRESH: [&str; 2] = ["AWS_LAMBDA_EXEC_WRAPPER", "HOME"];

/// Whether a warm interpreter can honour these variables.
pub(super) fn fits_warm(variables: &[(String, String)]) -> bool {
    variables.iter().all(|(name, value)| {
        let bound = BOUND_AT_START.iter().any(|prefix| name.starts_with(prefix));
        let as_started = AT_START.contains(&(name.as_str(), value.as_str()));
        as_started || !(bound || NEEDS_FRESH.contains(&name.as_str()))
    })
}

/// A fresh interpreter, or the function's wrapper around one.
pub(super) fn program(interpreter: &Path, library: &[PathBuf], claim: &Claim, sandbox: &Sandbox) -> Program {
    let script = format!("-c{}", fresh_script(library, sandbox.layer(), &claim.handler));
    match wrapper(claim) {
        Some(wrapper) => Program {
            path: PathBuf::from(wrapper),
            arguments: vec![interpreter.to_string_lossy().into_owned(), script],
            is_wrapper: true,
            writes_frames: true,
        },
        None => {
            Program { path: interpreter.to_owned(), arguments: vec![script], is_wrapper: false, writes_frames: true }
        }
    }
}

/// A JSON value of strings and lists is a Python one too.
fn fresh_script(library: &[PathBuf], layer: &Path, handler: &str) -> String {
    format!("{START}\n\nglobals().pop(\"start\")({}, {}, {})\n", json!(library), json!(layer), json!(handler))
}

pub(super) struct Warm {
    process: ProcessId,
    channel: OwnedFd,
    library: Vec<PathBuf>,
    ready: bool,
}

impl Warm {
    pub(super) fn start(
        interpreter: &Path,
        library: &[PathBuf],
        api: &str,
        sandbox: &mut Sandbox,
        log: &Log,
    ) -> Result<Warm, String> {
        // A message is a read: no lengths to agree on.
        let (channel, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| format!("no channel: {errno}"))?;
        let (library_list, interpreter_text) = (json!(library), json!(interpreter));
        let script = format!(
            "-c{START}\n\n{WARM}\n\nglobals().pop(\"start\")(*globals().pop(\"warm\")({library_list}, {interpreter_text}))\n"
        );
        let mut environment: Vec<(String, String)> =
            AT_START.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.push(("PATH".to_owned(), "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin".to_owned()));
        environment.push(("AWS_LAMBDA_RUNTIME_API".to_owned(), api.to_owned()));
        let arguments = [script];
        let process = super::spawn(
            interpreter,
            &arguments,
            &environment,
            Path::new("/"),
            Some(super::TELEMETRY_FD),
            Some((CHANNEL_FD, theirs)),
            sandbox,
            log,
        )
        .map_err(|error| error.to_string())?;
        Ok(Warm { process, channel, library: library.to_vec(), ready: false })
    }

    pub(super) fn process(&self) -> ProcessId {
        self.process
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    pub(super) fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Reads that the interpreter is ready. If it ended instead, its exit tells.
    pub(super) fn read(&mut self) {
        let mut message = [0; 16];
        let _ = rustix::net::recv(&self.channel, &mut message, RecvFlags::DONTWAIT);
        self.ready = true;
    }

    /// Gives the interpreter its function. `None`: it cannot take it.
    pub(super) fn claim(
        self,
        claim: &Claim,
        environment: &[(String, String)],
        telemetry: i32,
        sandbox: &Sandbox,
    ) -> Option<ProcessId> {
        let mut environment: serde_json::Map<String, serde_json::Value> =
            environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        environment.insert("_LAMBDA_TELEMETRY_LOG_FD".to_owned(), json!(telemetry.to_string()));
        let message = json!({
            "environment": environment,
            "directory": sandbox.code(),
            "layer": sandbox.layer(),
            "handler": claim.handler,
            "fresh": fresh_script(&self.library, sandbox.layer(), &claim.handler),
        });
        send(&self.channel, message.to_string().as_bytes()).ok()?;
        Some(self.process)
    }
}

fn send(channel: &OwnedFd, message: &[u8]) -> Result<(), String> {
    rustix::net::send(channel, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(|errno| format!("the channel to the interpreter is broken: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(variables: &[(&str, &str)]) -> bool {
        fits_warm(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn what_binds_when_a_process_starts_needs_a_fresh_one() {
        assert!(fits(&AT_START));
        assert!(fits(&[("A", "b"), ("TZ", "Europe/Paris"), ("AWS_REGION", "eu-west-1"), ("PATH", "/x")]));
        for (name, value) in [
            ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrapper"),
            ("PYTHONPATH", "/var/task/vendor"),
            ("PYTHONHASHSEED", "0"),
            ("LD_PRELOAD", "/opt/lib/x.so"),
            ("LD_LIBRARY_PATH", "/opt/lib"),
            ("LANG", "de_DE.ISO-8859-1"),
            ("LC_ALL", "C"),
            ("HOME", "/tmp"),
        ] {
            assert!(!fits(&[("A", "b"), (name, value)]), "{name}={value}");
        }
    }
}
