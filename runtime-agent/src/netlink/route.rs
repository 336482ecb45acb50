//! Links, addresses and routes (rtnetlink).
//! <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>

use super::message::{ACKNOWLEDGE, Bytes, CREATE, EXCLUSIVE, REQUEST, Socket};
use std::io;
use std::net::Ipv4Addr;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

const UP: u32 = 1;
const INET: u8 = 2;
const BRIDGE: u8 = 7;

/// Attributes of a link.
mod link {
    pub(super) const NAME: u16 = 3;
    pub(super) const MASTER: u16 = 10;
    pub(super) const PROTOCOL_INFO: u16 = 12;
    pub(super) const INFO: u16 = 18;
    pub(super) const NAMESPACE_OF_PID: u16 = 19;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const PEER: u16 = 1;
    pub(super) const PORT_ISOLATED: u16 = 33;
}

/// A link, by its number in a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(pub(crate) u32);

impl Link {
    /// In every fresh network namespace.
    pub(crate) const LOOPBACK: Link = Link(1);
}

pub(crate) struct Route(Socket);

impl Route {
    pub(crate) fn open() -> io::Result<Route> {
        Socket::open(None).map(Route)
    }

    pub(crate) fn up(&self, link: Link) -> io::Result<()> {
        self.0.exchange(vec![Bytes::message(NEW_LINK, REQUEST | ACKNOWLEDGE, &header(0, link, UP))])
    }

    /// A bridge that is up.
    pub(crate) fn add_bridge(&self, name: &str) -> io::Result<()> {
        let info = Bytes::new().text(link::INFO_KIND, "bridge");
        self.0.exchange(vec![create(NEW_LINK, &header(0, Link(0), UP)).text(link::NAME, name).nested(link::INFO, info)])
    }

    /// A pair of links: `name` here at the bridge, its peer as eth0 in the network namespace of a process.
    pub(crate) fn add_pair(&self, name: &str, bridge: Link, pid: u32) -> io::Result<()> {
        let peer = Bytes::after(&header(0, Link(0), 0))
            .text(link::NAME, "eth0")
            .with(link::NAMESPACE_OF_PID, &pid.to_ne_bytes())
            .inside();
        let info =
            Bytes::new().text(link::INFO_KIND, "veth").nested(link::INFO_DATA, Bytes::new().with(link::PEER, &peer));
        let pair = create(NEW_LINK, &header(0, Link(0), UP))
            .text(link::NAME, name)
            .with(link::MASTER, &bridge.0.to_ne_bytes())
            .nested(link::INFO, info);
        self.0.exchange(vec![pair])
    }

    /// Isolated ports of a bridge do not reach each other.
    pub(crate) fn isolate_port(&self, port: Link) -> io::Result<()> {
        let info = Bytes::new().with(link::PORT_ISOLATED, &[1]);
        let message = Bytes::message(SET_LINK, REQUEST | ACKNOWLEDGE, &header(BRIDGE, port, 0));
        self.0.exchange(vec![message.nested(link::PROTOCOL_INFO, info)])
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let message = Bytes::message(DELETE_LINK, REQUEST | ACKNOWLEDGE, &header(0, Link(0), 0));
        self.0.exchange(vec![message.text(link::NAME, name)])
    }

    pub(crate) fn add_address(&self, link: Link, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut fixed = vec![INET, prefix, 0, 0];
        fixed.extend(link.0.to_ne_bytes());
        self.0.exchange(vec![create(NEW_ADDRESS, &fixed).with(2, &address.octets()).with(1, &address.octets())])
    }

    pub(crate) fn add_default_route(&self, router: Ipv4Addr, link: Link) -> io::Result<()> {
        // Main table, set by the administrator, of universal scope, unicast.
        let fixed = [INET, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        self.0.exchange(vec![create(NEW_ROUTE, &fixed).with(5, &router.octets()).with(4, &link.0.to_ne_bytes())])
    }
}

fn create(kind: u16, fixed: &[u8]) -> Bytes {
    Bytes::message(kind, REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE, fixed)
}

/// struct ifinfomsg.
fn header(family: u8, link: Link, flags: u32) -> Vec<u8> {
    let mut bytes = vec![family, 0, 0, 0];
    for field in [link.0, flags, flags] {
        bytes.extend(field.to_ne_bytes());
    }
    bytes
}
