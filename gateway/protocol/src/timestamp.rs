//! A moment, in the forms in which AWS's APIs write it. Reading the clock is the caller's.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// Milliseconds since 1970, within the years 0 to 9999. In JSON: seconds with a fraction, rest-json's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    const EARLIEST: i64 = -62_167_219_200_000;
    const LATEST: i64 = 253_402_300_799_999;

    /// A moment outside of those years becomes the nearest one inside.
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis.clamp(Timestamp::EARLIEST, Timestamp::LATEST))
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// `2025-11-03T09:12:33.123+0000`, as Lambda's LastModified.
    pub fn iso8601(self) -> String {
        self.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000"))
    }

    /// `20251103T091233Z`, as signatures have it.
    pub fn basic(self) -> String {
        self.format(format_description!("[year][month][day]T[hour][minute][second]Z"))
    }

    fn format(self, format: StaticFormatDescription) -> String {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000);
        moment.expect("years are clamped").format(format).expect("the formats name parts of a date")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_lambda_and_signatures_do() {
        let moment = Timestamp::from_millis(1_762_161_153_123);
        assert_eq!(moment.iso8601(), "2025-11-03T09:12:33.123+0000");
        assert_eq!(moment.basic(), "20251103T091233Z");
        assert_eq!(serde_json::to_string(&moment).unwrap(), "1762161153.123");
        assert_eq!(serde_json::from_str::<Timestamp>("1762161153.123").unwrap(), moment);
    }

    #[test]
    fn no_moment_is_out_of_range() {
        assert_eq!(Timestamp::from_millis(i64::MAX).iso8601(), "9999-12-31T23:59:59.999+0000");
        assert_eq!(Timestamp::from_millis(i64::MIN).iso8601(), "0000-01-01T00:00:00.000+0000");
    }
}
