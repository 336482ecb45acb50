//! `warmpod-agent bridge`: the machine's end of the workers' network, made by a gateway that is root, once, and removed
//! when it and its workers are gone.
//!
//! A bridge with an address, forwarding, and the firewall around it. What was there before stays: a bridge that an
//! earlier gateway left is taken over, since its workers may live.

mod addresses;
mod forwarding;
mod iptables;

use crate::netlink::firewall;
use crate::netlink::route::{Link, Route};
use forwarding::Forwarding;
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
use std::fs;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use warmpod_link::BridgeSpec;
use warmpod_link::keep::BRIDGE_PREFIX;

pub(crate) fn run() -> ExitCode {
    match read().and_then(|spec| put_up(&spec)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn read() -> io::Result<BridgeSpec> {
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

fn put_up(spec: &BridgeSpec) -> io::Result<()> {
    let at = |step: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{step}: {error}"));
    let route = Route::open().map_err(at("rtnetlink"))?;
    // One at a time, so that no two choose the same addresses.
    let forwarding = Forwarding::lock().map_err(at("the lock of forwarding"))?;
    let routes = fs::read_to_string("/proc/net/route").map_err(at("the machine's routes"))?;
    let network = addresses::free_network(&routes, &spec.name).ok_or(io::ErrorKind::AddrNotAvailable.into());
    let network = network.map_err(at("no private range of addresses is free"))?;
    // The firewall first: nothing passes before it is up.
    firewall::put_up(&spec.name, &spec.name, (network, BRIDGE_PREFIX)).map_err(at("the firewall (nf_tables)"))?;
    match route.add_bridge(&spec.name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(at("the bridge"))?,
    }
    iptables::let_through(&spec.name);
    let router = Ipv4Addr::from(u32::from(network) + 1);
    match route.add_address(index(&spec.name)?, router, BRIDGE_PREFIX) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(at("the bridge's address"))?,
    }
    forwarding.switch_on().map_err(at("forwarding"))?;
    writeln!(io::stdout(), "{network}")
}

/// Removes it all. What is gone already is as it should be.
pub(crate) fn take_down(spec: &BridgeSpec) {
    let forwarding = Forwarding::lock();
    if let Ok(route) = Route::open() {
        let _ = route.remove(&spec.name);
    }
    iptables::take_back(&spec.name);
    let _ = firewall::take_down(&spec.name);
    if let Ok(forwarding) = forwarding {
        forwarding.switch_off_after_the_last();
    }
}

/// The number of a link of this network namespace.
pub(crate) fn index(name: &str) -> io::Result<Link> {
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    Ok(Link(name_to_index(&any, name)?))
}
