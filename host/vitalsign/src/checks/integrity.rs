//! Whether the structure of the database is intact, its indexes agree with its tables, and its rows keep the declared rules.
//!
//! What is looked at, and when, is decided in `survey`; what SQLite's words mean, in `sqlite`. Here they become findings: each
//! kind of damage has its own code, because each is repaired in another way.

mod survey;

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Builtin, Settings, almost, every, finding, number, worst};
use survey::{Survey, SurveyProgress, View};
use vitalsign_base::{
    clock::Deadline,
    value::{grouped, printable, span},
};
use vitalsign_check::{
    Outcome, Schedule,
    report::{Finding, Measure, Status, Weight},
};
use vitalsign_sqlite::{BadFrame, Database, Problem, ProblemKind, StopReason, TransactionLimits};

/// The longest read transaction. A database that takes longer is looked at table by table; with a busy writer the growth of the
/// log ends a read much sooner.
const LONGEST_READ: Duration = Duration::from_secs(30 * 60);

/// From this age on the summary says how old the last complete look is; below it was made just now.
const WORTH_SAYING: Duration = Duration::from_secs(2);

/// The code of an index that disagrees with its table.
const INDEX_DAMAGED: &str = "index-damaged";

/// The longest of SQLite's sentences that a finding repeats, in bytes.
const MOST_WORDS: usize = 500;

pub(super) struct IntegrityCheck {
    survey: Survey,
    config: Config,
}

/// The check's own configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Config {
    /// Bytes that the write-ahead log may grow by during one read transaction of the check.
    max_wal_growth_bytes: u64,
    /// A database that has not been looked through completely for so many seconds is a warning.
    #[schemars(range(min = 1))]
    max_age_seconds: u64,
    /// Findings listed at most.
    #[schemars(range(min = 1, max = 1000))]
    max_problems: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_wal_growth_bytes: 256 * 1024 * 1024, max_age_seconds: 7 * 24 * 60 * 60, max_problems: 10 }
    }
}

impl Builtin for IntegrityCheck {
    type Config = Config;
    const NAME: &'static str = "integrity";
    const SUMMARY: &'static str =
        "The structure is intact, indexes agree with their tables, and rows keep the declared rules.";

    fn schedule() -> Schedule {
        Schedule { timeout: Duration::from_secs(10), ..every(60, Weight::Critical) }
    }

    fn new(registry: &Database, _: &Settings, config: Config) -> Self {
        let limits = TransactionLimits { time: LONGEST_READ, wal_growth: config.max_wal_growth_bytes };
        Self { survey: Survey::new(registry, limits), config }
    }

    fn look(&self, deadline: Deadline) -> Outcome {
        told(&self.survey.look(almost(deadline)), &self.config)
    }
}

fn told(view: &View, config: &Config) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.findings.extend(damage(&view.problems, config));
    outcome.findings.extend(view.bad_frame.map(broken_log));
    outcome.measures.push(Measure::new("problems", number(count(outcome.findings.len())), ""));
    outcome.findings.extend(view.error.as_ref().map(finding));
    outcome.findings.extend(overdue(view, config));
    outcome.findings.extend(not_checked(view));
    outcome.findings.extend(not_accounted(view));
    outcome.summary = match worst(&outcome.findings).filter(|worst| worst.status != Status::Ok) {
        Some(worst) => worst.message.clone(),
        None => sound(view),
    };
    if let Some((age, _)) = view.full {
        outcome.measures.push(Measure::new("full_look_age", number(age.as_secs()), "seconds"));
    }
    outcome
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What is said when nothing is bad.
fn sound(view: &View) -> String {
    let all = view.not_compared.is_empty() && view.not_looked_at.is_empty();
    let sound = match (all, view.is_accounted) {
        (true, true) => "structure and indexes are intact",
        (true, false) => "nothing bad was found in any table or index, but not every page was accounted for",
        (false, _) => "nothing bad was found, but some tables could not be compared with their indexes",
    };
    match view.full {
        None => "nothing was looked at yet".to_owned(),
        Some((age, took)) if age < took + WORTH_SAYING => format!("{sound}; looked through in {}", span(took)),
        Some((age, took)) => format!("{sound}; looked through {} ago, in {}", span(age), span(took)),
    }
}

