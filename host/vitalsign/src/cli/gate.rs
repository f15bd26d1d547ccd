//! The start-up gate of `guard` and `serve --gate`: which checks decide, how long they are waited for, and what does not keep
//! a program from starting.
//!
//! Knows the codes of a database that is not there yet, and of a look that took too long; everything else is a finding like
//! any other.

use std::{path::PathBuf, time::Duration};

use super::{
    CommandFailure, Exit,
    assemble::Assembly,
    print_error,
    timeout::{Backoff, with_timeout},
};
use crate::run::{self, Selection};
use vitalsign_base::{clock::Deadline, files, value::span};
use vitalsign_check::report::{Entry, Origin, Report};
use vitalsign_sqlite::{Database, DetachedProcess};

/// What the first round is given at least where somebody says how long to wait: a check that waits for a lock as long as it
/// may would exceed a short wait by much, and the usual checks need less.
const FIRST_ROUND: Duration = Duration::from_secs(4);

/// How long `stat` on the files of the database may take.
const STAT_LIMIT: Duration = Duration::from_secs(2);

/// How long the look for processes that work on other files may take.
const PROCESSES_LIMIT: Duration = Duration::from_secs(2);

/// What the gate decides, and what to do if it refuses.
struct GateResult {
    refused: Vec<String>,
    noted: Vec<String>,
    hint: String,
}

/// A program that is to be started.
pub(super) struct StartGate<'a> {
    pub(super) app: &'a Assembly,
    /// What is not started when the gate refuses, for messages.
    pub(super) what: &'static str,
    /// Whether there may be no database yet.
    pub(super) allow_missing: bool,
    /// How somebody says that, for messages.
    pub(super) how_to_allow: &'static str,
    /// How long the checks are repeated until they allow the start.
    pub(super) wait: Duration,
}

impl StartGate<'_> {
    /// Runs the checks that gate a start. Answers with what they found that does not prevent it.
    pub(super) async fn pass(&self) -> Result<Vec<String>, CommandFailure> {
        let runner = &self.app.runner;
        let selection = Selection { critical: true, ..Selection::default() };
        let critical = runner.choose(&selection).map_err(|error| {
            let message = format!("{} was not started: {error}, so nothing would ever prevent the start", self.what);
            CommandFailure::new(Exit::Config, message)
                .hint("set `critical` and `enabled` for at least one check in `health.checks`")
        })?;
        let until = Deadline::after(self.wait);
        let first = match self.wait {
            Duration::ZERO => runner.round(&critical).await,
            wait => runner.round_within(&critical, wait.max(FIRST_ROUND)).await,
        };
        let mut judged = self.judge(&first);
        if !judged.refused.is_empty() && !until.has_passed() {
            let (limit, reasons) = (span(self.wait), judged.refused.join("\n    "));
            print_error(&format!("vitalsign: waiting for up to {limit}, because of this:\n    {reasons}\n"));
        }
        let mut pauses = Backoff::default();
        while !judged.refused.is_empty() && !until.has_passed() {
            tokio::time::sleep(pauses.next().min(until.remaining())).await;
            let next = self.judge(&runner.round_within(&critical, until.remaining()).await);
            // A round that was cut off knows less than the one before it.
            if next.refused.is_empty() || !until.has_passed() {
                judged = next;
            }
        }
        if judged.refused.is_empty() {
            return Ok(judged.noted);
        }
        let message = format!("{} was not started, because of this:\n    {}", self.what, judged.refused.join("\n    "));
        Err(CommandFailure::new(Exit::Unhealthy, message).hint(judged.hint))
    }

    fn judge(&self, report: &Report) -> GateResult {
        let is_missing = has(report, &MISSING);
        let may_be_missing = is_missing && self.allow_missing && self.leftover().is_none();
        let is_recovering = has(report, &OUT_OF_TIME) && self.wal_needs_recovery();
        let run::GateDecision { mut refused, mut noted } = run::gate(report, |entry, finding| {
            let code = finding.code.as_str();
            is_built_in(entry)
                && ((may_be_missing && MISSING.contains(&code)) || (is_recovering && OUT_OF_TIME.contains(&code)))
        });
        if is_recovering {
            noted.push(RECOVERING.to_owned());
        }
        let apart = self.works_on_other_files();
        refused.extend(apart.iter().map(|truth| format!("sqlite: {truth}")));
        let hint = if let Some(truth) = apart.first() {
            truth.hint()
        } else if is_missing && !may_be_missing {
            self.about_missing()
        } else {
            "`vitalsign check` prints the whole report and what to do".to_owned()
        };
        GateResult { refused, noted, hint }
    }

    /// Processes whose commits do not reach the database at its path. No start repairs that: what is started would be one
    /// more program that takes its own rows for all there are. Looked for whichever checks are critical.
    fn works_on_other_files(&self) -> Vec<DetachedProcess> {
        let registry = Database::new(self.app.effective.db.clone());
        let look = move || registry.detached_processes(Deadline::after(PROCESSES_LIMIT));
        let found = with_timeout(PROCESSES_LIMIT, look).unwrap_or_default();
        found.into_iter().filter(DetachedProcess::loses_rows).take(MAX_PROCESSES).collect()
    }

    /// What to do about a database that is not there.
    fn about_missing(&self) -> String {
        match self.leftover() {
            Some(file) => format!(
                "restore the database, or move {} away: it holds changes that are in no other file, and whoever makes a new \
                 database deletes it",
                file.display()
            ),
            None => format!("if {} is to make the database, {}", self.what, self.how_to_allow),
        }
    }

    /// A log or a journal with content, whose database is missing. SQLite deletes it when a new database is made.
    fn leftover(&self) -> Option<PathBuf> {
        let db: PathBuf = self.app.effective.db.clone();
        let find = move || {
            let real = files::link_destination(&db).unwrap_or(db);
            let has_content = |file: &PathBuf| matches!(files::stat(file), Ok(Some(stat)) if stat.bytes > 0);
            ["-wal", "-journal"].map(|suffix| files::beside(&real, suffix)).into_iter().find(has_content)
        };
        with_timeout(STAT_LIMIT, find).flatten()
    }

    /// Whether the next program that opens the database has to read its whole log first, which may take longer than a
    /// check has time.
    fn wal_needs_recovery(&self) -> bool {
        let registry = Database::new(self.app.effective.db.clone());
        with_timeout(STAT_LIMIT, move || registry.wal_needs_recovery()).unwrap_or(false)
    }
}

/// The most processes that a refusal names.
const MAX_PROCESSES: usize = 10;

/// The codes of a database that is not there yet; an empty file is what a program makes of it first.
const MISSING: [&str; 2] = ["missing", "empty"];

/// What stands behind a look that took too long after a crash.
const RECOVERING: &str = "nobody has the database open, and its write-ahead log has to be read to its end by the next program \
                          that opens it; that takes longer than the checks have time";

/// The codes of a look that took too long.
const OUT_OF_TIME: [&str; 3] = ["timed-out", "still-running", "read-budget"];

/// Whether a check of ours has found one of these.
fn has(report: &Report, codes: &[&str]) -> bool {
    let findings = report.checks.iter().filter(|entry| is_built_in(entry)).flat_map(|entry| &entry.findings);
    findings.into_iter().any(|finding| codes.contains(&finding.code.as_str()))
}

/// A plugin's codes are its own.
fn is_built_in(entry: &Entry) -> bool {
    entry.origin == Origin::Builtin
}
