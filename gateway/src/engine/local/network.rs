//! The machine's end of the workers' network: which addresses are free for it, and the bridge, which the agent's program
//! makes (`warmpod-agent bridge`).

use super::LocalError;
use super::slots::Slot;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use warmpod_link::BridgeSpec;
use warmpod_link::worker::Network;

/// 4,096 addresses: as many as workers have slots.
const PREFIX: u8 = 20;
const SIZE: u32 = 1 << (32 - PREFIX);
/// Where addresses are looked for, in this order: what AWS's default VPC has, then the other private ranges.
const RANGES: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(172, 31, 0, 0), 16), (Ipv4Addr::new(172, 16, 0, 0), 12), (Ipv4Addr::new(10, 0, 0, 0), 8)];

/// A bridge of the machine that workers can be linked to.
#[derive(Clone, Debug)]
pub(super) struct Bridge(pub(super) BridgeSpec);

impl Bridge {
    /// Makes the bridge, or takes over the one that an earlier gateway left.
    pub(super) async fn make(agent: &Path, installation: &str) -> Result<Result<Bridge, String>, LocalError> {
        let failed = |source| LocalError::Agent { path: agent.to_owned(), source };
        let name = format!("wp{installation}");
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        let Some(network) = free_network(&routes, &name) else {
            return Ok(Err("no private range of addresses is free".to_owned()));
        };
        let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
        let spec =
            BridgeSpec { name, network: network.octets(), prefix: PREFIX, forwarding_off: forwarding.trim() == "0" };
        let mut child = Command::new(agent)
            .arg("bridge")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let bytes = postcard::to_stdvec(&spec).map_err(|error| failed(std::io::Error::other(error)))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&bytes).await.map_err(failed)?;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        if output.status.success() {
            return Ok(Ok(Bridge(spec)));
        }
        Ok(Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
    }

    pub(super) fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.0.network)
    }

    /// A worker's link to it.
    pub(super) fn link(&self, interface: String, slot: Slot) -> Network {
        Network::Linked {
            interface,
            bridge: self.0.name.clone(),
            address: slot.address(self.network()).octets(),
            prefix: self.0.prefix,
            router: self.router().octets(),
        }
    }

    fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network()) + 1)
    }
}

/// The network that the bridge has already, else the first that no route of the machine touches.
fn free_network(routes: &str, bridge: &str) -> Option<Ipv4Addr> {
    let taken: Vec<(&str, u32, u32)> = routes.lines().skip(1).filter_map(route).collect();
    if let Some((_, network, _)) = taken.iter().find(|(interface, _, _)| *interface == bridge) {
        return Some(Ipv4Addr::from(*network));
    }
    let candidates = RANGES.iter().flat_map(|(first, prefix)| {
        let first = u32::from(*first);
        (first..=first + (u32::MAX >> prefix)).step_by(SIZE as usize)
    });
    // Two networks meet when they are equal under the wider one's mask. The default route is everyone's.
    let meets =
        |network: u32, other: u32, mask: u32| mask != 0 && (network ^ other) & mask & (u32::MAX << (32 - PREFIX)) == 0;
    candidates
        .into_iter()
        .find(|network| !taken.iter().any(|(_, other, mask)| meets(*network, *other, *mask)))
        .map(Ipv4Addr::from)
}

/// Interface, network and mask of a line of /proc/net/route, whose numbers are in the machine's own byte order.
fn route(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split_whitespace();
    let interface = fields.next()?;
    let number =
        |field: &str| u32::from_str_radix(field, 16).ok().map(|number| u32::from_be(number.to_be().swap_bytes()));
    let network = number(fields.next()?)?;
    let mask = number(fields.nth(5)?)?;
    Some((interface, network, mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    fn with(more: &str) -> Option<Ipv4Addr> {
        free_network(&format!("{HEAD}{more}"), "wp0")
    }

    #[test]
    fn the_first_network_is_taken_where_nothing_is_in_the_way() {
        assert_eq!(with(""), Some(Ipv4Addr::new(172, 31, 0, 0)));
    }

    #[test]
    fn a_network_that_a_route_touches_is_passed_over() {
        // 172.31.5.0/24, inside of the first.
        assert_eq!(
            with("docker0\t00051FAC\t0\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"),
            Some(Ipv4Addr::new(172, 31, 16, 0))
        );
        // 172.16.0.0/12, around all of the first two ranges.
        assert_eq!(with("tun0\t000010AC\t0\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n"), Some(Ipv4Addr::new(10, 0, 0, 0)));
    }

    #[test]
    fn the_bridge_keeps_the_network_that_it_has() {
        let own = "wp0\t00101FAC\t0\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n";
        assert_eq!(with(own), Some(Ipv4Addr::new(172, 31, 16, 0)));
    }
}
