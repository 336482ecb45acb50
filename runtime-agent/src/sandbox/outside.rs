//! The helper that stays outside: a short-lived copy of the agent, still the machine's root, that does for the new
//! namespaces what only someone outside may do. It writes the id maps and makes the link to the machine's network, then
//! it is gone, and nobody in the worker is the machine's root any more.
//!
//! ```text
//!  agent ── fork ──> helper waits
//!    ├── unshare
//!    ├── "now" ─────> maps, link
//!    <──── done ──────┘ exits
//! ```

use super::{SandboxError, network};
use crate::sys::{self, Fork};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use warmpod_link::worker::{IdMap, Network, SandboxSpec};

pub(super) struct Outside {
    helper: Pid,
    line: UnixStream,
}

impl Outside {
    /// Forks the helper, if this sandbox needs one.
    pub(super) fn stay_behind(spec: &SandboxSpec) -> Result<Option<Outside>, SandboxError> {
        let base = match spec.ids {
            IdMap::Range { base } if spec.layers.users => Some(base),
            _ => None,
        };
        let linked = matches!(spec.network, Network::Linked { .. });
        if base.is_none() && !linked {
            return Ok(None);
        }
        let failed = |source| SandboxError::step("leave a helper outside", source);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
        let agent = getpid();
        match sys::fork().map_err(failed)? {
            Fork::Parent(helper) => Ok(Some(Outside { helper, line: UnixStream::from(ours) })),
            Fork::Child => {
                drop(ours);
                help(&mut UnixStream::from(theirs), agent, base, &spec.network);
                sys::exit_now(0)
            }
        }
    }

    /// The namespaces are there: lets the helper do its part, and waits for it.
    pub(super) fn finish(mut self) -> Result<(), SandboxError> {
        let answer = self.line.write_all(b"!").and_then(|()| {
            let mut text = String::new();
            self.line.read_to_string(&mut text).map(|_| text)
        });
        // It ends by itself after its answer.
        let _ = waitpid(Some(self.helper), WaitOptions::empty());
        match answer.as_deref().map(|text| text.split_once(' ')) {
            Ok(Some(("done", _))) => Ok(()),
            Ok(Some((errno, what))) => Err(SandboxError::step(
                what.to_owned(),
                io::Error::from_raw_os_error(errno.parse().unwrap_or_default()),
            )),
            Ok(None) => Err(SandboxError::step("be helped from outside", io::ErrorKind::UnexpectedEof.into())),
            Err(_) => Err(SandboxError::step(
                "be helped from outside",
                answer.err().unwrap_or_else(|| io::ErrorKind::Other.into()),
            )),
        }
    }
}

fn help(line: &mut UnixStream, agent: Pid, base: Option<u32>, network: &Network) {
    let mut now = [0];
    // Nothing comes when the agent failed first.
    if line.read_exact(&mut now).is_err() {
        return;
    }
    let answer = match map(agent, base).and_then(|()| network::link(network, agent)) {
        Ok(()) => "done ".to_owned(),
        Err(SandboxError::Step { what, source }) => format!("{} {what}", source.raw_os_error().unwrap_or_default()),
    };
    let _ = line.write_all(answer.as_bytes());
}

fn map(agent: Pid, base: Option<u32>) -> Result<(), SandboxError> {
    let Some(base) = base else { return Ok(()) };
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", agent.as_raw_nonzero()), format!("0 {base} 65536"))
            .map_err(|source| SandboxError::step(format!("write its {map}"), source))?;
    }
    Ok(())
}
