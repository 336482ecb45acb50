//! One keep-alive connection: a request out, its answer in, checked.

use httparse::{EMPTY_HEADER, Response, Status};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

pub struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    sent_at: Instant,
    /// The last body that was found right: most answers are the same bytes.
    right: Vec<u8>,
}

#[derive(PartialEq)]
pub enum Progress {
    Partial,
    Answered,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Connection {
    pub fn open(address: &str) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, received: Vec::with_capacity(4096), sent_at: Instant::now(), right: Vec::new() })
    }

    /// When the request went out that is now answered.
    pub fn sent_at(&self) -> Instant {
        self.sent_at
    }

    pub fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        self.sent_at = Instant::now();
        self.socket.write_all(request)
    }

    /// Reads once. An answer that is not the event is an error.
    pub fn read(&mut self, event: &[u8]) -> Result<Progress, Box<dyn Error>> {
        let mut bytes = [0; 16 * 1024];
        let count = self.socket.read(&mut bytes)?;
        if count == 0 {
            return Err(format!("the server closed the connection after {:?}", self.text()).into());
        }
        self.received.extend_from_slice(&bytes[..count]);
        let mut headers = [EMPTY_HEADER; 64];
        let mut answer = Response::new(&mut headers);
        let Status::Complete(head) = answer.parse(&self.received)? else { return Ok(Progress::Partial) };
        let fine = answer.code == Some(200)
            && !answer.headers.iter().any(|header| header.name.eq_ignore_ascii_case("x-amz-function-error"));
        let body = match framing(answer.headers)? {
            Framing::Length(length) if self.received.len() < head + length => return Ok(Progress::Partial),
            Framing::Length(length) => self.received[head..head + length].to_vec(),
            Framing::Chunked => match chunks(&self.received[head..])? {
                Some(body) => body,
                None => return Ok(Progress::Partial),
            },
        };
        if !fine || !(body == self.right || is_same_json(&body, event)) {
            return Err(format!("a wrong answer: {:?}", self.text()).into());
        }
        self.right = body;
        self.received.clear();
        Ok(Progress::Answered)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, Box<dyn Error>> {
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            return Ok(Framing::Length(std::str::from_utf8(header.value)?.trim().parse()?));
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Framing::Chunked);
        }
    }
    Err("an answer has neither a length nor chunks".into())
}

/// The body of chunks; `None` while some are missing.
fn chunks(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(bytes).map_err(|_| "a chunk has no size")?;
        let Status::Complete((line, size)) = size else { return Ok(None) };
        let (line, size) = (line, size as usize);
        if bytes.len() < line + size + 2 {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&bytes[line..line + size]);
        bytes = &bytes[line + size + 2..];
    }
}

fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let parse = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    parse(one).is_some_and(|one| Some(one) == parse(other))
}
