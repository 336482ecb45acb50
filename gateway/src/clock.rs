//! Wall time, read in one place. Durations are measured with tokio's clock, never with this.

use std::time::{SystemTime, UNIX_EPOCH};
use warmpod_protocol::Timestamp;

/// A moment of the machine's calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall {
    /// Since 1970, milliseconds.
    pub millis: i64,
}

pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall { millis: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) }
}

impl Wall {
    /// `2025-11-03T09:12:33.123+0000`
    pub fn last_modified(self) -> String {
        Timestamp::from_millis(self.millis).iso8601()
    }

    /// `2025/11/03`, as log streams begin.
    pub fn date_path(self) -> String {
        self.last_modified()[..10].replace('-', "/")
    }
}
