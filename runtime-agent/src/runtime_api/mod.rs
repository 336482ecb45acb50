//! The HTTP server that a worker's runtime talks to: sockets, requests and answers of the Runtime API.
//!
//! Owns the listening socket and the connections. What a call means to the environment is the worker's to decide
//! (`worker.rs`); which call is allowed when is in `state.rs`. The function's bytes are parsed here and nowhere else.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

pub mod answer;
mod body;
mod connection;
pub mod request;
pub mod state;

pub use connection::{Call, Connection, Step, Wait};

use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

/// AWS's port, where the network is the worker's own.
const PORT: u16 = 9001;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// More connections than any runtime and its extensions open. Further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;

pub struct RuntimeApi {
    pub listener: OwnedFd,
    pub connections: Vec<Connection>,
    address: String,
}

impl RuntimeApi {
    /// Listens on AWS's port in a network of the worker's own, else on any free one.
    pub fn listen(own_network: bool) -> io::Result<RuntimeApi> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let port = if own_network { PORT } else { 0 };
        rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        rustix::net::listen(&listener, BACKLOG)?;
        let address = SocketAddrV4::try_from(rustix::net::getsockname(&listener)?)?.to_string();
        Ok(RuntimeApi { listener, connections: Vec::new(), address })
    }

    pub fn port(&self) -> u16 {
        self.address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(PORT)
    }

    /// `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Takes the connection that waits, if there is one.
    pub fn accept(&mut self) -> bool {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else { return false };
        if self.connections.len() < MAX_CONNECTIONS {
            // Only a matter of speed.
            let _ = sockopt::set_tcp_nodelay(&socket, true);
            self.connections.push(Connection::new(socket));
        }
        true
    }

    /// Forgets all connections, those that were not accepted yet too: their processes are gone.
    pub fn reset(&mut self) {
        for _ in 0..=BACKLOG {
            self.connections.clear();
            if !self.accept() {
                break;
            }
        }
        self.connections.clear();
    }

    /// Marks the connection that asked for the next event last; an older one is dropped, so that no event goes out twice.
    pub fn waits_for_event(&mut self, index: usize) -> usize {
        self.connections[index].set_wait(Wait::Event);
        let older = self.connections.iter().enumerate().position(|(i, c)| i != index && c.wait() == Wait::Event);
        match older {
            Some(older) => {
                self.connections.remove(older);
                index - usize::from(older < index)
            }
            None => index,
        }
    }

    /// Watches all connections for requests again.
    pub fn stop_resting(&mut self) {
        for connection in &mut self.connections {
            if connection.wait() == Wait::Nothing {
                connection.set_wait(Wait::Request);
            }
        }
    }

    /// The connection that waits for an event.
    pub fn waiting(&mut self) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.wait() == Wait::Event)
    }
}
