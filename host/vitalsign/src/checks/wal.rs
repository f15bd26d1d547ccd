//! Whether the database is in WAL mode, and how much of its write-ahead log waits to be written back.
//!
//! Sees the log through `stat` and its index; never checkpoints. What counts is what is not yet in the database: SQLite keeps
//! the file of a log at its largest size and writes over it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Builtin, Settings, every, failed, finding, number};
use vitalsign_base::{
    clock::Deadline,
    value::{bytes, grouped},
};
use vitalsign_check::{
    Outcome, Schedule,
    report::{Fact, Finding, Measure, Status, Weight},
};
use vitalsign_sqlite::{CheckpointBlocker, Database, WalState, frame_bytes};

/// A log that holds four times what SQLite lets gather before it writes it back (1,000 pages) has not been written back for
/// long. A single large transaction may do that too, so a database with more pages than this may have them all in its log.
const MANY_PAGES: u64 = 4 * 1000;

/// How long the log's index is waited for while connections of this process are open, when the log is small.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long it is waited for when a guess would be a warning.
const LONG_PATIENCE: Duration = Duration::from_millis(500);

/// Processes named in one sentence.
const MAX_NAMED: usize = 3;

pub(super) struct WalCheck {
    registry: Database,
    config: Config,
}

/// The check's own configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Config {
    /// From this many bytes on that are not yet in the database, the write-ahead log is a warning, however large the database is.
    warn_bytes: u64,
}

impl Default for Config {
    /// Reads get slower with every page in the log, and 256 MiB of them are far from what any checkpoint leaves.
    fn default() -> Self {
        Self { warn_bytes: 256 * 1024 * 1024 }
    }
}

impl Builtin for WalCheck {
    type Config = Config;
    const NAME: &'static str = "wal";
    const SUMMARY: &'static str = "The journal mode is WAL, and the write-ahead log stays small.";

    fn schedule() -> Schedule {
        every(15, Weight::Critical)
    }

    fn new(registry: &Database, _: &Settings, config: Config) -> Self {
        Self { registry: registry.clone(), config }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let seen = self.registry.look(deadline, |snapshot| {
            let (page_bytes, pages) = (snapshot.page_bytes()?, snapshot.page_count()?);
            Ok((snapshot.journal_mode()?, page_bytes, pages, snapshot.wal_index_head()))
        });
        let (mode, page_bytes, pages, index) = match seen {
            Ok(seen) => seen,
            Err(error) => return failed(&error),
        };
        let mut outcome = Outcome::default();
        outcome.facts.push(Fact::JournalMode(mode.clone()));
        if mode != "wal" {
            let message = format!("the journal mode is `{mode}`, not `wal`: while somebody writes, nobody can read");
            outcome.summary.clone_from(&message);
            let hint = "run `PRAGMA journal_mode = wal` once on the database while the registry is stopped";
            outcome.findings.push(Finding::new(Status::Warn, "journal-mode", message).hint(hint));
            return outcome;
        }
        let limit = Limit::new(self.config.warn_bytes, page_bytes, pages);
        let index = index.as_ref().map(<[u8; _]>::as_slice);
        let log = self.registry.wal_state(page_bytes, index, PATIENCE).and_then(|log| {
            match log.is_exact || log.pending_pages < limit.pages {
                true => Ok(log),
                false => self.registry.wal_state(page_bytes, None, LONG_PATIENCE.min(deadline.remaining() / 2)),
            }
        });
        match log {
            Ok(log) => self.weigh(&log, &limit, deadline, &mut outcome),
            Err(error) => {
                outcome.summary = error.to_string();
                outcome.findings.push(finding(&error));
            }
        }
        outcome
    }
}

/// How much may wait to be written back.
struct Limit {
    /// From so many pages on it is a warning.
    pages: u64,
    /// What the configuration allows, in pages.
    configured_pages: u64,
    page_bytes: u64,
    database_pages: u64,
}

impl Limit {
    fn new(warn_bytes: u64, page_bytes: u64, database_pages: u64) -> Self {
        let configured_pages = warn_bytes.div_ceil(frame_bytes(page_bytes)).max(1);
        let pages = MANY_PAGES.max(database_pages.saturating_add(1)).min(configured_pages);
        Self { pages, configured_pages, page_bytes, database_pages }
    }

    /// Whether so much waits. Of a log whose index could not be read, only its size is known, so it may be large for good.
    fn is_reached(&self, log: &WalState) -> bool {
        log.pending_pages >= if log.is_exact { self.pages } else { self.configured_pages }
    }
}

