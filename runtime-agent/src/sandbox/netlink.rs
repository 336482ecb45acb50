//! Requests to the kernel's routing tables (rtnetlink), as few as a worker's network needs.
//! <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;
use std::os::fd::OwnedFd;

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const UP: u32 = 1;

pub(super) struct Route {
    socket: OwnedFd,
}

impl Route {
    pub(super) fn open() -> io::Result<Route> {
        // NETLINK_ROUTE is protocol 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Route { socket })
    }

    /// Brings a link up.
    pub(super) fn up(&mut self, index: u32) -> io::Result<()> {
        self.request(NEW_LINK, 0, &link_message(index, UP, UP))
    }

    /// Sends one request and reads the kernel's answer to it.
    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | ACKNOWLEDGE | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (count, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        match answer.get(..count) {
            Some([_, _, _, _, low, high, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..])
                if u16::from_ne_bytes([*low, *high]) == ERROR =>
            {
                match i32::from_ne_bytes([*a, *b, *c, *d]) {
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(-errno)),
                }
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// struct ifinfomsg.
fn link_message(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    for field in [index, flags, change] {
        message.extend(field.to_ne_bytes());
    }
    message
}
