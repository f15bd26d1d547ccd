//! Looks through the structure of a database and compares its indexes with its tables: `PRAGMA integrity_check`.
//!
//! In WAL mode such a read holds up nobody, but the log cannot be reset meanwhile, so its growth is limited. With a rollback
//! journal a read shuts out whoever wants to commit: beyond [`READ_BUDGET`] it ends as soon as somebody begins to write.
//! Knows no schedule and remembers nothing; whoever asks decides what is looked at next.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    Database, DatabaseFiles, Error, READ_BUDGET, TransactionLimits,
    connection::open::{ReadConnection, ReadMode, Trust},
    connection::vfs,
    read::problem::{BTreeRoot, LACKING, MISCOUNTED, Problem, ProblemKind, parse_problems},
    read::snapshot::{Snapshot, quoted, text},
};
use vitalsign_base::clock::{Deadline, Stopwatch};

/// Opcodes between two calls of the progress handler, which looks at a clock: some 20 microseconds.
const PROGRESS_OPCODES: i32 = 1000;

/// The time between two looks at what may end the read. Each is a system call or two; a writer waits no longer than this.
const POLL: Duration = Duration::from_millis(1);

/// The time between two looks at whether somebody began to write, where nothing keeps writers and readers apart.
const POLL_FILES: Duration = Duration::from_millis(50);

/// For how long a look is begun anew when writers have overtaken it there.
const RESTART_LIMIT: Duration = Duration::from_secs(60);

/// Problems asked of SQLite at most in one look: enough to show where they are, few enough to be kept.
const MOST_PROBLEMS: usize = 100;

/// The ends of the names of the tables that a full-text table of FTS5 consists of, and the option with which it may do without.
const OF_FULL_TEXT: [(&str, Option<&str>); 5] = [
    ("_data", None),
    ("_idx", None),
    ("_config", None),
    ("_content", Some("content")),
    ("_docsize", Some("columnsize")),
];

/// What is looked at in one read transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntegrityPart {
    /// Everything, the list of free pages and pages that nothing refers to included.
    Whole,
    /// One table with its indexes. With `sqlite_schema` goes the list of free pages, and the end of the file.
    Table(String),
}

/// Why a look ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Its time was over.
    Time,
    /// The write-ahead log grew too far meanwhile.
    WalGrowth,
    /// There is a rollback journal, and somebody began to write.
    Writer,
    /// The file was written or replaced each time, where nothing keeps writers and readers apart.
    Changing,
    /// Whoever asked does not want to know any more.
    Cancelled,
    /// The schema uses something that only the registry's own program has: SQLite's words.
    Unsupported(String),
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntegrityResult {
    /// The problems, at most 100.
    pub problems: Vec<Problem>,
    /// Why the table could not be compared with its indexes or its rules, in SQLite's words; its structure was looked at.
    pub not_compared: Option<String>,
    /// Why it ended early, if it did: what was found until then is true, but more may be bad.
    pub stopped: Option<StopReason>,
    /// Whether every page of the file was accounted for in one read, so that `problems` also holds pages that two tables share,
    /// that are in use and free at the same time, or that belong to nothing. So it can be although the look was stopped because
    /// something is [`StopReason::Unsupported`].
    pub is_accounted: bool,
}

/// A wish to end a look, given from another thread.
pub type Cancel = Arc<AtomicBool>;

impl Database {
    /// Looks through `part` in one read transaction.
    ///
    /// # Errors
    /// [`Error`] when the database is bad as a whole or cannot be looked at.
    pub fn check_integrity(
        &self,
        part: &IntegrityPart,
        limits: TransactionLimits,
        cancel: &Cancel,
    ) -> Result<IntegrityResult, Error> {
        let watch = StopConditions { begun: Arc::default(), writer_came: Arc::default(), cancel: Arc::clone(cancel) };
        let mut found = IntegrityResult::default();
        let open = |_| {
            let mut open = ReadConnection::new(self.path(), Trust::Trusted)?;
            open.may_linger = false;
            let writer = if open.way == ReadMode::Rollback {
                Some(ReadConnection::new(self.path(), Trust::Trusted)?)
            } else {
                None
            };
            watch.set(&mut open, writer).map_err(|error| Error::of(self.path(), &error, limits.time))?;
            Ok(open)
        };
        let ended = self.held(limits, RESTART_LIMIT, open, |snapshot| {
            watch.begin();
            found = IntegrityResult::default();
            snapshot.look_through(part, &mut found)
        });
        if matches!(ended, Err(Error::Changing(_))) {
            // Pages of different times: what does not fit together there says nothing of the database.
            found = IntegrityResult::default();
        }
        found.stopped = match ended {
            Ok(()) => None,
            Err(Error::OutOfTime { .. }) if cancel.load(Ordering::Relaxed) => Some(StopReason::Cancelled),
            Err(Error::OutOfTime { .. }) if watch.writer_came.load(Ordering::Relaxed) => Some(StopReason::Writer),
            Err(Error::OutOfTime { .. }) => Some(StopReason::Time),
            Err(Error::WalGrew { .. }) => Some(StopReason::WalGrowth),
            Err(Error::Changing(_)) => Some(StopReason::Changing),
            Err(Error::Other { detail, .. }) => Some(StopReason::Unsupported(detail)),
            // Pages may be so bad that SQLite lists what it found and then gives up.
            Err(Error::Corrupt { .. }) if !found.problems.is_empty() => None,
            Err(trouble) => return Err(trouble),
        };
        Ok(found)
    }

