//! Looks through a whole database for a backup, as thoroughly as the time allows, and says what was looked at.
//!
//! `PRAGMA quick_check` reads every page and every row, which is fast. `PRAGMA integrity_check` also looks up every row in every
//! index, which takes some ten times as long; `PRAGMA foreign_key_check` looks up what refers to other rows. Knows no backup, and
//! no budget but the one for these look-ups: the rest belongs to whoever holds the transaction.

use std::{path::Path, time::Duration};

use crate::{
    DatabaseFiles, Error, Problem,
    file::database_files::io_trouble,
    read::integrity_check::IntegrityResult,
    read::problem::ProblemKind,
    read::snapshot::{Snapshot, text},
};
use vitalsign_base::{clock::Stopwatch, files, value::printable};

/// How much longer than `quick_check` the comparison of the indexes takes, at most: 8 times with two indexes on random keys.
const INDEXES_COST: u32 = 8;

/// Dangling references that are listed at most.
const MOST_REFERENCES: usize = 100;

/// The longest name that a sentence repeats.
const MAX_NAME_BYTES: usize = 100;

/// How thoroughly a database is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Pages and rows; indexes too, if that takes no longer than this.
    Within(Duration),
    /// Pages, rows, indexes and references, however long it takes.
    Everything,
}

/// What was found, and what was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// The problems, at most some hundred.
    pub problems: Vec<Problem>,
    /// Whether every index was compared with its table.
    pub indexes: bool,
    /// Whether every reference was followed.
    pub references: bool,
    /// Why the indexes were not compared, or something else was not looked at.
    pub why_not: Option<String>,
}

impl Examined {
    /// Whether rows may be lost: what is bad goes beyond indexes and the rules of tables.
    #[must_use]
    pub fn may_lose_rows(&self) -> bool {
        self.problems.iter().any(|problem| problem.kind == ProblemKind::Structure)
    }
}

