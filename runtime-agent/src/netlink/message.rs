//! Netlink messages and attributes, and the socket that carries them.
//! <https://man7.org/linux/man-pages/man7/netlink.7.html>

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;
use std::os::fd::OwnedFd;

pub(super) const REQUEST: u16 = 1;
pub(super) const ACKNOWLEDGE: u16 = 4;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;

const ERROR: u16 = 2;
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// A message, or the inside of a nested attribute, under construction.
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    /// What is inside of a nested attribute.
    pub(super) fn new() -> Bytes {
        Bytes(Vec::new())
    }

    /// A message, begun with its fixed part.
    pub(super) fn message(kind: u16, flags: u16, fixed: &[u8]) -> Bytes {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Bytes(bytes)
    }

    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Bytes {
        let length = u16::try_from(4 + value.len()).expect("no attribute here is long");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A string, with the NUL that the kernel wants.
    pub(super) fn text(self, kind: u16, value: &str) -> Bytes {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(self, kind: u16, inside: Bytes) -> Bytes {
        self.with(kind | NESTED, &inside.0)
    }

    /// The bytes after a fixed part of their own, for attributes that hold a whole message.
    pub(super) fn after(fixed: &[u8]) -> Bytes {
        Bytes(fixed.to_vec())
    }

    pub(super) fn inside(self) -> Vec<u8> {
        self.0
    }

    /// The finished message: its length and its number filled in.
    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("no message here is long");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

pub(super) struct Socket(OwnedFd);

impl Socket {
    /// `None` is the routing tables' protocol, number 0.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Socket> {
        Ok(Socket(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?))
    }

    /// Sends messages as one, and reads as many answers as were asked for: the first error, if there is one.
    pub(super) fn exchange(&self, messages: Vec<Bytes>) -> io::Result<()> {
        let mut wanted = 0;
        let mut all = Vec::new();
        for (sequence, message) in (1..).zip(messages) {
            let flags = u16::from_ne_bytes([message.0[6], message.0[7]]);
            wanted += usize::from(flags & ACKNOWLEDGE != 0);
            all.extend(message.finish(sequence));
        }
        send(&self.0, &all, SendFlags::empty())?;
        let mut first_error = Ok(());
        let mut buffer = vec![0; 16 * 1024];
        while wanted > 0 {
            let (count, _) = recv(&self.0, &mut buffer, RecvFlags::empty())?;
            for error in answers(buffer.get(..count).unwrap_or_default()) {
                wanted = wanted.saturating_sub(1);
                if error != 0 && first_error.is_ok() {
                    first_error = Err(io::Error::from_raw_os_error(error));
                }
            }
            // After an error some are answered no more.
            if first_error.is_err() {
                break;
            }
        }
        first_error
    }
}

/// The errnos of all acknowledgements in what was received.
fn answers(mut bytes: &[u8]) -> Vec<i32> {
    let mut errors = Vec::new();
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = bytes.get(HEADER..length.max(HEADER)).unwrap_or_default();
        if let (ERROR, Some(errno)) = (kind, body.first_chunk::<4>()) {
            errors.push(-i32::from_ne_bytes(*errno));
        }
        bytes = bytes.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    errors
}