    /// The names of all tables, SQLite's own included, in name order: together they make up the whole.
    ///
    /// # Errors
    /// See [`Database::look`].
    pub fn parts(&self, deadline: Deadline) -> Result<Vec<String>, Error> {
        // A view has no pages. `sqlite_schema` does not list itself.
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' UNION SELECT 'sqlite_schema' ORDER BY 1";
        let limits = TransactionLimits { time: deadline.remaining(), wal_growth: u64::MAX };
        self.long_read(limits, |snapshot| snapshot.rows(sql, [], |row| text(row, 0)))
    }
}

/// What ends a look from outside, apart from its limits.
struct StopConditions {
    /// Since when the read transaction has been open.
    begun: Arc<Mutex<Option<Stopwatch>>>,
    writer_came: Arc<AtomicBool>,
    cancel: Cancel,
}

impl StopConditions {
    fn begin(&self) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).replace(Stopwatch::start());
    }

    /// Has `open` heed it. `writer` is another connection to the same database, which sees who wants to write.
    fn set(&self, open: &mut ReadConnection, writer: Option<ReadConnection>) -> rusqlite::Result<()> {
        let limiter = Arc::clone(&open.limiter);
        let (begun, writer_came, cancel) =
            (Arc::clone(&self.begun), Arc::clone(&self.writer_came), Arc::clone(&self.cancel));
        let still = (open.way == ReadMode::Immutable).then(|| open.database_files.clone());
        let (mut last, mut last_files) = (Stopwatch::start(), Stopwatch::start());
        open.conn.progress_handler(
            PROGRESS_OPCODES,
            Some(move || {
                if last.elapsed() < POLL {
                    return false;
                }
                last = Stopwatch::start();
                if last_files.elapsed() >= POLL_FILES {
                    last_files = Stopwatch::start();
                    if still.as_ref().is_some_and(is_overtaken) {
                        return true;
                    }
                }
                let begun = *begun.lock().unwrap_or_else(PoisonError::into_inner);
                let held = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
                let writer = writer.as_ref().filter(|_| held > READ_BUDGET);
                if writer.is_some_and(|writer| vfs::somebody_writes(&writer.conn)) {
                    writer_came.store(true, Ordering::Relaxed);
                    return true;
                }
                cancel.load(Ordering::Relaxed) || limiter.is_used_up()
            }),
        )
    }
}

/// Whether somebody uses or has written a database that nobody used before.
fn is_overtaken(before: &DatabaseFiles) -> bool {
    DatabaseFiles::of(&before.real).is_ok_and(|now| now.wal_in_use() || !now.database.same_content(&before.database))
}