/// One finding for each kind of problem in each table or index.
fn damage(problems: &[Problem], config: &Config) -> Vec<Finding> {
    let mut groups: BTreeMap<(ProblemKind, Option<&str>), Vec<&str>> = BTreeMap::new();
    for problem in problems.iter().filter(|problem| problem.kind != ProblemKind::NotChecked) {
        groups.entry((problem.kind, problem.subject.as_deref())).or_default().push(&problem.text);
    }
    // What is wrong with an index follows from damage to its own pages, or may follow from damage to those of its table.
    let broken: Vec<_> =
        groups.keys().filter(|(kind, _)| *kind == ProblemKind::IndexStructure).map(|(_, subject)| *subject).collect();
    groups.retain(|(kind, subject), _| *kind != ProblemKind::Index || !broken.contains(subject));
    let structure = groups.keys().any(|(kind, _)| *kind == ProblemKind::Structure);
    let most = usize::try_from(config.max_problems.clamp(1, 1000)).unwrap_or(usize::MAX);
    let (listed, more) = (groups.len().min(most), groups.len().saturating_sub(most));
    let mut findings: Vec<_> =
        groups.iter().take(listed).map(|((kind, subject), texts)| bad(*kind, *subject, texts)).collect();
    for finding in findings.iter_mut().filter(|finding| structure && finding.code == INDEX_DAMAGED) {
        finding.hint = Some("repair the structure first; this may be a consequence of it".to_owned());
    }
    if let (1.., Some(last)) = (more, findings.last_mut()) {
        last.message.push_str(&format!("; {more} more tables or indexes have problems that are not listed here"));
    }
    findings
}

fn bad(kind: ProblemKind, subject: Option<&str>, texts: &[&str]) -> Finding {
    let name = subject.map(|name| printable(name, 100));
    let of = |what: &str| name.as_ref().map_or_else(|| what.to_owned(), |name| format!("{what} of `{name}`"));
    let index = name.as_ref().map_or_else(|| "an index".to_owned(), |name| format!("the index `{name}`"));
    let (code, what, hint) = match kind {
        ProblemKind::Structure => (
            "corrupt",
            format!("{} is damaged", of("the structure")),
            "stop the registry, keep a copy of its files, and restore a backup".to_owned(),
        ),
        ProblemKind::IndexStructure => (
            "corrupt",
            format!("the structure of {index} is damaged; the rows in its table are not affected by that"),
            "stop the registry and keep a copy of its files; build the database anew from them with `sqlite3 COPY .recover`, \
             which keeps every row, before you think of restoring an older backup"
                .to_owned(),
        ),
        ProblemKind::Index => (
            INDEX_DAMAGED,
            format!("{index} disagrees with its table"),
            format!(
                "keep a copy of the files, then run `REINDEX {}`, which builds it anew from the rows; where two rows share a \
                 value that has to be unique, correct one of them first. No backup has to be restored",
                name.as_deref().unwrap_or_default()
            ),
        ),
        ProblemKind::Rule => (
            "constraint-violated",
            format!("{} break a rule that the table declares", of("rows")),
            "list them with `PRAGMA integrity_check`, and correct them. No backup has to be restored".to_owned(),
        ),
        ProblemKind::Virtual | ProblemKind::NotChecked => (
            "virtual-table-damaged",
            format!("{} disagrees with its content", of("the index")),
            format!(
                "keep a copy of the files, then build it anew: `INSERT INTO {0}({0}) VALUES ('rebuild')` for a full-text index; \
                 drop and fill an R-tree. No backup has to be restored",
                name.as_deref().unwrap_or("TABLE")
            ),
        ),
    };
    let first = printable(texts.first().unwrap_or(&""), MOST_WORDS);
    let more = match texts.len() {
        0 | 1 => String::new(),
        2 => " (and 1 more problem)".to_owned(),
        many => format!(" (and {} more problems)", many - 1),
    };
    let found = Finding::new(Status::Error, code, format!("{what}: {first}{more}")).hint(hint);
    let found = match kind {
        ProblemKind::Structure | ProblemKind::IndexStructure => found.corrupt(),
        // The registry can run with these, and is what mends them.
        ProblemKind::Rule | ProblemKind::Virtual | ProblemKind::NotChecked => found.repaired_by_start(),
        _ => found,
    };
    match name {
        Some(name) => found.subject(name),
        None => found,
    }
}

fn broken_log(bad: BadFrame) -> Finding {
    let BadFrame { frame, of } = bad;
    let message = format!(
        "the write-ahead log is damaged at frame {} of {}: what was committed from there on is lost when SQLite recovers the log after a crash",
        grouped(frame),
        grouped(of)
    );
    let hint = "while the registry runs, its rows can still be read: make a backup now, then have the registry run \
                `PRAGMA wal_checkpoint(TRUNCATE)`; if it has ended already, keep a copy of the files before you start it";
    // The registry drops the damaged end by itself when it starts, and nothing else can.
    Finding::new(Status::Error, "wal-damaged", message).hint(hint).repaired_by_start()
}

