//! Bytes on their way through a descriptor: those that were read and not yet used, and those that could not be written
//! at once. Used for every socket and pipe of the agent. Nothing here knows what the bytes mean.

use rustix::io::Errno;
use std::io::IoSlice;
use std::os::fd::AsFd;

/// The least room that a read gets, so that a small message comes whole.
const READ: usize = 8 * 1024;
/// A buffer that grew beyond this for one large payload is given back when it is empty.
const KEPT: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub enum Filled {
    Some,
    /// Nothing is there now.
    NotYet,
    /// The other side is gone.
    Closed,
}

#[derive(Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Reads once, with room for at least `want` bytes.
    pub fn fill(&mut self, from: impl AsFd, want: usize) -> Filled {
        let want = want.max(READ);
        if self.bytes.len() - self.end < want && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() - self.end < want {
            self.bytes.resize(self.end + want, 0);
        }
        loop {
            match rustix::io::read(&from, &mut self.bytes[self.end..]) {
                Ok(0) => return Filled::Closed,
                Ok(count) => {
                    self.end += count;
                    return Filled::Some;
                }
                Err(Errno::AGAIN) => return Filled::NotYet,
                Err(Errno::INTR) => {}
                Err(_) => return Filled::Closed,
            }
        }
    }
}

/// The other side of a descriptor is gone: nothing written to it will be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

/// What is still to be written.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
}

impl Outgoing {
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Writes all parts with one call if they fit, and keeps what did not.
    pub fn send(&mut self, to: impl AsFd, parts: &[&[u8]]) -> Result<(), Closed> {
        let mut written = 0;
        if self.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            written = match rustix::io::retry_on_intr(|| rustix::io::writev(&to, &slices[..parts.len().min(4)])) {
                Ok(count) => count,
                Err(Errno::AGAIN) => 0,
                Err(_) => return Err(Closed),
            };
        }
        for part in parts {
            let done = written.min(part.len());
            self.bytes.extend_from_slice(&part[done..]);
            written -= done;
        }
        Ok(())
    }

    /// Writes once what was kept.
    pub fn flush(&mut self, to: impl AsFd) -> Result<(), Closed> {
        match rustix::io::retry_on_intr(|| rustix::io::write(&to, &self.bytes[self.start..])) {
            Ok(count) => self.start += count,
            Err(Errno::AGAIN) => {}
            Err(_) => return Err(Closed),
        }
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn what_does_not_fit_is_kept_and_follows() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let (mut out, mut incoming, mut got) = (Outgoing::default(), Incoming::default(), Vec::new());
        let body = vec![7; 3_000_000];
        out.send(&here, &[b"head", &body]).unwrap();
        assert!(!out.is_empty(), "three megabytes do not fit a socket");
        while got.len() < 3_000_004 {
            assert_eq!(incoming.fill(&there, 0), Filled::Some);
            got.extend_from_slice(incoming.data());
            incoming.consume(incoming.data().len());
            out.flush(&here).unwrap();
        }
        assert_eq!(got.len(), 3_000_004);
        assert_eq!(&got[..5], b"head\x07");
    }

    #[test]
    fn a_closed_peer_is_told_not_a_signal() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        drop(there);
        assert_eq!(Outgoing::default().send(&here, &[b"x"]), Err(Closed));
        assert_eq!(Incoming::default().fill(&here, 0), Filled::Closed);
    }
}