impl Snapshot<'_> {
    fn look_through(&self, part: &IntegrityPart, found: &mut IntegrityResult) -> Result<(), Error> {
        let cut_off = match part {
            IntegrityPart::Table(table) if table != "sqlite_schema" => None,
            _ => self.cut_off()?,
        };
        let ended = self.look_through_part(part, found);
        found.problems.extend(cut_off);
        ended
    }

    fn look_through_part(&self, part: &IntegrityPart, found: &mut IntegrityResult) -> Result<(), Error> {
        let IntegrityPart::Table(table) = part else { return self.look_through_all(found) };
        let quoted_name = quoted(table);
        let missing = match self.ask("integrity_check", &quoted_name, found) {
            Err(Error::Other { detail, .. }) => detail,
            Ok(()) => return self.hold_rules_of(Some(table), found),
            ended => return ended,
        };
        // The structure of an index does not depend on how its entries are computed or compared.
        found.not_compared = Some(missing);
        self.register_missing_collations()?;
        let ended = self.ask("quick_check", &quoted_name, found);
        if !matches!(ended, Err(Error::Other { .. })) {
            return ended;
        }
        let Some(missing) = self.missing_of_full_text(table)? else { return ended };
        if missing.is_empty() {
            // FTS5 names the tokenizer that it lacks only when the table is created.
            return ended.map_err(|trouble| match trouble {
                Error::Other { path, code, detail } => {
                    Error::Other { path, code, detail: format!("{detail}; FTS5 says so of an unknown tokenizer") }
                }
                trouble => trouble,
            });
        }
        let problem = |name| Problem {
            kind: ProblemKind::Structure,
            subject: Some(table.clone()),
            text: format!("the table {name} is missing, which holds a part of this one"),
        };
        found.problems.extend(missing.into_iter().map(problem));
        Ok(())
    }

    /// Which of its own tables a full-text table of FTS5 lacks: SQLite does not say why it cannot be opened.
    ///
    /// The names are from the page on FTS5 of SQLite's documentation, "FTS5 Data Structures".
    fn missing_of_full_text(&self, table: &str) -> Result<Option<Vec<String>>, Error> {
        let sql =
            "SELECT lower(sql) FROM sqlite_schema WHERE name = ?1 AND sql LIKE 'CREATE VIRTUAL TABLE%USING%fts5%'";
        let Some(created) = self.rows(sql, [table], |row| text(row, 0))?.pop() else { return Ok(None) };
        let there = self.rows("SELECT lower(name) FROM sqlite_schema WHERE type = 'table'", [], |row| text(row, 0))?;
        let needed = OF_FULL_TEXT.iter().filter(|(_, unless)| unless.is_none_or(|option| !created.contains(option)));
        let names = needed.map(|(suffix, _)| format!("{table}{suffix}"));
        Ok(Some(names.filter(|name| !there.contains(&name.to_lowercase())).collect()))
    }

    fn look_through_all(&self, found: &mut IntegrityResult) -> Result<(), Error> {
        let most = MOST_PROBLEMS.to_string();
        let ended = self.ask("integrity_check", &most, found);
        found.is_accounted = ended.is_ok();
        if found.is_accounted {
            return self.hold_rules_of(None, found);
        }
        if matches!(ended, Err(Error::Other { .. })) {
            // Pages can be accounted for without what computes or compares the entries of an index.
            self.register_missing_collations()?;
            match self.ask("quick_check", &most, found) {
                Ok(()) => found.is_accounted = true,
                // Why the first look was stopped says more.
                Err(Error::Other { .. }) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        ended
    }

    /// Adds the rows that break a `CHECK`, which the pragma does not look at here.
    fn hold_rules_of(&self, table: Option<&str>, found: &mut IntegrityResult) -> Result<(), Error> {
        let rules = self.check_constraints(table)?;
        found.problems.extend(rules.broken);
        if table.is_some() {
            found.not_compared = found.not_compared.take().or(rules.why_not);
        }
        Ok(())
    }

    /// The same of the whole database.
    pub(crate) fn ask_all(&self, pragma: &str, found: &mut IntegrityResult) -> Result<(), Error> {
        self.ask(pragma, &MOST_PROBLEMS.to_string(), found)
    }

    /// Runs the pragma and sorts what it says into `found`, also when it ends with an error.
    fn ask(&self, pragma: &str, argument: &str, found: &mut IntegrityResult) -> Result<(), Error> {
        found.problems.clear();
        let mut values = Vec::new();
        let ended = self.each(&format!("PRAGMA {pragma}({argument})"), |row| {
            values.push(text(row, 0)?);
            Ok(values.len() < MOST_PROBLEMS)
        });
        if values.iter().any(|value| value != "ok") {
            let trees = self.trees().unwrap_or_default();
            found.problems.extend(values.iter().flat_map(|value| parse_problems(value, &trees)).take(MOST_PROBLEMS));
            let lost = self.lost_rows(&found.problems).unwrap_or_default();
            found.problems.extend(lost);
        }
        ended
    }

    /// Tables that have lost rows: all their indexes, two at least, have entries that the table lacks, and lack none of its rows.
    ///
    /// SQLite only says that the indexes are wrong, but who rebuilds them then has lost the last trace of those rows.
    fn lost_rows(&self, problems: &[Problem]) -> Result<Vec<Problem>, Error> {
        let said = |words: &str| -> BTreeSet<&str> {
            let indexes =
                problems.iter().filter(|problem| problem.kind == ProblemKind::Index && problem.text.contains(words));
            indexes.filter_map(|problem| problem.subject.as_deref()).collect()
        };
        let (miscounted, lacking) = (said(MISCOUNTED), said(LACKING));
        if miscounted.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT t.name, i.name FROM pragma_table_list AS t, pragma_index_list(t.name) AS i \
                   WHERE t.schema = 'main' AND t.type = 'table' AND NOT i.partial AND NOT (t.wr AND i.origin = 'pk')";
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, index) in self.rows(sql, [], |row| Ok((text(row, 0)?, text(row, 1)?)))? {
            tables.entry(table).or_default().push(index);
        }
        let surplus = |index: &String| miscounted.contains(index.as_str()) && !lacking.contains(index.as_str());
        let lost = tables.into_iter().filter(|(_, indexes)| indexes.len() > 1 && indexes.iter().all(surplus));
        let text = "rows are missing: every index has entries for rows that the table does not have";
        Ok(lost
            .map(|(table, _)| Problem { kind: ProblemKind::Structure, subject: Some(table), text: text.to_owned() })
            .collect())
    }

    /// The b-trees by their first page.
    fn trees(&self) -> Result<BTreeMap<u32, BTreeRoot>, Error> {
        let sql = "SELECT rootpage, name, type = 'index' FROM sqlite_schema WHERE rootpage > 0";
        let named =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, BTreeRoot { name: text(row, 1)?, is_index: row.get(2)? }));
        Ok(self.rows(sql, [], named)?.into_iter().collect())
    }
}
