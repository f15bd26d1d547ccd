//! `PRAGMA quick_check`: whether the pages of a database fit together. A backup asks this of what it has just read.
//!
//! Does not compare indexes with their tables: `structure` does. Knows no budget, which belongs to whoever holds the transaction.

use super::{
    Trouble,
    snapshot::{Snapshot, text},
};

/// What a quick check found, in SQLite's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The first problems; none when all is well.
    pub first: Vec<String>,
    /// Whether the list was cut there.
    pub may_be_more: bool,
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
