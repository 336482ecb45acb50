//! What can go wrong in a sandbox, in words that an operator can act on.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("the sandbox cannot {what}")]
    Step {
        /// A verb and its object, such as `mount /proc`.
        what: String,
        #[source]
        source: io::Error,
    },
}

impl SandboxError {
    pub(super) fn step(what: impl Into<String>, source: io::Error) -> SandboxError {
        SandboxError::Step { what: what.into(), source }
    }
}

/// Why a process could not be started. The errno is the source's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("cannot execute {program}")]
    Exec {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot enter the directory {directory}")]
    Directory {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot confine a new process ({step})")]
    Confine {
        step: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot make a process")]
    Fork(#[source] io::Error),
    #[error("{0:?} holds a NUL byte")]
    Nul(String),
}

impl SpawnError {
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            SpawnError::Exec { source, .. }
            | SpawnError::Directory { source, .. }
            | SpawnError::Confine { source, .. }
            | SpawnError::Fork(source) => source.raw_os_error(),
            SpawnError::Nul(_) => None,
        }
    }
}
