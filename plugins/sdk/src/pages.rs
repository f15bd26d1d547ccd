//! Reading a whole table in pages, so that no query is long and no row is missed.
//!
//! [`Pages`] gives every row; [`Search`] counts the rows that meet a condition and gives only a few of them, which is
//! several times faster, since SQLite does the work and only those rows are copied into the component.
//!
//! Pages go by key (`WHERE key > last ORDER BY key LIMIT n`), never by offset. They grow while they fit, and a page that
//! runs into the host's time limit is asked for again at half its size. Each page is a read transaction of its own: rows
//! that are written meanwhile are seen when they sort behind the last key.

use crate::{
    Failure,
    registry::{self, Error, Rows, Value},
};

/// Rows in the first page: few, so that a condition that is slow shows early.
const FIRST_PAGE_ROWS: u32 = 500;

/// Rows in the largest page. The host cuts at 10,000 by default, and larger ones save little.
const LARGEST_PAGE_ROWS: u32 = 10_000;

/// A page of so few rows that still runs out of time would not fit by being halved again: an index is missing.
const SMALLEST_PAGE_ROWS: u32 = 64;

/// What to walk: `SELECT key, columns FROM table WHERE filter`, given as pieces of SQL.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The column to walk by. It must be unique and should be the primary key or have an index; `rowid` fits any
    /// ordinary table. Rows whose key is NULL are left out. It is column 0 of every row.
    pub key: String,
    /// The other columns, from column 1 on.
    pub columns: Vec<String>,
    /// The table.
    pub from: String,
    /// A condition that every row has to meet.
    pub filter: Option<String>,
}

/// Where a walk stands.
#[derive(Debug)]
struct Walk {
    scan: Scan,
    size: u32,
    largest: u32,
    last: Option<Value>,
    seen: u64,
    done: bool,
}

impl Walk {
    fn new(scan: Scan) -> Self {
        Self { scan, size: FIRST_PAGE_ROWS, largest: LARGEST_PAGE_ROWS, last: None, seen: 0, done: false }
    }