/// What is said when not everything has been looked at, or not for long.
fn overdue(view: &View, config: &Config) -> Option<Finding> {
    let most = Duration::from_secs(config.max_age_seconds);
    let how_far = view.progress.as_ref().map(how_far);
    let age = view.full.map_or(view.waiting, |(age, _)| age);
    if age > most {
        let why = how_far.map(|how_far| format!(": {how_far}")).unwrap_or_default();
        let message = format!("the database has not been looked through completely for {}{why}", span(age));
        return Some(Finding::new(Status::Warn, "overdue", message).hint(
            "run `PRAGMA integrity_check` on a backup of it, or let the check hold its reads longer: `maxWalGrowthBytes` in \
             `health.checks.integrity.config`",
        ));
    }
    if view.full.is_some() || view.error.is_some() {
        return None;
    }
    let message =
        format!("not everything was looked at, and nothing bad was found so far: {}", how_far.unwrap_or_default());
    Some(Finding::new(Status::Skipped, "incomplete", message).hint(
        "`vitalsign serve` goes on looking in the background; for one complete look, enlarge `timeoutMs` of \
         `health.checks.integrity`",
    ))
}

fn how_far(progress: &SurveyProgress) -> String {
    let (looked, of) = progress.tables;
    let tables = match of {
        0 => String::new(),
        _ => format!("{looked} of {of} tables were looked at"),
    };
    let why = progress.left_out.as_ref().map(|(why, table)| match table {
        Some(table) => format!("`{}` was left out because {}", printable(table, 100), reason(why)),
        None => format!("the tables are looked at one by one because {}", reason(why)),
    });
    let running = progress.running.map(|running| format!("a look has been under way for {}", span(running)));
    [tables, why.unwrap_or_default(), running.unwrap_or_default()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn reason(stopped: &StopReason) -> String {
    match stopped {
        StopReason::Time => "the read took too long".to_owned(),
        StopReason::WalGrowth => "the write-ahead log grew too far during the read".to_owned(),
        StopReason::Writer => {
            "another program began to write, and with a rollback journal a read would keep it waiting".to_owned()
        }
        StopReason::Changing => "it was written to during each read".to_owned(),
        StopReason::Cancelled => "the read was called off".to_owned(),
        StopReason::Unsupported(words) => format!("SQLite says: {}", printable(words, MOST_WORDS)),
    }
}

/// What looks at single tables cannot see.
fn not_accounted(view: &View) -> Option<Finding> {
    (view.full.is_some() && !view.is_accounted).then(|| {
        let message = "the tables were checked one by one, because the database could not be read in one go; so it was not \
                       checked whether two of them share a page, or whether a page is in use and free at the same time";
        let hint = "run `PRAGMA integrity_check` on a copy of the database, such as one that `vitalsign restore` makes of a backup";
        Finding::new(Status::Ok, "pages-not-accounted", message).hint(hint)
    })
}

/// What could not be compared or looked at, without a sign that it is damaged.
fn not_checked(view: &View) -> Vec<Finding> {
    let hint = "run `PRAGMA integrity_check` in the registry's own program";
    let compared = view.not_compared.iter().map(|(table, why)| {
        let (table, why) = (printable(table, 100), printable(why, MOST_WORDS));
        let message =
            format!("the structure of `{table}` was looked at, its indexes or rules were not. SQLite says: {why}");
        Finding::new(Status::Ok, "not-compared", message).subject(table).hint(hint)
    });
    let looked_at = view.not_looked_at.iter().map(|(table, why)| {
        let status = if is_missing_here(why) { Status::Ok } else { Status::Unknown };
        let (table, why) = (printable(table, 100), printable(why, MOST_WORDS));
        Finding::new(status, "not-looked-at", format!("`{table}` could not be looked at. SQLite says: {why}"))
            .subject(table)
            .hint(hint)
    });
    let unable = view.problems.iter().filter(|problem| problem.kind == ProblemKind::NotChecked).map(|problem| {
        let finding = Finding::new(Status::Ok, "not-compared", printable(&problem.text, MOST_WORDS)).hint(hint);
        problem.subject.iter().fold(finding, |finding, table| finding.subject(printable(table, 100)))
    });
    compared.chain(looked_at).chain(unable).collect()
}

/// Whether SQLite's words name a part that only the registry's own program has, which is no sign of damage.
fn is_missing_here(words: &str) -> bool {
    const PARTS: [&str; 7] = [
        "unknown function",
        "no such function",
        "no such collation",
        "no such tokenizer",
        "unknown tokenizer",
        "no such module",
        "unsafe use of",
    ];
    PARTS.iter().any(|part| words.contains(part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests make and damage their own files")]

    use std::fs;

    use super::{super::testing::*, *};
    use crate::testing::{Scene, ample};

    /// What is said of a view, without its hints.
    fn said(view: &View) -> String {
        let outcome = told(view, &Config::default());
        let mut out = format!("{}: {}\n", outcome.status().as_str(), outcome.summary);
        for finding in outcome.findings {
            assert!(finding.hint.is_some(), "{finding:?}");
            out += &format!("- {} {}: {}\n", finding.status.as_str(), finding.code, finding.message);
        }
        out
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn a_sound_database() {
        let shown = run(&Scene::with(REGISTRY), "integrity");
        assert!(shown.starts_with("ok: structure and indexes are intact; looked through in "), "{shown}");
    }

    #[test]
    fn each_kind_of_damage_has_its_hint() {
        let scene = Scene::with(&format!(
            "{REGISTRY} CREATE TABLE t(a NOT NULL, b); INSERT INTO t VALUES (1, 2), (3, 4); CREATE INDEX i ON t(a); CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('word');"
        ));
        scene.sql("PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t(a) WHERE 0' WHERE name = 'i'; UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a, b)' WHERE name = 't';");
        scene.sql("INSERT INTO t VALUES (5, 6), (NULL, 7); DELETE FROM f_content;");
        scene.sql("PRAGMA writable_schema = on; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t(a)' WHERE name = 'i'; UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a NOT NULL, b)' WHERE name = 't';");
        insta::assert_snapshot!(run(&scene, "integrity"), @"
        error: the index `i` disagrees with its table: row 3 missing from index i (and 2 more problems)
        - error index-damaged: the index `i` disagrees with its table: row 3 missing from index i (and 2 more problems)
          about i
          keep a copy of the files, then run `REINDEX i`, which builds it anew from the rows; where two rows share a value that has to be unique, correct one of them first. No backup has to be restored
        - error constraint-violated: rows of `t` break a rule that the table declares: NULL value in t.a
          about t
          list them with `PRAGMA integrity_check`, and correct them. No backup has to be restored
        - error virtual-table-damaged: the index of `f` disagrees with its content: malformed inverted index for FTS5 table main.f
          about f
          keep a copy of the files, then build it anew: `INSERT INTO f(f) VALUES ('rebuild')` for a full-text index; drop and fill an R-tree. No backup has to be restored
        * problems = 3
        * full_look_age = 0 seconds
        ");
        // A page of a table, and one of an index.
        let scene = Scene::with(REGISTRY);
        let mut bytes = fs::read(scene.path()).unwrap();
        (bytes[2 * 4096], bytes[3 * 4096]) = (0x77, 0x77);
        fs::write(scene.path(), bytes).unwrap();
        insta::assert_snapshot!(run(&scene, "integrity"), @"
        error: the structure of `provenance` is damaged: Tree 4 page 4: btreeInitPage() returns error code 11
        - error corrupt: the structure of `provenance` is damaged: Tree 4 page 4: btreeInitPage() returns error code 11
          about provenance
          stop the registry, keep a copy of its files, and restore a backup
        - error corrupt: the structure of the index `sqlite_autoindex_records_1` is damaged; the rows in its table are not affected by that: Tree 3 page 3: btreeInitPage() returns error code 11
          about sqlite_autoindex_records_1
          stop the registry and keep a copy of its files; build the database anew from them with `sqlite3 COPY .recover`, which keeps every row, before you think of restoring an older backup
        * problems = 2
        * full_look_age = 0 seconds
        ");
    }

    #[test]
    fn damage_that_is_repaired_is_forgotten() {
        let scene = Scene::with(REGISTRY);
        let whole = fs::read(scene.path()).unwrap();
        let mut bytes = whole.clone();
        bytes[4096] = 0x77;
        fs::write(scene.path(), bytes).unwrap();
        let check = IntegrityCheck::new(&scene.registry(), &settings(), Config::default());
        assert_eq!(check.look(ample()).status(), Status::Error);
        fs::write(scene.path(), whole).unwrap();
        assert_eq!(check.look(ample()).status(), Status::Ok);
        fs::remove_file(scene.path()).unwrap();
        assert_eq!(check.look(ample()).status(), Status::Error);
    }

    #[test]
    fn what_was_not_looked_at_is_said() {
        let table = |name: &str, why: &str| vec![(name.to_owned(), why.to_owned())];
        let progress =
            |looked, left_out| Some(SurveyProgress { running: Some(minutes(1)), tables: (looked, 9), left_out });
        let by_writer = || Some((StopReason::Writer, Some("t".to_owned())));
        let all = Some((minutes(30), minutes(1)));
        let mut lines = String::new();
        for view in [
            View {
                progress: Some(SurveyProgress { running: Some(minutes(1)), ..SurveyProgress::default() }),
                ..View::default()
            },
            View { progress: progress(4, Some((StopReason::WalGrowth, None))), ..View::default() },
            View { progress: progress(4, by_writer()), ..View::default() },
            View { progress: progress(4, by_writer()), full: all, ..View::default() },
            View {
                full: Some((minutes(30 * 24 * 60), minutes(1))),
                is_accounted: true,
                progress: progress(8, by_writer()),
                ..View::default()
            },
            View { waiting: minutes(30 * 24 * 60), progress: progress(8, by_writer()), ..View::default() },
            View {
                is_accounted: true,
                full: all,
                not_compared: table("t", "no such collation sequence: own"),
                ..View::default()
            },
            View {
                is_accounted: true,
                full: all,
                not_looked_at: table("f", "no such tokenizer: own"),
                ..View::default()
            },
            View { is_accounted: true, full: all, not_looked_at: table("f", "SQL logic error"), ..View::default() },
            View {
                is_accounted: true,
                full: all,
                bad_frame: Some(BadFrame { frame: 12, of: 4711 }),
                ..View::default()
            },
        ] {
            lines += &said(&view);
        }
        insta::assert_snapshot!(lines, @"
        skipped: not everything was looked at, and nothing bad was found so far: a look has been under way for 1 min
        - skipped incomplete: not everything was looked at, and nothing bad was found so far: a look has been under way for 1 min
        skipped: not everything was looked at, and nothing bad was found so far: 4 of 9 tables were looked at; the tables are looked at one by one because the write-ahead log grew too far during the read; a look has been under way for 1 min
        - skipped incomplete: not everything was looked at, and nothing bad was found so far: 4 of 9 tables were looked at; the tables are looked at one by one because the write-ahead log grew too far during the read; a look has been under way for 1 min
        skipped: not everything was looked at, and nothing bad was found so far: 4 of 9 tables were looked at; `t` was left out because another program began to write, and with a rollback journal a read would keep it waiting; a look has been under way for 1 min
        - skipped incomplete: not everything was looked at, and nothing bad was found so far: 4 of 9 tables were looked at; `t` was left out because another program began to write, and with a rollback journal a read would keep it waiting; a look has been under way for 1 min
        ok: nothing bad was found in any table or index, but not every page was accounted for; looked through 30 min ago, in 1 min
        - ok pages-not-accounted: the tables were checked one by one, because the database could not be read in one go; so it was not checked whether two of them share a page, or whether a page is in use and free at the same time
        warn: the database has not been looked through completely for 30 d: 8 of 9 tables were looked at; `t` was left out because another program began to write, and with a rollback journal a read would keep it waiting; a look has been under way for 1 min
        - warn overdue: the database has not been looked through completely for 30 d: 8 of 9 tables were looked at; `t` was left out because another program began to write, and with a rollback journal a read would keep it waiting; a look has been under way for 1 min
        warn: the database has not been looked through completely for 30 d: 8 of 9 tables were looked at; `t` was left out because another program began to write, and with a rollback journal a read would keep it waiting; a look has been under way for 1 min
        - warn overdue: the database has not been looked through completely for 30 d: 8 of 9 tables were looked at; `t` was left out because another program began to write, and with a rollback journal a read would keep it waiting; a look has been under way for 1 min
        ok: nothing bad was found, but some tables could not be compared with their indexes; looked through 30 min ago, in 1 min
        - ok not-compared: the structure of `t` was looked at, its indexes or rules were not. SQLite says: no such collation sequence: own
        ok: nothing bad was found, but some tables could not be compared with their indexes; looked through 30 min ago, in 1 min
        - ok not-looked-at: `f` could not be looked at. SQLite says: no such tokenizer: own
        unknown: `f` could not be looked at. SQLite says: SQL logic error
        - unknown not-looked-at: `f` could not be looked at. SQLite says: SQL logic error
        error: the write-ahead log is damaged at frame 12 of 4,711: what was committed from there on is lost when SQLite recovers the log after a crash
        - error wal-damaged: the write-ahead log is damaged at frame 12 of 4,711: what was committed from there on is lost when SQLite recovers the log after a crash
        ");
    }
}