impl WalCheck {
    fn weigh(&self, log: &WalState, limit: &Limit, deadline: Deadline, outcome: &mut Outcome) {
        let about = if log.is_exact { "" } else { "at most " };
        let size = bytes(log.bytes);
        outcome.summary = match (log.bytes, log.pending_pages) {
            (0, _) => "WAL mode; the write-ahead log is empty".to_owned(),
            (_, 0) => format!("WAL mode; all of the write-ahead log ({size}) is in the database too"),
            (_, pages) => {
                let pages = grouped(pages);
                format!("WAL mode; {about}{pages} pages of the write-ahead log ({size}) are not yet in the database")
            }
        };
        outcome.measures.push(Measure::new("wal_bytes", number(log.bytes), "bytes"));
        let pending = Measure::new("wal_pages_pending", number(log.pending_pages), "pages");
        let pending = Measure { warn: Some(number(limit.pages)), ..pending };
        outcome.measures.push(if log.is_exact { pending } else { pending.bound() });
        if !limit.is_reached(log) {
            return;
        }
        let pending = bytes(log.pending_pages.saturating_mul(frame_bytes(limit.page_bytes)));
        let database = bytes(limit.database_pages.saturating_mul(limit.page_bytes));
        let waits =
            format!("{about}{pending} in the write-ahead log are not yet in the database, which itself has {database}");
        let pins = self.registry.checkpoint_blockers(deadline).unwrap_or_default();
        let finding = if pins.is_empty() {
            let message = format!("{waits}; no process is seen that keeps them from being written back");
            let hint = "look whether the registry has turned automatic checkpoints off (`wal_autocheckpoint`), or whether a \
                        reader runs out of sight, in another container or as another user; `PRAGMA wal_checkpoint(TRUNCATE)` \
                        empties the log";
            Finding::new(Status::Warn, "wal-size", message).hint(hint)
        } else {
            let message =
                format!("{waits}: a read transaction that began before they were written is open in {}", named(&pins));
            let hint =
                "end that transaction, or the process if it has forgotten it; the next checkpoint then empties the log";
            Finding::new(Status::Warn, "wal-pinned", message).hint(hint)
        };
        outcome.summary.clone_from(&finding.message);
        outcome.findings.push(finding);
    }
}

