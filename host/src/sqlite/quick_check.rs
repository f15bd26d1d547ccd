//! `PRAGMA quick_check`, with a budget of its own in time and in growth of the write-ahead log.
//!
//! The one look that holds a read transaction for longer than the others, which is why it is told how far it may go.

use super::{
    HoldLimits, Registry, Trouble,
    snapshot::{Snapshot, text},
};
use crate::clock::Deadline;

/// How far a quick check may go. Its time is the deadline that it is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuickCheckLimits {
    /// Problems listed at most.
    pub max_problems: u32,
    /// Bytes that the write-ahead log may grow by meanwhile.
    pub max_wal_growth: u64,
}

/// What a quick check found, in SQLite's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The first problems; none when all is well.
    pub first: Vec<String>,
    /// Whether the list was cut there.
    pub may_be_more: bool,
}

impl Registry {
    /// Reads every page and checks that the structure holds.
    ///
    /// # Errors
    /// [`Trouble::OutOfTime`] or [`Trouble::WalGrew`] when a limit ended it, or any other trouble of reading.
    pub fn quick_check(&self, deadline: Deadline, limits: QuickCheckLimits) -> Result<Problems, Trouble> {
        let hold = HoldLimits { time: deadline.remaining(), wal_growth: limits.max_wal_growth };
        self.hold(hold, |snapshot| snapshot.quick_check(limits.max_problems))
    }
}

impl Snapshot<'_> {
    /// Reads every page and checks that the structure holds.
    ///
    /// # Errors
    /// Any [`Trouble`] of reading.
    pub fn quick_check(&self, max_problems: u32) -> Result<Problems, Trouble> {
        // One problem more than asked for tells whether there were more.
        let sql = format!("PRAGMA quick_check({})", max_problems.saturating_add(1));
        let rows = self.rows(&sql, [], |row| text(row, 0))?;
        // The problems of one b-tree come as lines of one row, under a heading.
        let lines = rows.iter().flat_map(|row| row.lines());
        let mut first: Vec<_> =
            lines.filter(|line| *line != "ok" && !line.starts_with("***")).map(str::to_owned).collect();
        let most = usize::try_from(max_problems).unwrap_or(usize::MAX);
        let may_be_more = first.len() > most;
        first.truncate(most);
        Ok(Problems { first, may_be_more })
    }
}
