//! The endpoint on the worker's own loopback: what is sent to 127.0.0.1:4566 in here goes to the gateway, so that
//! `AWS_ENDPOINT_URL` works from a function wherever the gateway listens.
//!
//! Passes bytes on and understands none. A direction is read only while its other side has taken what came before, so a
//! slow reader slows its writer down and memory stays bounded.
//!
//! ```text
//!  accepted ──> open ──one side ends──> half open ──the other ends, or either breaks──> gone
//! ```

use crate::buffer::{Filled, Incoming, Outgoing};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The endpoint's usual port.
const PORT: u16 = 4566;
/// Clients beside each other; more wait in the listener's queue.
const MAX_PAIRS: usize = 64;

pub struct Relay {
    listener: OwnedFd,
    pub pairs: Vec<Pair>,
}

/// A client in the worker and its connection to the gateway.
pub struct Pair {
    sides: [Side; 2],
}

struct Side {
    socket: OwnedFd,
    outgoing: Outgoing,
    /// It sends nothing more.
    ended: bool,
    /// It was told that nothing more comes.
    told: bool,
}

impl Relay {
    pub fn listen() -> io::Result<Relay> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT))?;
        rustix::net::listen(&listener, 128)?;
        Ok(Relay { listener, pairs: Vec::new() })
    }

    /// What to watch for new clients.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        (self.pairs.len() < MAX_PAIRS).then(|| self.listener.as_fd())
    }

    /// Takes the client that waits; `dial` opens its connection to the gateway.
    pub fn accept(&mut self, dial: impl FnOnce() -> io::Result<OwnedFd>) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(client) = rustix::net::accept_with(&self.listener, flags) else { return };
        // Without a gateway the client sees its connection closed, as it would without this relay.
        if let Ok(gateway) = dial() {
            self.pairs.push(Pair { sides: [Side::new(client), Side::new(gateway)] });
        }
    }

    /// Moves what the pairs' sockets are ready for. `found` has two entries for each pair.
    pub fn pass(&mut self, found: &[PollFlags]) {
        let mut found = found.chunks(2);
        self.pairs.retain_mut(|pair| found.next().is_none_or(|found| pair.pass(found)));
    }
}

impl Pair {
    /// The sockets and what to watch each for.
    pub fn watched(&self) -> [(BorrowedFd<'_>, PollFlags); 2] {
        [0, 1].map(|at| {
            let (side, other) = (&self.sides[at], &self.sides[1 - at]);
            let mut flags = PollFlags::empty();
            if !side.ended && other.outgoing.is_empty() {
                flags |= PollFlags::IN;
            }
            if !side.outgoing.is_empty() {
                flags |= PollFlags::OUT;
            }
            (side.socket.as_fd(), flags)
        })
    }

    /// False when it is over.
    fn pass(&mut self, found: &[PollFlags]) -> bool {
        for at in [0, 1] {
            let ready = found.get(at).copied().unwrap_or(PollFlags::empty());
            let [first, second] = &mut self.sides;
            let (from, to) = if at == 0 { (first, second) } else { (second, first) };
            if ready.contains(PollFlags::OUT) && from.outgoing.flush(&from.socket).is_err() {
                return false;
            }
            if ready.contains(PollFlags::ERR) {
                return false;
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP) && !from.ended && to.outgoing.is_empty() {
                let mut incoming = Incoming::default();
                match incoming.fill(&from.socket, 0) {
                    Filled::Some => {
                        if to.outgoing.send(&to.socket, &[incoming.data()]).is_err() {
                            return false;
                        }
                    }
                    Filled::NotYet => {}
                    Filled::Closed => from.ended = true,
                }
            }
        }
        for at in [0, 1] {
            let ended = self.sides[at].ended;
            let other = &mut self.sides[1 - at];
            if ended && other.outgoing.is_empty() && !other.told {
                other.told = true;
                let _ = rustix::net::shutdown(&other.socket, Shutdown::Write);
            }
        }
        !self.sides.iter().all(|side| side.told)
    }
}

impl Side {
    fn new(socket: OwnedFd) -> Side {
        Side { socket, outgoing: Outgoing::default(), ended: false, told: false }
    }
}
