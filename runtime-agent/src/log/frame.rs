//! The frames that managed runtimes write to `_LAMBDA_TELEMETRY_LOG_FD`: one frame, one log event.
//!
//! ```text
//!  type u32 | length u32 | microseconds since the epoch u64 | length bytes        all big-endian
//! ```
//!
//! The writer is the function: a length may say anything, so no more than one event's limit is ever kept, and bytes
//! that are no frame are taken for text.

use super::output::MAX_EVENT;
use crate::buffer::Incoming;
use crate::clock::WallTime;

const HEAD: usize = 16;
/// What every frame's type begins with.
const MAGIC: [u8; 2] = [0xa5, 0x5a];
/// A frame's own time counts only if it lies this close to ours, milliseconds.
const PLAUSIBLE: u64 = 60_000;

#[derive(Default)]
pub struct Frames {
    /// What is still to come of the frame that has begun.
    missing: usize,
    time: u64,
    event: Vec<u8>,
}

impl Frames {
    /// Takes what was read and gives the events that are complete.
    pub fn take(&mut self, incoming: &mut Incoming, now: WallTime, mut give: impl FnMut(WallTime, Vec<u8>)) {
        loop {
            let data = incoming.data();
            if self.missing > 0 {
                let here = data.len().min(self.missing).min(MAX_EVENT - self.event.len());
                if here == 0 {
                    return;
                }
                self.event.extend_from_slice(&data[..here]);
                incoming.consume(here);
                self.missing -= here;
                if self.missing == 0 || self.event.len() == MAX_EVENT {
                    give(WallTime(self.time), std::mem::take(&mut self.event));
                }
                continue;
            }
            let Some(head) = data.first_chunk::<HEAD>() else { return };
            if head[..2] != MAGIC {
                give(now, data.to_vec());
                incoming.consume(data.len());
                return;
            }
            let [_, _, _, _, l0, l1, l2, l3, time @ ..] = *head;
            let millis = u64::from_be_bytes(time) / 1000;
            self.time = if millis.abs_diff(now.0) < PLAUSIBLE { millis } else { now.0 };
            self.missing = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            incoming.consume(HEAD);
        }
    }

    /// The writer is gone: what it left unfinished.
    pub fn end(&mut self) -> Option<Vec<u8>> {
        self.missing = 0;
        (!self.event.is_empty()).then(|| std::mem::take(&mut self.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    const NOW: WallTime = WallTime(1_762_161_153_123);

    fn frame(kind: u32, time_us: u64, text: &[u8]) -> Vec<u8> {
        let head = [&kind.to_be_bytes()[..], &(text.len() as u32).to_be_bytes(), &time_us.to_be_bytes()];
        [&head.concat()[..], text].concat()
    }

    fn events(bytes: &[u8], step: usize) -> Vec<(u64, Vec<u8>)> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        let (mut frames, mut incoming, mut events) = (Frames::default(), Incoming::default(), Vec::new());
        for piece in bytes.chunks(step) {
            rustix::io::write(&writer, piece).unwrap();
            incoming.fill(&reader, 0);
            frames.take(&mut incoming, NOW, |time, event| events.push((time.0, event)));
        }
        events.extend(frames.end().map(|event| (0, event)));
        events
    }

    #[test]
    fn one_frame_is_one_event_with_its_own_time() {
        let bytes =
            [frame(0xa55a_0003, (NOW.0 - 5) * 1000, b"a\nb"), frame(0xa55a_0017, NOW.0 * 1000 + 999, b"\xff")].concat();
        for step in 1..bytes.len() {
            assert_eq!(events(&bytes, step), [(NOW.0 - 5, b"a\nb".to_vec()), (NOW.0, b"\xff".to_vec())]);
        }
    }

    #[test]
    fn lies_about_length_and_time_cost_nothing() {
        let huge = [&frame(0xa55a_0003, u64::MAX, b"")[..4], &u32::MAX.to_be_bytes(), &[0xff; 8], &[b'x'; 9]].concat();
        assert_eq!(events(&huge, 100), [(0, vec![b'x'; 9])]);
        let endless = [huge, vec![b'y'; 3 * MAX_EVENT]].concat();
        let cut = events(&endless, 4096);
        assert!(cut.iter().all(|(_, event)| event.len() <= MAX_EVENT));
        assert_eq!(cut.iter().map(|(_, event)| event.len()).sum::<usize>(), 9 + 3 * MAX_EVENT);
    }

    #[test]
    fn bytes_that_are_no_frame_are_text() {
        assert_eq!(events(b"plain text, not a frame\n", 100), [(NOW.0, b"plain text, not a frame\n".to_vec())]);
    }
}
