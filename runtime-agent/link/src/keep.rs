//! `warmpod-agent keep`: what a local gateway leaves behind for the case that it is killed.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The keeper reads it, as postcard, from its standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepSpec {
    /// Removed in the end. Its file `workers` is locked by the gateway and all agents.
    pub run_dir: PathBuf,
    /// Locked by the gateway of this data directory, and by the next one.
    pub gateway_lock: PathBuf,
    /// Removed in the end, with the folders in them.
    pub cgroups: Vec<PathBuf>,
    /// Network links, removed in the end.
    pub links: Vec<String>,
}
