//! Where one log event ends and the next begins in what processes write to standard output and standard error.
//!
//! The pipe is in packet mode, so that a read brings what one write brought. A write that ends in a newline ends an
//! event (`print` in Python is two writes, the second of them a newline); text without one waits a moment for the rest.
//!
//! <https://man7.org/linux/man-pages/man2/pipe.2.html>, `O_DIRECT`.

use crate::clock::Moment;
use std::time::Duration;

/// The longest event in bytes; longer ones are cut.
pub const MAX_EVENT: usize = 256 * 1024;
/// The longest packet in bytes: a longer write comes as several.
pub const PACKET: usize = 4096;
/// How long an unfinished line waits for its end.
const HOLD: Duration = Duration::from_millis(20);

#[derive(Default)]
pub struct Output {
    held: Vec<u8>,
    since: Option<Moment>,
}

impl Output {
    /// Takes what a read brought. Gives the event that it completes, if it does.
    pub fn packet(&mut self, bytes: &[u8], now: Moment) -> Option<Vec<u8>> {
        self.held.extend_from_slice(bytes);
        self.since = Some(now);
        if bytes.ends_with(b"\n") && bytes.len() < PACKET {
            return self.take();
        }
        if self.held.len() < MAX_EVENT {
            return None;
        }
        // Better a cut between lines than within one.
        let cut = self.held.iter().rposition(|byte| *byte == b'\n').map_or(self.held.len(), |at| at + 1);
        let rest = self.held.split_off(cut);
        Some(std::mem::replace(&mut self.held, rest))
    }

    /// When an unfinished event goes out as it is.
    pub fn due(&self) -> Option<Moment> {
        self.since.map(|since| since + HOLD)
    }

    /// The unfinished event.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.since = None;
        (!self.held.is_empty()).then(|| std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    fn events(packets: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut output, now) = (Output::default(), Now::read().at);
        let mut events: Vec<_> = packets.iter().filter_map(|packet| output.packet(packet, now)).collect();
        events.extend(output.take());
        events
    }

    #[test]
    fn a_write_that_ends_in_a_newline_is_one_event() {
        assert_eq!(events(&[b"a\nb", b"\n", b"c\n"]), [&b"a\nb\n"[..], b"c\n"]);
        assert_eq!(events(&[b"no end"]), [b"no end"]);
    }

    #[test]
    fn a_long_write_is_put_together_and_an_endless_one_is_cut_between_lines() {
        let block = [[b'x'; PACKET - 1].as_slice(), b"\n"].concat();
        assert_eq!(events(&[&block, b"end\n"]), [[block.as_slice(), b"end\n"].concat()]);
        let endless = vec![block.as_slice(); 3 * MAX_EVENT / PACKET];
        let cut = events(&endless);
        assert!(cut.len() == 3 && cut.iter().all(|event| event.len() <= MAX_EVENT && event.ends_with(b"\n")));
    }
}
