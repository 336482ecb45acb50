//! `warmpod-agent try`: makes a sandbox, runs one program in it, and ends as that ended. How the gateway finds out what a
//! machine can do, and how the tests find out what a sandbox keeps in.

use super::{Attachment, Command, Ended, ProcessId, Sandbox};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use warmpod_link::Trial;
use warmpod_link::trial::NO_SANDBOX;

pub(crate) fn run() -> ExitCode {
    match try_out() {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::from(NO_SANDBOX)
        }
    }
}

fn try_out() -> Result<u8, String> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).map_err(|error| told(&error))?;
    let trial: Trial = postcard::from_bytes(&bytes).map_err(|error| told(&error))?;
    let mut sandbox = Sandbox::enter(trial.sandbox.as_ref()).map_err(|error| told(&error))?;
    // Whoever tries this is gone: so is the trial. After the change of ids, which clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|errno| told(&errno))?;
    if let Some(shown) = &trial.attach {
        let what = Attachment { code: &shown.code, layers: &shown.layers, ephemeral_mib: shown.ephemeral_mib };
        sandbox.attach(&what).map_err(|error| told(&error))?;
    }
    let Some((program, arguments)) = trial.command.split_first() else {
        let layers = sandbox.layers().iter().map(|layer| format!("{layer}\n")).collect::<String>();
        io::stdout().write_all(layers.as_bytes()).map_err(|error| told(&error))?;
        return Ok(0);
    };
    let output = io::stdout().as_fd().try_clone_to_owned().map_err(|error| told(&error))?;
    let process = sandbox
        .spawn(Command {
            program: Path::new(program),
            arguments,
            environment: &trial.environment,
            directory: Path::new("/"),
            output,
            descriptors: Vec::new(),
        })
        .map_err(|error| told(&error))?;
    wait_for(&mut sandbox, process).map_err(|error| told(&error))
}

/// The program's exit code, as a shell would give it.
fn wait_for(sandbox: &mut Sandbox, process: ProcessId) -> io::Result<u8> {
    loop {
        poll(&mut [PollFd::from_borrowed_fd(sandbox.events(), PollFlags::IN)], None)?;
        for (ended, how) in sandbox.take_exits() {
            if ended == process {
                return Ok(match how {
                    Ended::Exited(code) => u8::try_from(code).unwrap_or(u8::MAX),
                    Ended::Signaled(signal) => 128 + u8::try_from(signal).unwrap_or(0),
                });
            }
        }
    }
}

/// An error and what it comes from, on one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
