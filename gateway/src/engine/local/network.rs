//! The bridge of the machine that workers are linked to. The agent's program makes it (`warmpod-agent bridge`), and the
//! keeper removes it.

use super::LocalError;
use super::slots::Slot;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use warmpod_link::BridgeSpec;
use warmpod_link::keep::BRIDGE_PREFIX;
use warmpod_link::worker::Network;

#[derive(Clone, Debug)]
pub(super) struct Bridge {
    name: String,
    /// Its first address; the next one is the bridge's own.
    network: Ipv4Addr,
}

impl Bridge {
    /// Makes it, or takes over what an earlier gateway left.
    pub(super) async fn make(agent: &Path, spec: &BridgeSpec) -> Result<Result<Bridge, String>, LocalError> {
        let failed = |source| LocalError::Agent { path: agent.to_owned(), source };
        let mut child = Command::new(agent)
            .arg("bridge")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let bytes = postcard::to_stdvec(spec).map_err(|error| failed(std::io::Error::other(error)))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&bytes).await.map_err(failed)?;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok(match text(&output.stdout).parse() {
            Ok(network) if output.status.success() => Ok(Bridge { name: spec.name.clone(), network }),
            _ => Err(text(&output.stderr)),
        })
    }

    /// A worker's link to it.
    pub(super) fn link(&self, interface: String, slot: Slot) -> Network {
        Network::Linked {
            interface,
            bridge: self.name.clone(),
            address: slot.address(self.network).octets(),
            prefix: BRIDGE_PREFIX,
            router: Ipv4Addr::from(u32::from(self.network) + 1).octets(),
        }
    }
}

impl std::fmt::Display for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bridge {}, {}/{BRIDGE_PREFIX}", self.name, self.network)
    }
}

#[cfg(test)]
mod tests;
