//! Which private addresses the workers' network can have: none that a route of the machine leads to already.

use std::net::Ipv4Addr;
use warmpod_link::keep::BRIDGE_PREFIX as PREFIX;

const SIZE: u32 = 1 << (32 - PREFIX);
/// Where addresses are looked for, in this order: what AWS's default VPC has, then the other private ranges.
const RANGES: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(172, 31, 0, 0), 16), (Ipv4Addr::new(172, 16, 0, 0), 12), (Ipv4Addr::new(10, 0, 0, 0), 8)];

/// The network that the bridge has already, else the first that no route of the machine touches.
/// `routes` is the text of /proc/net/route.
pub(super) fn free_network(routes: &str, bridge: &str) -> Option<Ipv4Addr> {
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
