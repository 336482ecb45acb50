//! How a worker's runtime is started: what is executed, with which environment and descriptors, for each kind.
//!
//! Knows the runtimes; how a process is made is the sandbox's, and what it means when it ends the environment's.
//!
//! ```text
//!  prepare (before the claim) ──> warm interpreter, if the kind has one
//!  start   (at the claim, and again after a failure) ──> the warm interpreter takes the claim, or a fresh process
//! ```

mod provided;
mod python;

use crate::clock::Now;
use crate::environment::failure::Failure;
use crate::journal;
use crate::log::Log;
use crate::sandbox::{Command, ProcessId, Sandbox, SpawnError};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use warmpod_link::control::Claim;
use warmpod_link::worker::RuntimeSpec;

/// The number that AWS's own environments use, too.
const TELEMETRY_FD: i32 = 62;

/// A runtime's process to start.
struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    /// The function's own script, which runs the program that a runtime would be.
    is_wrapper: bool,
    /// The runtime knows the frames of `_LAMBDA_TELEMETRY_LOG_FD`.
    writes_frames: bool,
}

pub struct Runtime {
    spec: RuntimeSpec,
    api: String,
    warm: Option<python::Warm>,
}

impl Runtime {
    /// Starts what can be started before it is known which function will run.
    pub fn prepare(spec: RuntimeSpec, api: &str, sandbox: &mut Sandbox, log: &Log) -> Runtime {
        let mut runtime = Runtime { spec, api: api.to_owned(), warm: None };
        if let RuntimeSpec::Python { interpreter, library, warm: true } = &runtime.spec {
            match python::Warm::start(interpreter, library, api, sandbox, log) {
                Ok(warm) => runtime.warm = Some(warm),
                Err(reason) => journal::note(format_args!("no warm interpreter: {reason}")),
            }
        }
        runtime
    }

    /// Nothing is being prepared any more.
    pub fn is_prepared(&self) -> bool {
        self.warm.as_ref().is_none_or(python::Warm::is_ready)
    }

    /// Where a warm interpreter says that it is ready.
    pub fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.warm.as_ref().filter(|warm| !warm.is_ready()).map(python::Warm::channel)
    }

    pub fn read_channel(&mut self) {
        if let Some(warm) = &mut self.warm {
            warm.read();
        }
    }

    /// The warm interpreter is gone before any claim.
    pub fn lose_warm(&mut self, process: ProcessId) {
        if self.warm.take_if(|warm| warm.process() == process).is_some() {
            journal::note(format_args!("the warm interpreter ended; functions start a fresh one"));
        }
    }

    /// Starts the runtime of a claimed function.
    pub fn start(
        &mut self,
        claim: &Claim,
        sandbox: &mut Sandbox,
        log: &mut Log,
        now: Now,
    ) -> Result<ProcessId, Failure> {
        let mut environment = claim.variables.clone();
        environment.push(("AWS_LAMBDA_RUNTIME_API".to_owned(), self.api.clone()));
        if let Some(warm) = self.warm.take() {
            if python::fits_warm(&claim.variables)
                && let Some(process) = warm.claim(claim, &environment, TELEMETRY_FD, sandbox)
            {
                return Ok(process);
            }
            sandbox.kill_all();
            log.end_of_processes(now);
        }
        let program = match &self.spec {
            RuntimeSpec::Provided => provided::program(sandbox).ok_or_else(Failure::no_bootstrap)?,
            RuntimeSpec::Python { interpreter, library, .. } => python::program(interpreter, library, claim, sandbox),
        };
        if program.writes_frames {
            environment.push(("_LAMBDA_TELEMETRY_LOG_FD".to_owned(), TELEMETRY_FD.to_string()));
        }
        let frames = program.writes_frames.then_some(TELEMETRY_FD);
        let directory = sandbox.code().to_owned();
        spawn(&program.path, &program.arguments, &environment, &directory, frames, None, sandbox, log).map_err(
            |error| {
                if program.is_wrapper {
                    Failure::wrapper_not_started(&program.path, &error)
                } else {
                    Failure::not_started(&error)
                }
            },
        )
    }
}

/// `AWS_LAMBDA_EXEC_WRAPPER`, which only managed runtimes honour.
fn wrapper(claim: &Claim) -> Option<&str> {
    let value = claim.variables.iter().rev().find(|(name, _)| name == "AWS_LAMBDA_EXEC_WRAPPER");
    value.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

#[expect(clippy::too_many_arguments, reason = "a process is what it is given; each caller names them all")]
fn spawn(
    program: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    directory: &Path,
    frames: Option<i32>,
    channel: Option<(i32, OwnedFd)>,
    sandbox: &mut Sandbox,
    log: &Log,
) -> Result<ProcessId, SpawnError> {
    let pipe_error = |error: io::Error| SpawnError::Fork(error);
    let mut descriptors: Vec<(i32, OwnedFd)> = channel.into_iter().collect();
    if let Some(number) = frames {
        descriptors.push((number, log.frame_writer().map_err(pipe_error)?));
    }
    let output = log.output_writer().map_err(pipe_error)?;
    sandbox.spawn(Command { program, arguments, environment, directory, output, descriptors })
}
