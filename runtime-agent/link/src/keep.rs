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

/// The machine's end of the workers' network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSpec {
    /// Of the bridge, and of the firewall's tables.
    pub name: String,
    /// The first address of the workers' network; the next one is the bridge's.
    pub network: [u8; 4],
    pub prefix: u8,
    /// The machine did not forward packets before: forwarding is switched on, and off again in the end.
    pub forwarding_off: bool,
}
