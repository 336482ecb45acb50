//! Pid 1 of the worker's pid namespace. It starts nothing: the agent forks the processes itself, straight into the
//! namespace. It is what orphans fall to, the one that can end everything at once, and its own end ends all others.
//!
//! ```text
//!  agent          pid 1
//!    |-- 'k' ------>|  SIGKILL to everyone
//!    |<-- 'k' ------|
//!    | reaps its own children
//!    |-- 'w' ------>|  waits until the orphans are gone
//!    |<-- 'w' ------|
//!    X agent gone   |  end of file, or the parent's death signal: exits, the kernel ends the rest
//! ```

use super::SandboxError;
use crate::sys::{self, Fork};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, wait};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

pub(super) struct First {
    pid: Pid,
    line: UnixStream,
}

impl First {
    /// The first fork after `unshare` is pid 1. It mounts /proc at `proc` when told to, since that must come from
    /// inside.
    pub(super) fn start_with_proc(proc: Option<&str>) -> Result<First, SandboxError> {
        let failed = |source| SandboxError::step("start its first process", source);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
        let pid = match sys::fork().map_err(failed)? {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                drop(ours);
                be_first(UnixStream::from(theirs), proc);
                sys::exit_now(0)
            }
        };
        drop(theirs);
        let mut line = UnixStream::from(ours);
        let mut errno = [0; 4];
        line.read_exact(&mut errno).map_err(failed)?;
        match i32::from_le_bytes(errno) {
            0 => Ok(First { pid, line }),
            errno => Err(SandboxError::step("mount its own /proc", io::Error::from_raw_os_error(errno))),
        }
    }

    pub(super) fn start() -> Result<First, SandboxError> {
        First::start_with_proc(None)
    }

    /// Kills everyone; `reap` waits for the agent's own children meanwhile.
    pub(super) fn kill_all(&mut self, reap: impl FnOnce()) {
        let _ = self.ask(b'k');
        reap();
        let _ = self.ask(b'w');
    }

    /// An error says that pid 1 is gone, and with it everyone.
    fn ask(&mut self, what: u8) -> io::Result<()> {
        self.line.write_all(&[what])?;
        self.line.read_exact(&mut [0])
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // Ends at end of file; everyone else goes with it before it can be waited for.
        let _ = self.line.shutdown(std::net::Shutdown::Both);
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
    }
}

fn be_first(mut line: UnixStream, proc: Option<&str>) {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::thread::set_name(c"init");
    sys::reset_signals();
    sys::forget_children();
    sys::close_all_but(line.as_fd());
    let mounted = proc.map_or(Ok(()), super::root::mount_proc);
    // Kills others' processes where it is not their uid, and cannot be traced by one that can do less.
    let kill = CapabilitySet::KILL;
    let _ = rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kill, permitted: kill, inheritable: CapabilitySet::empty() },
    );
    let errno = mounted.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
    if line.write_all(&errno.to_le_bytes()).is_err() || errno != 0 {
        return;
    }
    let mut what = [0];
    while line.read_exact(&mut what).is_ok() {
        match what[0] {
            b'k' => sys::kill_everyone(),
            // With children forgotten at once, this returns when the last one is gone.
            _ => while wait(WaitOptions::empty()).is_ok() {},
        }
        if line.write_all(&what).is_err() {
            return;
        }
    }
}
