//! A request's body as it arrives: by length or in chunks, never more of it in memory than the limit.
//!
//! A body by length stays where it was read; chunks are put together. Of a body over the limit the rest is read and
//! dropped, so that the client gets to reading the answer.

use super::request::Framing;
use crate::buffer::Incoming;

/// The longest line that says a chunk's size, and the longest trailer line, bytes.
const MAX_LINE: usize = 8 * 1024;
/// What is read at a time of a body whose length says nothing, bytes.
const PIECE: usize = 64 * 1024;

pub struct Body {
    kind: Kind,
    limit: usize,
    oversized: bool,
}

enum Kind {
    /// Waits in the connection's buffer.
    Whole(usize),
    /// Over the limit: so many bytes are still to be dropped.
    Dropped(u64),
    Chunks {
        next: Chunk,
        bytes: Vec<u8>,
    },
}

#[derive(Clone, Copy)]
enum Chunk {
    Size,
    Data(u64),
    /// The line break after a chunk's data.
    End,
    Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Missing,
    Complete,
    Malformed,
}

impl Body {
    pub fn new(framing: Framing, limit: usize) -> Body {
        let (kind, oversized) = match framing {
            Framing::Length(length) if length > limit as u64 => (Kind::Dropped(length), true),
            Framing::Length(length) => (Kind::Whole(length as usize), false),
            Framing::Chunked => (Kind::Chunks { next: Chunk::Size, bytes: Vec::new() }, false),
        };
        Body { kind, limit, oversized }
    }

    /// Bytes that the next read should have room for: as many again as have come, since a length is only a promise.
    pub fn wanted(&self, incoming: &Incoming) -> usize {
        match &self.kind {
            Kind::Whole(length) => {
                let here = incoming.data().len();
                length.saturating_sub(here).min(here.max(PIECE))
            }
            Kind::Dropped(_) | Kind::Chunks { .. } => PIECE,
        }
    }

    pub fn is_oversized(&self) -> bool {
        self.oversized
    }

    /// The bytes of a complete body that is not over the limit.
    pub fn bytes<'a>(&'a self, incoming: &'a Incoming) -> &'a [u8] {
        match &self.kind {
            Kind::Whole(length) => incoming.data().get(..*length).unwrap_or_default(),
            Kind::Dropped(_) => &[],
            Kind::Chunks { bytes, .. } => bytes,
        }
    }

    /// Takes a complete body off the connection's buffer.
    pub fn finish(self, incoming: &mut Incoming) {
        if let Kind::Whole(length) = self.kind {
            incoming.consume(length);
        }
    }

    pub fn advance(&mut self, incoming: &mut Incoming) -> Progress {
        match &mut self.kind {
            Kind::Whole(length) if incoming.data().len() >= *length => Progress::Complete,
            Kind::Whole(_) => Progress::Missing,
            Kind::Dropped(left) => {
                let here = incoming.data().len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                incoming.consume(here);
                *left -= here as u64;
                if *left == 0 { Progress::Complete } else { Progress::Missing }
            }
            Kind::Chunks { .. } => self.advance_chunks(incoming),
        }
    }

    fn advance_chunks(&mut self, incoming: &mut Incoming) -> Progress {
        let Kind::Chunks { next, bytes } = &mut self.kind else { return Progress::Malformed };
        loop {
            let data = incoming.data();
            match *next {
                Chunk::Size => match httparse::parse_chunk_size(data) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        incoming.consume(line);
                        *next = if size == 0 { Chunk::Trailers } else { Chunk::Data(size) };
                    }
                    Ok(httparse::Status::Partial) if data.len() < MAX_LINE => return Progress::Missing,
                    _ => return Progress::Malformed,
                },
                Chunk::Data(left) => {
                    if data.is_empty() {
                        return Progress::Missing;
                    }
                    let here = data.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if self.oversized || bytes.len() + here > self.limit {
                        self.oversized = true;
                        *bytes = Vec::new();
                    } else {
                        bytes.extend_from_slice(&data[..here]);
                    }
                    incoming.consume(here);
                    let left = left - here as u64;
                    *next = if left == 0 { Chunk::End } else { Chunk::Data(left) };
                }
                Chunk::End => match data {
                    [b'\r', b'\n', ..] => {
                        incoming.consume(2);
                        *next = Chunk::Size;
                    }
                    [] | [b'\r'] => return Progress::Missing,
                    _ => return Progress::Malformed,
                },
                Chunk::Trailers => match data.iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        let empty = matches!(&data[..end], b"" | b"\r");
                        incoming.consume(end + 1);
                        if empty {
                            return Progress::Complete;
                        }
                    }
                    None if data.len() < MAX_LINE => return Progress::Missing,
                    None => return Progress::Malformed,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    /// What becomes of a body whose bytes come in pieces of `step`.
    fn read(framing: Framing, limit: usize, bytes: &[u8], step: usize) -> (Progress, Option<Vec<u8>>, Vec<u8>) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let (mut body, mut incoming, mut progress) =
            (Body::new(framing, limit), Incoming::default(), Progress::Missing);
        for piece in bytes.chunks(step) {
            rustix::io::write(&there, piece).unwrap();
            incoming.fill(&here, 0);
            if progress == Progress::Missing {
                progress = body.advance(&mut incoming);
            }
        }
        let whole = (!body.is_oversized()).then(|| body.bytes(&incoming).to_vec());
        body.finish(&mut incoming);
        (progress, whole, incoming.data().to_vec())
    }

    #[test]
    fn chunks_are_put_together_however_they_arrive() {
        let bytes = b"4\r\nWiki\r\n6;ext=1\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET next";
        for step in 1..bytes.len() {
            let (progress, body, rest) = read(Framing::Chunked, 100, bytes, step);
            assert_eq!(progress, Progress::Complete);
            assert_eq!(body.as_deref(), Some(&b"Wikipedia in \r\n\r\nchunks."[..]));
            assert_eq!(rest, b"GET next");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_read_to_its_end_and_dropped() {
        assert_eq!(read(Framing::Length(8), 8, b"12345678GET", 3).1.as_deref(), Some(&b"12345678"[..]));
        for (framing, bytes) in
            [(Framing::Length(9), &b"123456789GET"[..]), (Framing::Chunked, b"8\r\n12345678\r\n1\r\n9\r\n0\r\n\r\nGET")]
        {
            assert_eq!(read(framing, 8, bytes, 5), (Progress::Complete, None, b"GET".to_vec()));
        }
    }

    #[test]
    fn broken_chunks_are_malformed() {
        for bytes in [&b"x\r\n"[..], b"4\r\nWikiX", b"ffffffffffffffffff\r\n", b"-1\r\n"] {
            assert_eq!(read(Framing::Chunked, 100, bytes, 100).0, Progress::Malformed, "{bytes:?}");
        }
        assert_eq!(read(Framing::Chunked, 100, &[b'0'; MAX_LINE], MAX_LINE).0, Progress::Malformed);
        assert_eq!(read(Framing::Chunked, 100, b"4\r\nWi", 100).0, Progress::Missing);
    }
}