    /// Asks for the next page with the statement that `sql` makes of the rest of a SELECT, from `FROM` on.
    fn ask(&mut self, sql: impl Fn(&Scan, &str) -> String) -> Result<Rows, Failure> {
        loop {
            let Scan { key, from, filter, .. } = &self.scan;
            let filter = filter.as_ref().map(|filter| format!(" AND ({filter})")).unwrap_or_default();
            let mut params = vec![Value::from(self.size)];
            let start = if self.last.is_some() { "> ?2" } else { "IS NOT NULL" };
            params.extend(self.last.clone());
            let rest = format!("FROM {from} WHERE {key} {start}{filter} ORDER BY {key} LIMIT ?1");
            match registry::query_some(&sql(&self.scan, &rest), &params) {
                Ok(rows) => return Ok(rows),
                Err(Error::Limit(_)) if self.size > SMALLEST_PAGE_ROWS => {
                    self.size /= 2;
                    self.largest = self.size;
                }
                Err(Error::Limit(name)) => return Err(Failure::Other(self.too_slow(&name))),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Goes on behind a page of so many rows that ended with `last`.
    fn step(&mut self, rows: u64, last: Value, truncated: bool) {
        self.done = !truncated && rows < u64::from(self.size);
        self.seen += rows;
        self.last = Some(last);
        self.size = self.size.saturating_mul(2).min(self.largest);
    }

    fn too_slow(&self, limit: &str) -> String {
        let Self { scan: Scan { key, from, .. }, size, .. } = self;
        format!(
            "{size} rows of {from} by {key} ran into the limit `plugins[].limits.{limit}`: \
             give the columns that are compared an index, or raise the limit"
        )
    }
}

macro_rules! progress {
    () => {
        /// The same walk in pages of so many rows.
        #[must_use]
        pub fn of_rows(mut self, rows: u32) -> Self {
            self.walk.size = rows.max(1);
            self.walk.largest = self.walk.size;
            self
        }

        /// How many rows were looked at so far.
        #[must_use]
        pub fn seen(&self) -> u64 {
            self.walk.seen
        }

        /// Whether every row was looked at.
        #[must_use]
        pub fn finished(&self) -> bool {
            self.walk.done
        }

        /// The key of the last row that was looked at.
        #[must_use]
        pub fn last_key(&self) -> Option<&Value> {
            self.walk.last.as_ref()
        }
    };
}

/// A walk that gives every row.
#[derive(Debug)]
pub struct Pages {
    walk: Walk,
}

impl Pages {
    /// Starts before the first row.
    #[must_use]
    pub fn new(scan: Scan) -> Self {
        Self { walk: Walk::new(scan) }
    }

    progress!();

    /// The next page, or `None` after the last. A page is never empty.
    ///
    /// # Errors
    /// What the query failed with; [`Failure::Other`] when even a page of few rows runs into a limit.
    pub fn next_page(&mut self) -> Result<Option<Rows>, Failure> {
        if self.walk.done {
            return Ok(None);
        }
        let rows = self.walk.ask(|scan, rest| format!("SELECT {} {rest}", list(scan)))?;
        let Some(last) = rows.rows.last().and_then(|row| row.first()) else {
            if rows.truncated {
                let message = format!("one row of {} is larger than the limit `sqlBytes`", self.walk.scan.from);
                return Err(Failure::Other(message));
            }
            self.walk.done = true;
            return Ok(None);
        };
        self.walk.step(rows.len() as u64, last.clone(), rows.truncated);
        Ok(Some(rows))
    }
}

/// A walk that counts the rows that meet a condition, and gives the first few of them.
#[derive(Debug)]
pub struct Search {
    walk: Walk,
    condition: String,
    most: u32,
    listed: u32,
    found: u64,
}

impl Search {
    /// Starts before the first row. Of the rows that meet `condition`, `most` are given and the others counted.
    #[must_use]
    pub fn new(scan: Scan, condition: impl Into<String>, most: u32) -> Self {
        Self { walk: Walk::new(scan), condition: condition.into(), most, listed: 0, found: 0 }
    }

    progress!();

    /// How many rows met the condition so far.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Looks at the next page: the rows of it that meet the condition, most often none. `None` after the last page.
    ///
    /// # Errors
    /// What the query failed with; [`Failure::Other`] when even a page of few rows runs into a limit.
    pub fn next_page(&mut self) -> Result<Option<Rows>, Failure> {
        if self.walk.done {
            return Ok(None);
        }
        let condition = &self.condition;
        let rows = self.walk.ask(|Scan { key, .. }, rest| {
            format!("SELECT max(k), count(*), coalesce(sum(b), 0) FROM (SELECT {key} AS k, ({condition}) IS TRUE AS b {rest})")
        })?;
        let row = rows.first()?;
        let [rows, found] = [1, 2].map(|column| row.integer(column).ok().and_then(|count| u64::try_from(count).ok()));
        let (Some(rows), Some(found)) = (rows, found) else {
            return Err(Failure::Other("a count is not a number".to_owned()));
        };
        let last = row.value(0)?.clone();
        if rows == 0 {
            self.walk.done = true;
            return Ok(None);
        }
        let before = self.walk.last.replace(last.clone());
        self.walk.step(rows, last.clone(), false);
        self.found += found;
        self.list(found, before, last).map(Some)
    }

    /// The rows between two keys that meet the condition, as many as may still be given.
    fn list(&mut self, found: u64, before: Option<Value>, last: Value) -> Result<Rows, Failure> {
        let left = self.most - self.listed;
        if found == 0 || left == 0 {
            return Ok(Rows { columns: Vec::new(), rows: Vec::new(), truncated: false });
        }
        let Scan { key, from, filter, .. } = &self.walk.scan;
        let filter = filter.as_ref().map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        let start = if before.is_some() { format!("{key} > ?3 AND ") } else { String::new() };
        let sql = format!(
            "SELECT {} FROM {from} WHERE {start}{key} <= ?2{filter} AND ({}) ORDER BY {key} LIMIT ?1",
            list(&self.walk.scan),
            self.condition
        );
        let mut params = vec![Value::from(left), last];
        params.extend(before);
        let rows = registry::query_some(&sql, &params)?;
        self.listed += u32::try_from(rows.len()).unwrap_or(left).min(left);
        Ok(rows)
    }
}

fn list(scan: &Scan) -> String {
    let columns: String = scan.columns.iter().map(|column| format!(", {column}")).collect();
    format!("{}{columns}", scan.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Database;

    fn scan(filter: Option<&str>) -> Scan {
        Scan { key: "id".into(), columns: vec!["name".into()], from: "t".into(), filter: filter.map(str::to_owned) }
    }

    fn database() -> Database {
        Database::new(
            "CREATE TABLE t(id TEXT, name TEXT);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 25)
             INSERT INTO t SELECT printf('%03d', i), 'n' || i FROM n;
             INSERT INTO t VALUES(NULL, 'no key'), ('', 'empty');",
        )
    }

    fn walk(mut pages: Pages) -> (Vec<String>, Vec<usize>) {
        let (mut keys, mut sizes) = (Vec::new(), Vec::new());
        while let Some(page) = pages.next_page().unwrap() {
            sizes.push(page.len());
            keys.extend(page.iter().map(|row| row.text(0).unwrap().to_owned()));
        }
        assert_eq!(pages.seen() as usize, keys.len());
        (keys, sizes)
    }

    #[test]
    fn every_row_with_a_key_comes_once_and_in_order() {
        database().with(|| {
            let (keys, sizes) = walk(Pages::new(scan(None)).of_rows(10));
            assert_eq!(sizes, [10, 10, 6]);
            assert_eq!((keys[0].as_str(), keys[25].as_str()), ("", "025"));
            assert!(keys.is_sorted());
        });
    }

    #[test]
    fn a_truncated_page_is_continued_from_its_last_row() {
        database().rows_per_query(4).with(|| {
            let (keys, sizes) = walk(Pages::new(scan(None)).of_rows(10));
            assert_eq!((keys.len(), sizes), (26, vec![4, 4, 4, 4, 4, 4, 2]));
        });
    }

    #[test]
    fn a_page_that_runs_out_of_time_is_halved() {
        database().rows_in_time(100).with(|| {
            let (keys, sizes) = walk(Pages::new(scan(Some("name <> 'n7'"))));
            assert_eq!((keys.len(), sizes), (25, vec![25]));
        });
    }

    #[test]
    fn a_key_without_an_index_is_named_when_time_runs_out() {
        database().rows_in_time(10).with(|| {
            let failure = Pages::new(scan(None)).next_page().unwrap_err();
            assert!(matches!(failure, Failure::Other(text) if text.contains("limits.sqlTimeMs`: give the columns")));
        });
    }

    #[test]
    fn pages_grow_while_they_fit() {
        let mut walk = Walk::new(scan(None));
        walk.step(500, Value::Null, false);
        walk.step(1000, Value::Null, false);
        assert_eq!((walk.size, walk.done), (2000, false));
        walk.step(1999, Value::Null, false);
        assert_eq!((walk.seen, walk.done), (3499, true));
    }

    fn search(condition: &str, most: u32, size: u32) -> (Vec<String>, u64, u64) {
        let mut search = Search::new(scan(None), condition, most).of_rows(size);
        let mut keys = Vec::new();
        while let Some(page) = search.next_page().unwrap() {
            keys.extend(page.iter().map(|row| row.text(0).unwrap().to_owned()));
        }
        assert!(search.finished());
        (keys, search.found(), search.seen())
    }

    #[test]
    fn a_search_gives_a_few_and_counts_all() {
        database().with(|| {
            for size in [1, 4, 26, 100] {
                let (keys, found, seen) = search("name LIKE 'n1%'", 3, size);
                assert_eq!((keys, found, seen), (vec!["001".into(), "010".into(), "011".into()], 11, 26));
            }
            assert_eq!(search("name IS NULL OR NULL", 3, 10), (vec![], 0, 26));
            assert_eq!(search("id = ''", 3, 10), (vec![String::new()], 1, 26));
        });
    }

    #[test]
    fn an_empty_table_has_no_page() {
        database().with(|| assert_eq!(walk(Pages::new(scan(Some("0")))), (vec![], vec![])));
    }
}
