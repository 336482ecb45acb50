//! A runtime that is the test itself: it speaks HTTP with the agent byte by byte, well or badly.

use crate::gateway::{Gateway, PATIENCE, claim, code};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use tempfile::TempDir;
use warmpod_link::Claim;
use warmpod_link::control::InitOutcome;
use warmpod_link::worker::RuntimeSpec;

/// A bootstrap that says where the Runtime API is, and leaves the talking to the test.
pub const SILENT: &str = "#!/bin/sh\necho \"api=$AWS_LAMBDA_RUNTIME_API\"\nexec sleep 600\n";

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub struct Client {
    pub socket: TcpStream,
    bytes: Vec<u8>,
}

impl Client {
    pub fn connect(address: &str) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket, bytes: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub fn end_of_sending(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    pub fn request(&mut self, line: &str, headers: &str, body: &[u8]) -> Response {
        self.send(format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        self.send(body);
        self.response()
    }

    pub fn ask_next(&mut self) {
        self.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
    }

    pub fn next(&mut self) -> Response {
        self.ask_next();
        self.response()
    }

    /// Posts an answer for the request of `event`.
    pub fn post(&mut self, event: &Response, what: &str, headers: &str, body: &[u8]) -> Response {
        let id = event.header("Lambda-Runtime-Aws-Request-Id").unwrap();
        self.request(&format!("POST /2018-06-01/runtime/invocation/{id}/{what}"), headers, body)
    }

    /// The next response, whole.
    pub fn response(&mut self) -> Response {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.bytes[..end].to_vec()).unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .map_or(0, |length| length.parse::<usize>().unwrap());
                if self.bytes.len() >= end + 4 + length {
                    let body = self.bytes[end + 4..end + 4 + length].to_vec();
                    self.bytes.drain(..end + 4 + length);
                    return Response { status, head, body };
                }
            }
            let mut more = [0; 8 * 1024];
            let count = self.socket.read(&mut more).expect("a response");
            assert!(count > 0, "closed in the middle of a response: {:?}", String::from_utf8_lossy(&self.bytes));
            self.bytes.extend_from_slice(&more[..count]);
        }
    }

    /// The agent closes the connection, and says nothing more before.
    pub fn is_closed(&mut self) {
        let mut more = [0; 1024];
        let end = self.socket.read(&mut more);
        assert!(matches!(end, Ok(0) | Err(_)) && self.bytes.is_empty(), "{end:?}");
    }
}

/// A worker whose runtime is the test.
pub struct Silent {
    pub gateway: Gateway,
    pub address: String,
    /// Kept for as long as the worker may start its bootstrap again.
    _code: TempDir,
}

impl Silent {
    /// Claimed; the runtime has not called anything yet.
    pub fn starting(change: impl FnOnce(&mut Claim)) -> Silent {
        let code = code(&[("bootstrap", SILENT)]);
        let mut gateway = Gateway::start(RuntimeSpec::Provided);
        let mut claim = claim(code.path(), "handler");
        change(&mut claim);
        gateway.wait_for_warm();
        gateway.send(&warmpod_link::ToAgent::Claim(Box::new(claim)));
        let mut silent = Silent { gateway, address: String::new(), _code: code };
        silent.find_address();
        silent
    }

    /// Waits for a bootstrap to say where the API is.
    pub fn find_address(&mut self) {
        self.gateway.read_until("the API's address", |gateway| gateway.log_text().contains("api="));
        let text = self.gateway.log_text();
        let (_, rest) = text.split_once("api=").unwrap();
        self.address = rest.lines().next().unwrap().to_owned();
    }

    /// Ready: a client of the runtime waits in `next`.
    pub fn ready(change: impl FnOnce(&mut Claim)) -> (Silent, Client) {
        let mut silent = Silent::starting(change);
        let mut client = silent.client();
        client.ask_next();
        assert_eq!(silent.gateway.next_init().outcome, InitOutcome::Succeeded);
        (silent, client)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.address)
    }
}
