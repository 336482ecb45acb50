//! What a worker is started with, and how it proves who it is.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use uuid::Uuid;

/// A worker's id, chosen by the pool, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerId(pub Uuid);

impl std::fmt::Display for WorkerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// 32 bytes that prove a worker's identity: the token that it was started with (good for one hello), or the secret that
/// the answer to it brought. Both are HMACs of the installation's key over worker id and purpose, so a gateway checks
/// them without a record.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential(pub [u8; 32]);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// Everything that an agent needs to start. Locally the gateway writes it, as postcard, to the agent's standard input
/// and closes that: no token is ever in an argument list or an environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSpec {
    pub worker: WorkerId,
    pub token: Credential,
    pub gateway: GatewayAddress,
    /// Hash of the resolved worker template; comes back in every hello.
    pub class: u64,
    /// How long the agent waits for a gateway before it ends its worker, milliseconds.
    pub orphan_timeout_ms: u32,
    pub runtime: RuntimeSpec,
    /// `None`: the processes run beside the agent with no isolation of its own making (a pod is the isolation).
    pub sandbox: Option<SandboxSpec>,
}

/// The gateway's second socket, in the same folder: the endpoint itself, for what functions send to their loopback.
pub const ENDPOINT_SOCKET: &str = "endpoint.sock";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GatewayAddress {
    /// Path of the gateway's socket on the machine.
    Unix(PathBuf),
}

/// The interpreter of a worker's class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RuntimeSpec {
    /// `/var/task/bootstrap` or `/opt/bootstrap` is the runtime (`provided.al2023` and the like).
    Provided,
    /// Runs AWS's runtime interface client. With `warm`, an interpreter starts before the claim, imports the client and
    /// the AWS SDK where there is one, and waits.
    Python {
        /// Path inside the sandbox.
        interpreter: PathBuf,
        /// Folders for `sys.path`, inside the sandbox: the runtime interface client, then the SDK.
        library: Vec<PathBuf>,
        warm: bool,
    },
}

/// How the local engine wants a worker isolated. Each part is there only where the machine offers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Shown read-only, in this order. A source that is missing is passed over; one that is a symbolic link becomes the
    /// same link.
    pub read_only: Vec<Bind>,
    /// Small files of the worker's own, such as /etc/hosts: path inside, content.
    pub files: Vec<(PathBuf, String)>,
    /// The folder that holds the unpacked code of all functions. Only what is below it can be attached.
    pub code: PathBuf,
    /// Cgroup folders to join before anything else starts (one on v2, one for each controller on v1).
    pub cgroups: Vec<PathBuf>,
    pub ids: IdMap,
    pub network: Network,
    pub layers: Layers,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
}

/// The layers of isolation that are separate switches. A cgroup and the network are layers too, by their own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// A user namespace: the agent is not the machine's root any more.
    pub users: bool,
    /// A mount namespace with a root file system of the worker's own.
    pub files: bool,
    /// A pid namespace with a /proc of its own.
    pub processes: bool,
    /// An ipc and a uts namespace.
    pub ipc: bool,
    /// All capabilities dropped, and none to be had from a setuid program.
    pub capabilities: bool,
    pub limits: bool,
    pub landlock: bool,
    pub seccomp: bool,
}

impl Layers {
    pub const ALL: Layers = Layers {
        users: true,
        files: true,
        processes: true,
        ipc: true,
        capabilities: true,
        limits: true,
        landlock: true,
        seccomp: true,
    };
}

/// Whose ids the worker's are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IdMap {
    /// As root: ids 0 to 65535 of the worker are `base` to `base + 65535` of the machine. The agent is 0, the function
    /// 993:990.
    Range { base: u32 },
    /// As an ordinary user: the function's 993:990 is the gateway's own user, and nothing else exists.
    Single,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Network {
    /// A network namespace with loopback only.
    Loopback,
    /// A network namespace of its own with a link to the machine: a veth pair, one end in the worker as eth0, the other
    /// one (`interface`) at the machine's bridge.
    Linked { interface: String, bridge: String, address: [u8; 4], prefix: u8, router: [u8; 4] },
    /// The machine's network. Landlock, where it can, lets processes connect to these TCP ports only, and to those that
    /// the agent allows itself.
    Host { ports: Vec<u16> },
}
