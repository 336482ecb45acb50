//! Starting a process: a fork, the child's way to its exec, and the news of how that went.
//!
//! ```text
//!  agent ── fork ──> child ── signals, descriptors, directory ── exec
//!    └── reads a close-on-exec pipe: nothing = the exec worked, else the step and the errno
//! ```

use super::files::Files;
use super::{Command, ProcessId, SpawnError, Step, World};
use crate::sys::{self, Fork};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

impl Step {
    const ALL: [Step; 9] = [
        Step::Descriptors,
        Step::Directory,
        Step::Files,
        Step::Limits,
        Step::Ids,
        Step::Capabilities,
        Step::Landlock,
        Step::Seccomp,
        Step::Exec,
    ];

    fn name(self) -> &'static str {
        match self {
            Step::Descriptors => "descriptors",
            Step::Directory => "directory",
            Step::Files => "file system",
            Step::Limits => "limits",
            Step::Ids => "ids",
            Step::Capabilities => "capabilities",
            Step::Landlock => "Landlock",
            Step::Seccomp => "seccomp",
            Step::Exec => "exec",
        }
    }
}

/// Everything that the child needs, made before the fork.
struct Prepared {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
}

pub(super) fn spawn(command: Command<'_>, world: Option<&World>) -> Result<ProcessId, SpawnError> {
    let prepared = Prepared {
        program: c_string(command.program.as_os_str().as_bytes())?,
        arguments: std::iter::once(c_string(command.program.as_os_str().as_bytes()))
            .chain(command.arguments.iter().map(|argument| c_string(argument.as_bytes())))
            .collect::<Result<_, _>>()?,
        environment: command
            .environment
            .iter()
            .map(|(name, value)| c_string(format!("{name}={value}").as_bytes()))
            .collect::<Result<_, _>>()?,
        directory: c_string(command.directory.as_os_str().as_bytes())?,
    };
    if let Some(ids) = world.and_then(|world| world.confinement.ids) {
        // So that opening /dev/stdout works. Not where the pipe is none of ours.
        let _ = rustix::fs::fchown(&command.output, Some(Uid::from_raw(ids.user)), Some(Gid::from_raw(ids.group)));
    }
    let (news, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fork_error)?;
    let pid = match sys::fork().map_err(SpawnError::Fork)? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let mut report = report;
            let (step, errno) = become_program(&prepared, &command, world, &mut report);
            let mut bytes = [0; 5];
            bytes[0] = step as u8;
            bytes[1..].copy_from_slice(&errno.raw_os_error().unwrap_or(0).to_le_bytes());
            // Nobody reads: the agent is gone, and so are we.
            let _ = rustix::io::write(&report, &bytes);
            sys::exit_now(127);
        }
    };
    drop(report);
    let mut bytes = [0; 5];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&news, &mut bytes)).map_err(fork_error)?;
    if count == 0 {
        return Ok(ProcessId(pid.as_raw_nonzero().get().cast_unsigned()));
    }
    // It reported and exits; nobody else knows of it.
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    let [step, errno @ ..] = bytes;
    let source = io::Error::from_raw_os_error(i32::from_le_bytes(errno));
    Err(match Step::ALL.get(usize::from(step)) {
        Some(Step::Exec) => SpawnError::Exec { program: command.program.to_owned(), source },
        Some(Step::Directory) => SpawnError::Directory { directory: command.directory.to_owned(), source },
        Some(step) => SpawnError::Confine { step: step.name().to_owned(), source },
        None => SpawnError::Fork(source),
    })
}

/// The child's way. Returns only if it failed.
fn become_program(
    prepared: &Prepared,
    command: &Command<'_>,
    world: Option<&World>,
    report: &mut OwnedFd,
) -> (Step, io::Error) {
    sys::reset_signals();
    // Its own session, and so its own group, without a terminal.
    let _ = rustix::process::setsid();
    if let Err(error) = place_descriptors(command, report) {
        return (Step::Descriptors, error);
    }
    if let Some(Err(error)) = world.and_then(|world| world.files.as_ref()).map(Files::join) {
        return (Step::Files, error);
    }
    if let Err(errno) = rustix::process::chdir(&prepared.directory) {
        return (Step::Directory, errno.into());
    }
    if let Some(Err(failed)) = world.map(|world| world.confinement.apply()) {
        return failed;
    }
    (Step::Exec, sys::exec(&prepared.program, &prepared.arguments, &prepared.environment))
}

/// Standard input, output and error and the command's own; all others end with the exec.
fn place_descriptors(command: &Command<'_>, report: &mut OwnedFd) -> io::Result<()> {
    // First out of the way of all numbers that are given away.
    let highest = command.descriptors.iter().map(|(number, _)| *number).max().unwrap_or(2).max(2) + 1;
    let aside = |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, highest);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (null, output) = (aside(null.as_fd())?, aside(command.output.as_fd())?);
    let others: Vec<(i32, OwnedFd)> = command
        .descriptors
        .iter()
        .map(|(number, fd)| Ok((*number, aside(fd.as_fd())?)))
        .collect::<rustix::io::Result<_>>()?;
    *report = aside(report.as_fd())?;
    sys::close_on_exec_from(0)?;
    for (number, fd) in [(0, &null), (1, &output), (2, &output)] {
        sys::place_descriptor(fd.as_fd(), number)?;
    }
    for (number, fd) in &others {
        sys::place_descriptor(fd.as_fd(), *number)?;
    }
    Ok(())
}

fn c_string(bytes: &[u8]) -> Result<CString, SpawnError> {
    CString::new(bytes).map_err(|_| SpawnError::Nul(String::from_utf8_lossy(bytes).into_owned()))
}

fn fork_error(errno: rustix::io::Errno) -> SpawnError {
    SpawnError::Fork(errno.into())
}
