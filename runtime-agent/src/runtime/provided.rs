//! `provided.al2023` and its like: the function brings its runtime, a program named `bootstrap`.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html>

use super::Program;
use crate::sandbox::Sandbox;
use std::path::Path;

/// The first of `/var/task/bootstrap`, `/opt/bootstrap` and `/var/runtime/bootstrap` that is there. Whether it can be
/// executed shows when it is.
pub(super) fn program(sandbox: &Sandbox) -> Option<Program> {
    let folders = [sandbox.code(), sandbox.layer(), Path::new("/var/runtime")];
    let path = folders.iter().map(|folder| folder.join("bootstrap")).find(|path| sandbox.finds(path))?;
    Some(Program { path, arguments: Vec::new(), is_wrapper: false, writes_frames: false })
}