impl Snapshot<'_> {
    /// Looks through the whole database.
    ///
    /// # Errors
    /// Any [`Error`] of reading; [`Error::Other`] where the schema needs something that only the registry's own program has.
    pub fn examine(&self, depth: Depth) -> Result<Examined, Error> {
        let mut found = Examined::default();
        let watch = Stopwatch::start();
        found.problems.extend(self.cut_off()?);
        self.gather("quick_check", &mut found)?;
        if found.may_lose_rows() {
            found.why_not = Some("the structure is damaged".to_owned());
            return Ok(found);
        }
        match depth {
            Depth::Everything => self.hold_rules(&mut found)?,
            Depth::Within(limit) => {
                // Whoever gives no time gets the same answer each time.
                if limit.is_zero() || !self.within(limit, || self.hold_rules(&mut found))? {
                    found.why_not =
                        Some(format!("holding rows against each `CHECK` takes more than {} s", limit.as_secs()));
                }
            }
        }
        match depth {
            Depth::Everything => {
                self.gather("integrity_check", &mut found)?;
                found.indexes = true;
                self.references(&mut found)?;
            }
            Depth::Within(limit) if watch.elapsed() * INDEXES_COST <= limit => {
                let ended = self.within(limit, || self.gather("integrity_check", &mut found));
                found.indexes = ended?;
            }
            Depth::Within(_) => {}
        }
        if let (Depth::Within(limit), false) = (depth, found.indexes) {
            found.why_not.get_or_insert(format!("comparing them takes more than {} s", limit.as_secs()));
        }
        let unable = found.problems.iter().find(|problem| problem.kind == ProblemKind::NotChecked);
        found.why_not = found.why_not.or(unable.map(|problem| problem.text.clone()));
        found.problems.retain(|problem| problem.kind != ProblemKind::NotChecked);
        Ok(found)
    }

    /// What is lost of the last page where the file ends within it: SQLite reads zeros there, and need not find anything wrong.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn cut_off(&self) -> Result<Option<Problem>, Error> {
        // These begin the read, so that nobody writes to the file any more where a lock or a log keeps writers away.
        let (page_bytes, pages) = (self.page_bytes()?, self.page_count()?);
        let DatabaseFiles { real, .. } = self.database_files();
        let bytes = |path: &Path| {
            let found = files::stat(path).map_err(|error| io_trouble(path, &error))?;
            Ok(found.map_or(0, |found| found.bytes))
        };
        // The page may be in the log, and is written to the file later.
        if bytes(&files::beside(real, "-wal"))? > 0 {
            return Ok(None);
        }
        let (found, expected) = (bytes(real)?, page_bytes * pages);
        let missing = expected.saturating_sub(found);
        let is_within = (1..page_bytes).contains(&missing);
        Ok(is_within.then(|| Problem {
            kind: ProblemKind::Structure,
            subject: None,
            text: format!("the file was cut off: its last page lacks its last {missing} B"),
        }))
    }

    /// Adds what the pragma finds, each problem once.
    fn gather(&self, pragma: &str, to: &mut Examined) -> Result<(), Error> {
        let mut found = IntegrityResult::default();
        let ended = self.ask_all(pragma, &mut found);
        let known = to.problems.clone();
        to.problems.extend(found.problems.into_iter().filter(|problem| !known.contains(problem)));
        match ended {
            // Pages may be so bad that SQLite lists what it found and then gives up.
            Err(Error::Corrupt { detail, .. }) if !to.problems.is_empty() => {
                to.problems.push(Problem { kind: ProblemKind::Structure, subject: None, text: detail });
                Ok(())
            }
            ended => ended,
        }
    }

    /// Rows that break a `CHECK`.
    fn hold_rules(&self, to: &mut Examined) -> Result<(), Error> {
        let found = self.check_constraints(None)?;
        to.problems.extend(found.broken);
        to.why_not = found.why_not;
        Ok(())
    }

    /// Rows that refer to rows which are not there.
    fn references(&self, to: &mut Examined) -> Result<(), Error> {
        let mut count = 0;
        let ended = self.each("PRAGMA foreign_key_check", |row| {
            let (table, parent) = (text(row, 0)?, text(row, 2)?);
            let row = row.get::<_, Option<i64>>(1)?.map_or("a row".to_owned(), |rowid| format!("row {rowid}"));
            let shown = |name: &str| printable(name, MAX_NAME_BYTES);
            let said = format!("{row} of {} refers to a row of {} that is missing", shown(&table), shown(&parent));
            to.problems.push(Problem { kind: ProblemKind::Rule, subject: Some(table), text: said });
            count += 1;
            Ok(count < MOST_REFERENCES)
        });
        match ended {
            // A reference to a table or to columns that cannot be referred to.
            Err(Error::Other { detail, .. }) => {
                to.why_not = Some(format!("the references could not be followed: {detail}"));
                Ok(())
            }
            ended => {
                to.references = ended.is_ok();
                ended
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PrivateCopy, testing::Scene};

    const LIMIT: Duration = Duration::from_secs(600);

    fn examined(scene: &Scene, depth: Depth) -> Examined {
        let copy = PrivateCopy::open(&scene.path(), &scene.path(), LIMIT).unwrap();
        copy.look(|snapshot| snapshot.examine(depth)).unwrap()
    }

    fn texts(found: &Examined) -> Vec<&str> {
        found.problems.iter().map(|problem| problem.text.as_str()).collect()
    }

    /// Two rows that share a unique value, which their index does not show, a row that breaks the rules of its table, and one that
    /// refers to nothing.
    fn flawed() -> Scene {
        let scene = Scene::with(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE t(a INTEGER PRIMARY KEY, b, c, p REFERENCES t(a));
             CREATE UNIQUE INDEX once ON t(b);
             INSERT INTO t VALUES (1, 'x', 1, 1), (2, 'y', NULL, 7);
             CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'once';
             PRAGMA writable_schema = ON;
             DELETE FROM sqlite_schema WHERE name = 'once';",
        );
        scene.sql("PRAGMA foreign_keys = OFF; UPDATE t SET b = 'x'");
        scene.sql(
            "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT * FROM kept;
             UPDATE sqlite_schema SET sql = replace(sql, 'c,', 'c NOT NULL,') WHERE name = 't'",
        );
        scene
    }

    #[test]
    fn a_file_that_ends_within_its_last_page_has_lost_something() {
        for (missing, expected) in [(0, None), (1, Some(1)), (100, Some(100)), (4095, Some(4095))] {
            let scene = Scene::with("CREATE TABLE t(a); INSERT INTO t VALUES ('in the last bytes of the last page')");
            let file = std::fs::File::options().write(true).open(scene.path()).unwrap();
            file.set_len(file.metadata().unwrap().len() - missing).unwrap();
            let copy = PrivateCopy::open(&scene.path(), &scene.path(), LIMIT).unwrap();
            let found = copy.look(|snapshot| snapshot.cut_off()).unwrap();
            let said = |missing| format!("the file was cut off: its last page lacks its last {missing} B");
            assert_eq!(found.map(|one| one.text), expected.map(said), "{missing}");
            assert_eq!(examined(&scene, Depth::Within(LIMIT)).may_lose_rows(), missing > 0);
        }
    }

    #[test]
    fn what_is_found_depends_on_how_thoroughly_one_looks() {
        let scene = flawed();
        let quick = examined(&scene, Depth::Within(Duration::ZERO));
        assert_eq!((texts(&quick), quick.indexes), (vec!["NULL value in t.c"], false));
        assert_eq!(quick.why_not.as_deref(), Some("holding rows against each `CHECK` takes more than 0 s"));
        let usual = examined(&scene, Depth::Within(LIMIT));
        assert_eq!((usual.indexes, usual.references, usual.why_not.as_deref()), (true, false, None));
        let (rule, index) = ("NULL value in t.c", "row 2 missing from index once");
        assert_eq!(texts(&usual), [rule, index]);
        let full = examined(&scene, Depth::Everything);
        assert_eq!(texts(&full), [rule, index, "row 2 of t refers to a row of t that is missing"]);
        assert_eq!((full.indexes, full.references), (true, true));
        assert!(!full.may_lose_rows());
    }
}
