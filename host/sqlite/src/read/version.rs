//! The SQLite library that wrote a database last, and whether it can lose what it writes.
//!
//! Bytes 96 to 99 of the header hold its version as a number, the high byte first: 3051002 for 3.51.2.

use std::fmt;

use crate::{Database, Error, READ_BUDGET, connection::open::ReadConnection, connection::watchdog::ReadLimit};
use vitalsign_base::clock::Deadline;

/// The version of the SQLite library in this binary, such as `3.54.1`.
#[must_use]
pub fn linked_version() -> &'static str {
    rusqlite::version()
}

/// A version of SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// Whether it can lose committed pages in WAL mode, when one connection resets the log while another writes to it.
    ///
    /// SQLite has the fault since it has WAL mode, 3.7.0, and corrected it in 3.51.3, 3.50.7 and 3.44.6
    /// (<https://sqlite.org/wal.html>, *The WAL-reset bug*).
    #[must_use]
    pub fn has_wal_reset_fault(self) -> bool {
        let corrected = [3_044_006..=3_044_999, 3_050_007..=3_050_999].iter().any(|patches| patches.contains(&self.0));
        (3_007_000..=3_051_002).contains(&self.0) && !corrected
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 1_000_000, self.0 / 1000 % 1000, self.0 % 1000)
    }
}

impl Database {
    /// The version that last wrote to the file of the database; `None` where its header names none that makes sense.
    ///
    /// What lies in a write-ahead log may come from another one: it counts once it is written back.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn last_writer(&self) -> Result<Option<Version>, Error> {
        let open = ReadConnection::private(self.path(), self.path())?;
        open.limiter.arm(ReadLimit { until: Deadline::after(READ_BUDGET), wal: None });
        let sql = "SELECT substr(data, 97, 4) FROM sqlite_dbpage WHERE pgno = 1";
        let bytes = open.conn.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0));
        let bytes = bytes.map_err(|error| Error::of(self.path(), &error, READ_BUDGET))?;
        let number = bytes.try_into().ok().map(u32::from_be_bytes);
        Ok(number.filter(|number| (3_000_000..4_000_000).contains(number)).map(Version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{linked_version, testing::Scene};

    #[test]
    fn versions_with_the_fault() {
        for (number, shown, has) in [
            (3_006_023, "3.6.23", false),
            (3_007_000, "3.7.0", true),
            (3_040_001, "3.40.1", true),
            (3_044_005, "3.44.5", true),
            (3_044_006, "3.44.6", false),
            (3_045_000, "3.45.0", true),
            (3_050_004, "3.50.4", true),
            (3_050_006, "3.50.6", true),
            (3_050_007, "3.50.7", false),
            (3_051_000, "3.51.0", true),
            (3_051_002, "3.51.2", true),
            (3_051_003, "3.51.3", false),
            (3_054_001, "3.54.1", false),
        ] {
            assert_eq!((Version(number).to_string().as_str(), Version(number).has_wal_reset_fault()), (shown, has));
        }
    }

    #[test]
    fn the_last_writer_stands_in_the_header() {
        for mode in ["wal", "delete"] {
            let scene = Scene::with(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(a)"));
            let found = scene.unchanged(|registry| registry.last_writer());
            assert_eq!(found.unwrap().unwrap().to_string(), linked_version());
        }
    }
}
