//! Whether the database is in WAL mode, and how large its write-ahead log is.
//!
//! Sees the log through `stat` and its index; never checkpoints.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Builtin, Settings, every, failed, finding, number};
use crate::{
    check::{Outcome, Schedule},
    clock::Deadline,
    report::{Fact, Finding, Measure, Status, Weight},
    sqlite::Registry,
    value::{bytes, grouped},
};

pub(super) struct Wal {
    registry: Registry,
    config: Config,
}

/// The check's own configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Config {
    /// From this size on the write-ahead log is a warning, in bytes.
    warn_bytes: u64,
}

impl Default for Config {
    /// A log is 4 MiB with SQLite's own checkpoints; at 256 MiB something has kept them from happening for long.
    fn default() -> Self {
        Self { warn_bytes: 256 * 1024 * 1024 }
    }
}

impl Builtin for Wal {
    type Config = Config;
    const NAME: &'static str = "wal";
    const SUMMARY: &'static str = "The journal mode is WAL, and the write-ahead log stays small.";

    fn schedule() -> Schedule {
        every(15, Weight::Critical)
    }

    fn new(registry: &Registry, _: &Settings, config: Config) -> Self {
        Self { registry: registry.clone(), config }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        let seen = self.registry.look(deadline, |snapshot| Ok((snapshot.journal_mode()?, snapshot.page_bytes()?)));
        let (mode, page_bytes) = match seen {
            Ok(seen) => seen,
            Err(trouble) => return failed(&trouble),
        };
        let mut outcome = Outcome::default();
        outcome.facts.push(Fact::JournalMode(mode.clone()));
        if mode != "wal" {
            let message = format!("the journal mode is `{mode}`, not `wal`: a write shuts out every reader");
            outcome.summary.clone_from(&message);
            let hint = "run `PRAGMA journal_mode = wal` once on the database while the registry is stopped";
            outcome.findings.push(Finding::new(Status::Warn, "journal-mode", message).hint(hint));
            return outcome;
        }
        let log = self.registry.ground().map(|ground| ground.wal.map_or(0, |wal| wal.bytes));
        let (log, pending) = match log.and_then(|log| Ok((log, self.registry.wal_pages_pending(page_bytes)?))) {
            Ok(found) => found,
            Err(trouble) => {
                outcome.summary = trouble.to_string();
                outcome.findings.push(finding(&trouble));
                return outcome;
            }
        };
        let about = if pending.exact { "" } else { "at most " };
        let size = bytes(log);
        let pages = grouped(pending.pages);
        outcome.summary = format!("WAL mode; the log has {size}, pages to checkpoint: {about}{pages}");
        let warn = Some(number(self.config.warn_bytes));
        outcome.measures.push(Measure { warn, ..Measure::new("wal_bytes", number(log), "bytes") });
        outcome.measures.push(Measure::new("wal_pages_pending", number(pending.pages), "pages"));
        if log >= self.config.warn_bytes {
            let message =
                format!("the write-ahead log has grown to {size} (a warning from {})", bytes(self.config.warn_bytes));
            let hint = "look for a read transaction that never ends; once it has, `PRAGMA wal_checkpoint(TRUNCATE)` shrinks the log";
            outcome.findings.push(Finding::new(Status::Warn, "wal-size", message).hint(hint));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CheckSettings, testing::*};
    use crate::sqlite::testing::Scene;

    #[test]
    fn wal_mode_is_well() {
        let scene = Scene::with(REGISTRY);
        insta::assert_snapshot!(run(&scene, "wal"), @r#"
        ok: WAL mode; the log has 0 B, pages to checkpoint: 0
        * wal_bytes = 0 bytes
        * wal_pages_pending = 0 pages
        ! JournalMode("wal")
        "#);
    }

    #[test]
    fn a_log_in_use_is_measured() {
        let scene = Scene::empty();
        let _writer = scene.other_process("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        insta::assert_snapshot!(run(&scene, "wal"), @r#"
        ok: WAL mode; the log has 8.1 KiB, pages to checkpoint: 2
        * wal_bytes = 8272 bytes
        * wal_pages_pending = 2 pages
        ! JournalMode("wal")
        "#);
    }

    #[test]
    fn a_large_log_is_a_warning() {
        let scene = Scene::empty();
        let _writer = scene.other_process("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        let mut settings = settings();
        let config = serde_json::json!({ "warnBytes": 1000 });
        settings.checks.insert("wal".to_owned(), CheckSettings { config, ..CheckSettings::default() });
        insta::assert_snapshot!(run_with(&scene, "wal", &settings), @r#"
        warn: WAL mode; the log has 8.1 KiB, pages to checkpoint: 2
        - warn wal-size: the write-ahead log has grown to 8.1 KiB (a warning from 1000 B)
          look for a read transaction that never ends; once it has, `PRAGMA wal_checkpoint(TRUNCATE)` shrinks the log
        * wal_bytes = 8272 bytes
        * wal_pages_pending = 2 pages
        ! JournalMode("wal")
        "#);
    }

    #[test]
    fn a_rollback_journal_is_a_warning() {
        let scene = Scene::with("CREATE TABLE t(a)");
        insta::assert_snapshot!(run(&scene, "wal"), @r#"
        warn: the journal mode is `delete`, not `wal`: a write shuts out every reader
        - warn journal-mode: the journal mode is `delete`, not `wal`: a write shuts out every reader
          run `PRAGMA journal_mode = wal` once on the database while the registry is stopped
        ! JournalMode("delete")
        "#);
    }

    #[test]
    fn a_missing_database_is_an_error() {
        insta::assert_snapshot!(run(&Scene::empty(), "wal"), @"
        error: there is no database at `DIR/registry.db`
        - error missing: there is no database at `DIR/registry.db`
          check `dbPath` (or `--db`), or start the registry once so that it makes its database
        ");
    }
}
