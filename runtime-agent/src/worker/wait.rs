//! Waiting: what poll watches in each state, and what it found.

use super::Worker;
use crate::clock::{Moment, Now};
use crate::gateway::Watch;
use crate::relay::Relay;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What poll found, by who waits for it.
pub(super) struct Ready {
    /// Standard output, frames.
    pub log: [bool; 2],
    pub control: PollFlags,
    pub invocation: PollFlags,
    pub listener: bool,
    pub exits: bool,
    /// A warm interpreter speaks.
    pub channel: bool,
    pub connections: Vec<PollFlags>,
    /// A client for the endpoint.
    pub relay: bool,
    /// Two for each of its pairs.
    pub relayed: Vec<PollFlags>,
}

/// Descriptors that last as long as the worker and are seldom ready, behind one that is ready when any of them is. Poll
/// asks every descriptor that it is given, twice for each invocation.
pub(super) struct Seldom {
    any: OwnedFd,
    count: usize,
}

impl Seldom {
    pub(super) fn of<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> rustix::io::Result<Seldom> {
        let mut seldom = Seldom { any: epoll::create(epoll::CreateFlags::CLOEXEC)?, count: 0 };
        for descriptor in descriptors {
            epoll::add(&seldom.any, descriptor, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            seldom.count += 1;
        }
        Ok(seldom)
    }
}

/// The set of descriptors of one wait.
struct Watched<'a>(Vec<PollFd<'a>>);

impl<'a> Watched<'a> {
    fn add(&mut self, fd: Option<BorrowedFd<'a>>, flags: PollFlags) -> Option<usize> {
        self.0.push(PollFd::from_borrowed_fd(fd?, flags));
        Some(self.0.len() - 1)
    }

    fn add_link(&mut self, watch: Option<Watch<'a>>) -> Option<usize> {
        let flags = if watch.as_ref()?.writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        self.add(watch.map(|watch| watch.socket), flags)
    }

    fn found(&self, at: Option<usize>) -> PollFlags {
        at.map_or(PollFlags::empty(), |at| self.0[at].revents())
    }
}

impl Worker {
    pub(super) fn wait(&self) -> rustix::io::Result<Ready> {
        let mut watched = Watched(Vec::with_capacity(10 + self.api.connections.len()));
        let log = self.log.pipes().map(|pipe| watched.add(pipe, PollFlags::IN));
        let listener = watched.add(Some(self.api.listener.as_fd()), PollFlags::IN);
        let exits = watched.add(Some(self.sandbox.events()), PollFlags::IN);
        let relay = watched.add(self.relay.as_ref().and_then(Relay::listener), PollFlags::IN);
        let seldom = watched.0.len();
        // One that must not be looked at now would be ready all the time: then each is asked for itself.
        let together = seldom == self.seldom.count;
        let any = together.then(|| watched.add(Some(self.seldom.any.as_fd()), PollFlags::IN)).flatten();
        let control = watched.add_link(self.gateway.control());
        let invocation = watched.add_link(self.gateway.invocation());
        let channel = watched.add(self.runtime.channel(), PollFlags::IN);
        let first = watched.0.len();
        for connection in &self.api.connections {
            watched.add(Some(connection.as_fd()), connection.interest());
        }
        let first_relayed = watched.0.len();
        for pair in self.relay.iter().flat_map(|relay| &relay.pairs) {
            for (socket, flags) in pair.watched() {
                watched.add(Some(socket), flags);
            }
        }
        let timeout = self.deadline().map(|at| timespec(at.since(Now::read().at)));
        ask(&mut watched.0[if together { seldom } else { 0 }..], timeout.as_ref())?;
        if !watched.found(any).is_empty() {
            ask(&mut watched.0[..seldom], Some(&timespec(Duration::ZERO)))?;
        }
        Ok(Ready {
            log: log.map(|at| !watched.found(at).is_empty()),
            control: watched.found(control),
            invocation: watched.found(invocation),
            listener: !watched.found(listener).is_empty(),
            exits: !watched.found(exits).is_empty(),
            channel: !watched.found(channel).is_empty(),
            connections: watched.0[first..first + self.api.connections.len()].iter().map(PollFd::revents).collect(),
            relay: !watched.found(relay).is_empty(),
            relayed: watched.0[first_relayed..].iter().map(PollFd::revents).collect(),
        })
    }

    /// When the loop has something to do even if nothing happens.
    fn deadline(&self) -> Option<Moment> {
        let gateway = self.gateway.deadline();
        [gateway, self.environment.deadline(), self.log.deadline(), self.settle_at(), self.look_at()]
            .into_iter()
            .flatten()
            .min()
    }
}

fn ask(descriptors: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> rustix::io::Result<()> {
    match poll(descriptors, timeout) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

pub(super) fn timespec(time: Duration) -> Timespec {
    // An hour is as good as for ever: the loop only looks around and waits again.
    Timespec { tv_sec: time.as_secs().min(3600) as i64, tv_nsec: time.subsec_nanos().into() }
}
