//! Walking a whole table in pages, so that no query is long and none is cut off unseen.
//!
//! Pages go by key (`WHERE key > last ORDER BY key LIMIT n`), never by offset. A page that runs into the host's time limit
//! is asked for again at half its size. Each page is a read transaction of its own: rows that are written meanwhile are
//! seen when they sort behind the last key.

use crate::{
    Failure,
    registry::{self, Error, Rows, Value},
};

/// Rows in the first page. Larger ones save little, and the host cuts them at 10,000 rows by default.
const FIRST_PAGE_ROWS: u32 = 10_000;

/// A page of so few rows that runs out of time will not fit by being halved: the key has no index.
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

/// A walk in progress.
#[derive(Debug)]
pub struct Pages {
    scan: Scan,
    size: u32,
    last: Option<Value>,
    seen: u64,
    done: bool,
}

impl Pages {
    /// Starts before the first row.
    #[must_use]
    pub fn new(scan: Scan) -> Self {
        Self { scan, size: FIRST_PAGE_ROWS, last: None, seen: 0, done: false }
    }

    /// The same walk in pages of so many rows at most.
    #[must_use]
    pub fn of_rows(mut self, size: u32) -> Self {
        self.size = size.max(1);
        self
    }

    /// The next page, or `None` after the last. A page is never empty.
    ///
    /// # Errors
    /// What the query failed with. A page of few rows that still runs into a limit is an error that names it.
    pub fn next_page(&mut self) -> Result<Option<Rows>, Failure> {
        while !self.done {
            let (sql, params) = self.statement();
            let rows = match registry::query(&sql, &params) {
                Ok(rows) => rows,
                Err(Error::Limit(name)) if self.size > SMALLEST_PAGE_ROWS => {
                    crate::log::debug(format_args!("a page of {} rows ran into `{name}`; halving it", self.size));
                    self.size /= 2;
                    continue;
                }
                Err(Error::Limit(name)) => return Err(self.too_slow(&name)),
                Err(error) => return Err(error.into()),
            };
            let Some(last) = rows.rows.last().and_then(|row| row.first()) else {
                if rows.truncated {
                    return Err(Failure::Other(format!(
                        "one row of {} is larger than the limit `sqlBytes`",
                        self.scan.from
                    )));
                }
                self.done = true;
                break;
            };
            self.last = Some(last.clone());
            self.seen += rows.len() as u64;
            self.done = !rows.truncated && rows.len() < self.size as usize;
            return Ok(Some(rows));
        }
        Ok(None)
    }

    /// How many rows the pages had so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether every row was seen.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.done
    }

    /// The key of the last row so far.
    #[must_use]
    pub fn last_key(&self) -> Option<&Value> {
        self.last.as_ref()
    }

    fn statement(&self) -> (String, Vec<Value>) {
        let Scan { key, columns, from, filter } = &self.scan;
        let columns: String = columns.iter().map(|column| format!(", {column}")).collect();
        let filter = filter.as_ref().map(|filter| format!(" AND ({filter})")).unwrap_or_default();
        let size = Value::from(self.size);
        let (from_key, params) = match &self.last {
            None => (format!("{key} IS NOT NULL"), vec![size]),
            Some(last) => (format!("{key} > ?2"), vec![size, last.clone()]),
        };
        (format!("SELECT {key}{columns} FROM {from} WHERE {from_key}{filter} ORDER BY {key} LIMIT ?1"), params)
    }

    fn too_slow(&self, limit: &str) -> Failure {
        let Scan { key, from, .. } = &self.scan;
        let size = self.size;
        Failure::Other(format!(
            "{size} rows of {from} by {key} ran into the limit `{limit}`: give {key} an index, or raise the limit"
        ))
    }
}

#[cfg(all(test, feature = "testing"))]
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
            assert!(matches!(failure, Failure::Other(text) if text.contains("give id an index")));
        });
    }

    #[test]
    fn an_empty_table_has_no_page() {
        database().with(|| assert_eq!(walk(Pages::new(scan(Some("0")))), (vec![], vec![])));
    }
}
