//! Trials: `warmpod-agent try` in a throw-away process, to find out what really works here rather than what should.

use super::LocalError;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use warmpod_link::Trial;
use warmpod_link::trial::NO_SANDBOX;
use warmpod_link::worker::{IdMap, Layers, Network, SandboxSpec};

/// All layers off.
pub(super) const NOTHING: Layers = Layers {
    users: false,
    files: false,
    processes: false,
    ipc: false,
    capabilities: false,
    limits: false,
    landlock: false,
    seccomp: false,
};

/// A sandbox with nothing in it but the layers that are tried.
pub(super) fn bare(layers: Layers, ids: IdMap, network: Network) -> SandboxSpec {
    SandboxSpec {
        read_only: super::world::system(),
        files: Vec::new(),
        code: "/usr".into(),
        cgroups: Vec::new(),
        ids,
        network,
        layers,
    }
}

/// The layers that came up, or why the sandbox could not be made.
pub(super) async fn layers(agent: &Path, sandbox: SandboxSpec) -> Result<Result<Vec<String>, String>, LocalError> {
    attempt(agent, sandbox, &[]).await.map(|answer| answer.map(|text| text.lines().map(str::to_owned).collect()))
}

/// What a shell command printed inside, or why there was no sandbox to run it in.
pub(super) async fn attempt(
    agent: &Path,
    sandbox: SandboxSpec,
    command: &[&str],
) -> Result<Result<String, String>, LocalError> {
    let failed = |source| LocalError::Agent { path: agent.to_owned(), source };
    let trial = Trial {
        sandbox: Some(sandbox),
        attach: None,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        environment: Vec::new(),
    };
    let mut child = Command::new(agent)
        .arg("try")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let bytes = postcard::to_stdvec(&trial).map_err(|error| failed(std::io::Error::other(error)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&bytes).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        Some(code) if code == i32::from(NO_SANDBOX) => Err(text(&output.stderr)),
        _ => Err(format!("the trial ended with {}: {}", output.status, text(&output.stderr))),
    })
}
