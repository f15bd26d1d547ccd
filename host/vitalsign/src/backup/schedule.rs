//! The schedule of automatic backups: cron syntax, in UTC.
//!
//! The only file that knows the library for it. Waits for nothing.

use std::{fmt, str::FromStr};

use croner::Cron;
use jiff::{Timestamp, tz::TimeZone};

use vitalsign_base::value::printable;

/// A schedule such as `15 3 * * *` (at 3:15 every day), in UTC.
#[derive(Clone, Debug)]
pub struct CronSchedule {
    written: String,
    cron: Cron,
}

/// Why a text is not a [`CronSchedule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid schedule: {1}; for example, `15 3 * * *` means 3:15 every day, in UTC")]
pub struct BadCronSchedule(String, String);

impl CronSchedule {
    /// Parses cron syntax: minute, hour, day of the month, month, day of the week.
    ///
    /// # Errors
    /// [`BadCronSchedule`] for any other text, and for a schedule that never comes.
    pub fn parse(text: &str) -> Result<Self, BadCronSchedule> {
        let bad = |why: String| BadCronSchedule(printable(text, 80), why);
        let cron = Cron::from_str(text).map_err(|error| bad(error.to_string()))?;
        let schedule = Self { written: text.to_owned(), cron };
        schedule.next(Timestamp::UNIX_EPOCH).ok_or_else(|| bad("it never comes due".to_owned()))?;
        Ok(schedule)
    }

    /// The first time after `now`; `None` when there is none within the library's reach of some thousand years.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_zoned(TimeZone::UTC);
        self.cron.find_next_occurrence(&now, false).ok().map(|next| next.timestamp())
    }
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for CronSchedule {}

impl fmt::Display for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_in_utc_and_never_now() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let nightly = CronSchedule::parse("15 3 * * *").unwrap();
        assert_eq!(nightly.next(at("2026-11-24T03:14:59Z")), Some(at("2026-11-24T03:15:00Z")));
        assert_eq!(nightly.next(at("2026-11-24T03:15:00Z")), Some(at("2026-11-25T03:15:00Z")));
        assert_eq!(nightly.to_string(), "15 3 * * *");
        for good in ["@daily", "*/5 * * * *", "0 3 * * MON-FRI", "* * * * * *"] {
            assert!(CronSchedule::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "15 3", "61 * * * *", "x * * * *", "0 0 31 2 *"] {
            assert!(CronSchedule::parse(bad).is_err(), "{bad}");
        }
    }
}
