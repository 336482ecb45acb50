//! Landlock: what of the worker's files a process may touch, which sockets and processes it may reach.
//!
//! It stands behind the namespaces: files are read-only but for /tmp and /dev/shm, signals and abstract sockets end at
//! the sandbox. Where there is no mount namespace it is the one that hides the machine's files, and on the machine's
//! network the one that says which ports may be connected to.
//! <https://docs.kernel.org/userspace-api/landlock.html>

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset as Builder, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use std::io;
use std::path::PathBuf;
use warmpod_link::worker::{Network, SandboxSpec};

/// Rights that a newer kernel knows of are asked for as far as this one has them.
const NEWEST: ABI = ABI::V7;

pub(super) struct Ruleset {
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    devices: Vec<PathBuf>,
    /// TCP ports to connect to; `None`: the network is the worker's own, there is nothing to keep it from.
    ports: Option<Vec<u16>>,
}

impl Ruleset {
    pub(super) fn new(spec: &SandboxSpec) -> Ruleset {
        let readable = if spec.layers.files {
            vec![PathBuf::from("/")]
        } else {
            let shown = spec.read_only.iter().map(|bind| bind.source.clone());
            shown.chain(["/proc".into(), "/dev".into(), spec.code.clone()]).collect()
        };
        Ruleset {
            readable,
            writable: ["/tmp", "/dev/shm"].map(PathBuf::from).to_vec(),
            devices: ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"].map(PathBuf::from).to_vec(),
            ports: match &spec.network {
                Network::Host { ports } => Some(ports.clone()),
                Network::Loopback | Network::Linked { .. } => None,
            },
        }
    }

    /// Lets processes that start from now on connect to a TCP port of the machine too.
    pub(super) fn allow_port(&mut self, port: u16) {
        if let Some(ports) = &mut self.ports {
            ports.push(port);
        }
    }

    /// For the child of a fork only.
    pub(super) fn enforce(&self) -> io::Result<()> {
        self.build().map_err(io::Error::other)
    }

    fn build(&self) -> Result<(), RulesetError> {
        let mut builder = Builder::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
        if self.ports.is_some() {
            builder = builder.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
        }
        let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        builder
            .create()?
            .add_rules(beneath(&self.readable, AccessFs::from_read(NEWEST)))?
            .add_rules(beneath(&self.writable, AccessFs::from_all(NEWEST)))?
            .add_rules(beneath(&self.devices, device))?
            .add_rules(
                self.ports
                    .iter()
                    .flatten()
                    .map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))),
            )?
            .restrict_self()?;
        Ok(())
    }
}

/// A path that is not there needs no rule.
fn beneath(
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    paths.iter().filter_map(move |path| PathFd::new(path).ok()).map(move |fd| Ok(PathBeneath::new(fd, access)))
}
