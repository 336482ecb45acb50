//! The firewall around the bridge of local workers (nf_tables): they reach the outside under the machine's address, and
//! neither the machine's own services nor a cloud's metadata service; nobody reaches them.
//! <https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks>

use super::message::{ACKNOWLEDGE, Bytes, CREATE, REQUEST, Socket};
use rustix::net::netlink;
use std::io;
use std::net::Ipv4Addr;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;

/// Families of tables.
const ANY_INET: u8 = 1;
const IPV4: u8 = 2;

/// Where a chain hangs.
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const POST_ROUTING: u32 = 4;
const SOURCE_NAT: i32 = 100;
const FILTER: i32 = 0;

/// The link that a packet came in by, or goes out by.
const CAME_BY: u32 = 6;
const GOES_BY: u32 = 7;

const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// Offset in the IPv4 header.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
const LINK_LOCAL: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 0, 0), 16);

/// Puts the firewall up, in place of an earlier one of the same name, all at once.
pub(crate) fn put_up(name: &str, bridge: &str, network: (Ipv4Addr, u8)) -> io::Result<()> {
    let mut batch = vec![edge(BATCH_BEGIN)];
    for family in [ANY_INET, IPV4] {
        // Made first, so that it can be removed whether or not it was there.
        batch.extend([
            table(NEW_TABLE, family, name),
            table(DELETE_TABLE, family, name),
            table(NEW_TABLE, family, name),
        ]);
    }
    let inside = Packets { family: ANY_INET, table: name };
    batch.push(inside.chain("input", "filter", INPUT, FILTER));
    batch.push(inside.rule("input", Rule::new().link(CAME_BY, bridge, true).not_established().drop()));
    batch.push(inside.chain("forward", "filter", FORWARD, FILTER));
    batch.push(inside.rule("forward", Rule::new().link(GOES_BY, bridge, true).not_established().drop()));
    let ipv4 = Packets { family: IPV4, table: name };
    batch.push(ipv4.chain("forward", "filter", FORWARD, FILTER));
    batch.push(ipv4.rule("forward", Rule::new().link(CAME_BY, bridge, true).address(DESTINATION, LINK_LOCAL).drop()));
    batch.push(ipv4.chain("out", "nat", POST_ROUTING, SOURCE_NAT));
    batch.push(ipv4.rule("out", Rule::new().address(SOURCE, network).link(GOES_BY, bridge, false).masquerade()));
    batch.push(edge(BATCH_END));
    Socket::open(Some(netlink::NETFILTER))?.exchange(batch)
}

pub(crate) fn take_down(name: &str) -> io::Result<()> {
    let mut batch = vec![edge(BATCH_BEGIN)];
    for family in [ANY_INET, IPV4] {
        batch.extend([table(NEW_TABLE, family, name), table(DELETE_TABLE, family, name)]);
    }
    batch.push(edge(BATCH_END));
    Socket::open(Some(netlink::NETFILTER))?.exchange(batch)
}

/// struct nfgenmsg.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn edge(kind: u16) -> Bytes {
    let subsystem = SUBSYSTEM.to_be_bytes();
    Bytes::message(kind, REQUEST, &[0, 0, subsystem[0], subsystem[1]])
}

fn table(kind: u16, family: u8, name: &str) -> Bytes {
    let create = if kind == NEW_TABLE { CREATE } else { 0 };
    Bytes::message(kind, REQUEST | ACKNOWLEDGE | create, &header(family)).text(1, name)
}

/// The packets of one family, and our table for them.
struct Packets<'a> {
    family: u8,
    table: &'a str,
}

impl Packets<'_> {
    /// A chain that lets through what no rule stops.
    fn chain(&self, name: &str, kind: &str, hook: u32, priority: i32) -> Bytes {
        let hook = Bytes::new().with(1, &hook.to_be_bytes()).with(2, &priority.to_be_bytes());
        Bytes::message(NEW_CHAIN, REQUEST | ACKNOWLEDGE | CREATE, &header(self.family))
            .text(1, self.table)
            .text(3, name)
            .nested(4, hook)
            .text(7, kind)
    }

    fn rule(&self, chain: &str, rule: Rule) -> Bytes {
        const APPEND: u16 = 0x800;
        Bytes::message(NEW_RULE, REQUEST | ACKNOWLEDGE | CREATE | APPEND, &header(self.family))
            .text(1, self.table)
            .text(2, chain)
            .nested(4, rule.0)
    }
}

/// Expressions, one after the other: the first that does not match ends the rule.
struct Rule(Bytes);

impl Rule {
    fn new() -> Rule {
        Rule(Bytes::new())
    }

    fn expression(self, name: &str, data: Bytes) -> Rule {
        Rule(self.0.nested(1, Bytes::new().text(1, name).nested(2, data)))
    }

    /// Register 1 is (or is not) `value`.
    fn compare(self, equal: bool, value: &[u8]) -> Rule {
        let data = number(1, 1).with(2, &u32::from(!equal).to_be_bytes()).nested(3, Bytes::new().with(1, value));
        self.expression("cmp", data)
    }

    fn mask(self, mask: &[u8; 4]) -> Rule {
        let value = |bytes: &[u8]| Bytes::new().with(1, bytes);
        let data = number(1, 1)
            .with(2, &1_u32.to_be_bytes())
            .with(3, &4_u32.to_be_bytes())
            .nested(4, value(mask))
            .nested(5, value(&[0; 4]));
        self.expression("bitwise", data)
    }

    fn link(self, which: u32, name: &str, equal: bool) -> Rule {
        let mut padded = [0; 16];
        padded.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        self.expression("meta", number(1, 1).with(2, &which.to_be_bytes())).compare(equal, &padded)
    }

    fn address(self, offset: u32, (network, prefix): (Ipv4Addr, u8)) -> Rule {
        let mask = (u32::MAX << (32 - u32::from(prefix))).to_be_bytes();
        let data =
            number(1, 1).with(2, &1_u32.to_be_bytes()).with(3, &offset.to_be_bytes()).with(4, &4_u32.to_be_bytes());
        self.expression("payload", data).mask(&mask).compare(true, &network.octets())
    }

    fn not_established(self) -> Rule {
        let state = number(1, 1).with(2, &0_u32.to_be_bytes());
        self.expression("ct", state).mask(&ESTABLISHED_OR_RELATED.to_ne_bytes()).compare(true, &[0; 4])
    }

    fn drop(self) -> Rule {
        let verdict = Bytes::new().nested(2, number(1, 0));
        self.expression("immediate", number(1, 0).nested(2, verdict))
    }

    fn masquerade(self) -> Rule {
        self.expression("masq", Bytes::new())
    }
}

/// An attribute that is a number.
fn number(kind: u16, value: u32) -> Bytes {
    Bytes::new().with(kind, &value.to_be_bytes())
}