/// The processes in words.
fn named(pins: &[CheckpointBlocker]) -> String {
    let mut names: Vec<_> = pins.iter().take(MAX_NAMED).map(CheckpointBlocker::to_string).collect();
    if pins.len() > MAX_NAMED {
        names.push(format!("{} more", grouped((pins.len() - MAX_NAMED) as u64)));
    }
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{CheckSettings, Settings, testing::*},
        *,
    };
    use crate::testing::Scene;
    use vitalsign_base::files::{Process, process_name};

    /// The settings under which a log of one page is a warning.
    fn strict() -> Settings {
        let mut settings = settings();
        let config = serde_json::json!({ "warnBytes": 1000 });
        settings.checks.insert("wal".to_owned(), CheckSettings { config, ..CheckSettings::default() });
        settings
    }

    #[test]
    fn wal_mode_is_well() {
        let scene = Scene::with(REGISTRY);
        insta::assert_snapshot!(run(&scene, "wal"), @r#"
        ok: WAL mode; the write-ahead log is empty
        * wal_bytes = 0 bytes
        * wal_pages_pending = 0 pages
        ! JournalMode("wal")
        "#);
    }

    #[test]
    fn a_log_in_use_is_measured() {
        let scene = Scene::empty();
        let mut writer = scene.other_process("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        insta::assert_snapshot!(run(&scene, "wal"), @r#"
        ok: WAL mode; 2 pages of the write-ahead log (8.1 KiB) are not yet in the database
        * wal_bytes = 8272 bytes
        * wal_pages_pending = 2 pages
        ! JournalMode("wal")
        "#);
        writer.sql("PRAGMA wal_checkpoint(PASSIVE)");
        insta::assert_snapshot!(run_with(&scene, "wal", &strict()), @r#"
        ok: WAL mode; all of the write-ahead log (8.1 KiB) is in the database too
        * wal_bytes = 8272 bytes
        * wal_pages_pending = 0 pages
        ! JournalMode("wal")
        "#);
    }

    #[test]
    fn a_large_log_is_a_warning() {
        let scene = Scene::empty();
        let _writer = scene.other_process("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        insta::assert_snapshot!(run_with(&scene, "wal", &strict()), @r#"
        warn: 8.0 KiB in the write-ahead log are not yet in the database, which itself has 8.0 KiB; no process is seen that keeps them from being written back
        - warn wal-size: 8.0 KiB in the write-ahead log are not yet in the database, which itself has 8.0 KiB; no process is seen that keeps them from being written back
          look whether the registry has turned automatic checkpoints off (`wal_autocheckpoint`), or whether a reader runs out of sight, in another container or as another user; `PRAGMA wal_checkpoint(TRUNCATE)` empties the log
        * wal_bytes = 8272 bytes
        * wal_pages_pending = 2 pages
        ! JournalMode("wal")
        "#);
    }

    #[test]
    fn a_reader_that_pins_the_log_is_named() {
        let scene = Scene::with(REGISTRY);
        let mut writer = scene.other_process("PRAGMA wal_autocheckpoint = 0");
        let mut reader = scene.other_process("BEGIN; SELECT * FROM records");
        writer.sql("INSERT INTO records VALUES ('d')");
        let said = run_with(&scene, "wal", &strict());
        let said = said.replace(&reader.id().to_string(), "PID").replace(&process_name(reader.id()), "PROGRAM");
        insta::assert_snapshot!(said, @r#"
        warn: 8.0 KiB in the write-ahead log are not yet in the database, which itself has 16.0 KiB: a read transaction that began before they were written is open in process PID (`PROGRAM`)
        - warn wal-pinned: 8.0 KiB in the write-ahead log are not yet in the database, which itself has 16.0 KiB: a read transaction that began before they were written is open in process PID (`PROGRAM`)
          end that transaction, or the process if it has forgotten it; the next checkpoint then empties the log
        * wal_bytes = 8272 bytes
        * wal_pages_pending = 2 pages
        ! JournalMode("wal")
        "#);
        reader.sql("COMMIT");
        writer.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        assert!(run_with(&scene, "wal", &strict()).starts_with("ok: "));
    }

    #[test]
    fn the_log_is_weighed_against_the_database_and_against_a_fixed_size() {
        let limit = |page_bytes, pages| Limit::new(Config::default().warn_bytes, page_bytes, pages).pages;
        assert_eq!(limit(4096, 170), 4000);
        assert_eq!(limit(4096, 20_000), 20_001);
        assert_eq!(limit(4096, 1_000_000), 65_155, "256 MiB");
        assert_eq!(limit(65_536, 10), 4000);
        let limit = Limit::new(Config::default().warn_bytes, 4096, 170);
        let reached = |pending_pages, is_exact| limit.is_reached(&WalState { bytes: 1 << 40, pending_pages, is_exact });
        assert!(reached(4000, true) && !reached(3999, true));
        assert!(reached(65_155, false) && !reached(65_154, false), "a log whose index is not known may just be large");
    }

    #[test]
    fn processes_in_words() {
        let pin = |pid| CheckpointBlocker::Reader(Process { pid, name: "app".to_owned() });
        assert_eq!(named(&[pin(1)]), "process 1 (`app`)");
        assert_eq!(
            named(&[CheckpointBlocker::OutOfSight, pin(2)]),
            "a process in another container and process 2 (`app`)"
        );
        let many: Vec<_> = (1..=5).map(pin).collect();
        assert_eq!(named(&many), "process 1 (`app`), process 2 (`app`), process 3 (`app`) and 2 more");
    }

    #[test]
    fn a_rollback_journal_is_a_warning() {
        let scene = Scene::with("CREATE TABLE t(a)");
        insta::assert_snapshot!(run(&scene, "wal"), @r#"
        warn: the journal mode is `delete`, not `wal`: while somebody writes, nobody can read
        - warn journal-mode: the journal mode is `delete`, not `wal`: while somebody writes, nobody can read
          run `PRAGMA journal_mode = wal` once on the database while the registry is stopped
        ! JournalMode("delete")
        "#);
    }

    #[test]
    fn a_missing_database_is_an_error() {
        insta::assert_snapshot!(run(&Scene::empty(), "wal"), @"
        error: there is no database at `DIR/registry.db`
        - error missing: there is no database at `DIR/registry.db`
          check `dbPath` (or `--db`); if the database was lost, restore a backup; if there was none yet, start the registry once
        ");
    }
}
