//! `warmpod-agent try`: one program run in a sandbox, to find out what a machine can do, and what a sandbox keeps in.

use crate::worker::SandboxSpec;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The agent reads it, as postcard, from its standard input, and ends as the program ended; 125 when the sandbox could
/// not be made, with the reason on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub sandbox: Option<SandboxSpec>,
    pub attach: Option<Shown>,
    /// Program and arguments; empty: only make the sandbox.
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
}

/// What a claim would show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub code: PathBuf,
    pub layers: Vec<PathBuf>,
    pub ephemeral_mib: u32,
}

/// Exit code of `try` when the sandbox could not be made.
pub const NO_SANDBOX: u8 = 125;
