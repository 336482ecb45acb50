//! What a local gateway has made once for all workers, and what is to be removed when it is gone: `warmpod-agent bridge`
//! and `warmpod-agent keep`. Both read their spec, as postcard, from standard input.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepSpec {
    /// Removed in the end. Its file `workers` is locked by the gateway and all agents.
    pub run_dir: PathBuf,
    /// Locked by the gateway of this data directory, and by the next one.
    pub gateway_lock: PathBuf,
    /// Removed in the end, with the folders in them.
    pub cgroups: Vec<PathBuf>,
    /// Removed in the end.
    pub bridge: Option<BridgeSpec>,
}

/// The machine's end of the workers' network. `bridge` answers with its network's first address on a line; the next
/// address is the bridge's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSpec {
    /// Of the bridge, and of the firewall's tables.
    pub name: String,
}

/// Addresses of the workers' network: 4,096.
pub const BRIDGE_PREFIX: u8 = 20;
