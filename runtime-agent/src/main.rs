//! `warmpod-agent`: one in each worker. Stands between a gateway and the processes of a Lambda function.
//!
//! ```text
//!  standard input ──WorkerSpec──> sandbox ──> runtime prepared ──> gateway dialled ──> worker's loop, until
//!                                                     told to leave, orphaned, or the claim fails
//! ```
//!
//! One thread, `poll(2)`, no async runtime: see `worker.rs` for the loop, `environment/` for what it decides.

#![allow(unreachable_pub, reason = "a program has no outside: pub says beyond the module, as in a library")]

mod bridge;
mod buffer;
mod clock;
mod environment;
mod gateway;
mod journal;
mod keep;
mod log;
mod memory;
mod netlink;
mod relay;
mod runtime;
mod runtime_api;
mod sandbox;
mod sys;
mod worker;

use std::io::{Read, Write};
use std::process::ExitCode;
use warmpod_link::WorkerSpec;

/// The longest specification of a worker, bytes.
const MAX_SPEC: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("cannot read the worker's specification from standard input: {0}")]
    Input(#[source] std::io::Error),
    #[error("standard input holds no worker's specification, which the gateway writes there ({0})")]
    Spec(#[source] postcard::Error),
    #[error("cannot {what}: {source}")]
    Step { what: &'static str, source: std::io::Error },
    #[error("{error}: {cause}")]
    Sandbox { error: sandbox::SandboxError, cause: String },
}

impl AgentError {
    fn step(what: &'static str) -> impl Fn(std::io::Error) -> AgentError {
        move |source| AgentError::Step { what, source }
    }
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--version") => {
            let _ = writeln!(std::io::stdout(), "warmpod-agent {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("bridge") => return bridge::run(),
        Some("keep") => return keep::run(),
        Some("try") => return sandbox::trial::run(),
        Some(other) => {
            journal::note(format_args!(
                "unknown argument {other:?}; a gateway starts me, with a worker's specification"
            ));
            return ExitCode::from(2);
        }
        None => {}
    }
    match read_spec().and_then(worker::Worker::start) {
        Ok(mut worker) => worker.run(),
        Err(error) => {
            journal::note(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

fn read_spec() -> Result<WorkerSpec, AgentError> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_SPEC).read_to_end(&mut bytes).map_err(AgentError::Input)?;
    postcard::from_bytes(&bytes).map_err(AgentError::Spec)
}
