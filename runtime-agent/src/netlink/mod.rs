//! Talking to the kernel's network by netlink: links, addresses and routes ([`route`]), and a small firewall
//! ([`firewall`]). Only what a worker's network needs, so that no program such as ip, nft or iptables has to be there.

pub(crate) mod firewall;
mod message;
pub(crate) mod route;
