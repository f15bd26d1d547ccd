//! The `backup` check: is there a backup, is it young, proven, no smaller than it should be, and is there room for the next?
//!
//! Looks at names, `stat`, records and the note of a backup that failed; opens no archive. In `serve` it also says what the
//! schedule could not do.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::backup::{
    ArchiveState, CatalogEntry, Error, Include, Proofs, Settings, Structure, beside::journal, catalogue::attempt,
    catalogue::catalog::of_database, catalogue::lost_rows, list, reverify::proven_at,
};
use vitalsign_base::{
    clock::{Clock, Timestamp},
    files,
    value::{self, Name, bytes},
};
use vitalsign_check::{
    BoxFuture, Check, CheckInfo, Context, NoConfig, Outcome, Overrides, Schedule, Spec, every,
    report::{Finding, Measure, Origin, Status, Weight},
};

/// The check in the table of all checks.
pub const ROW: CheckInfo = CheckInfo::of::<NoConfig>("backup", "The newest backup is young, proven and whole.", || {
    every(60, Weight::Ordinary)
});

/// Predecessors that the newest archive is held against.
const PREDECESSORS: usize = 5;

/// The newest archive is suspiciously small below this share of its predecessors' median: nobody deletes half a registry.
const LEAST_SHARE: f64 = 0.5;

/// Archives of which one finding each tells; a disk that fails takes many at once.
const MAX_TOLD: usize = 5;

/// How long a verification may take at least before it is told: so long read some hundred gigabytes.
const LEAST_SILENCE: Duration = Duration::from_secs(3600);

/// Room that the next archive may need beyond the newest one's size.
const GROWTH: f64 = 1.2;

/// How the last scheduled run ended, and what could not be verified again, shared between the schedules and the check.
///
/// A backup that failed is noted on the disk as well. This is for what cannot be noted there, and for what is no backup, such
/// as the removal of old archives.
#[derive(Clone, Debug, Default)]
pub struct LastRun {
    failed: Arc<Mutex<Option<FailedRun>>>,
    /// What could not be verified again.
    pub proofs: Proofs,
}

/// When a scheduled run failed, and why.
type FailedRun = (Timestamp, String);

impl LastRun {
    /// Notes how a run ended: with nothing, or with a sentence that says why it failed.
    pub fn note(&self, at: Timestamp, ended: Result<(), String>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = ended.err().map(|why| (at, why));
    }

    fn failure(&self) -> Option<FailedRun> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The check.
pub struct BackupCheck {
    spec: Spec,
    settings: Settings,
    db: PathBuf,
    clock: Arc<dyn Clock>,
    last: LastRun,
}

impl BackupCheck {
    /// The check on the archives that `settings` describe, as far as they are of the database `db`.
    ///
    /// # Errors
    /// Never in practice: the name is a constant that is one.
    pub fn new(
        settings: Settings,
        db: PathBuf,
        overrides: &Overrides,
        clock: Arc<dyn Clock>,
        last: LastRun,
    ) -> Result<Self, value::BadName> {
        let schedule: Schedule = (ROW.schedule)().with(overrides);
        let spec = Spec { name: Name::parse(ROW.name)?, origin: Origin::Builtin, schedule };
        Ok(Self { spec, settings, db, clock, last })
    }

    fn look(&self) -> Outcome {
        let dir = self.settings.dir.display();
        let (own, aside) = match self.own() {
            Ok((own, aside)) => (Ok(own), aside),
            Err(failure) => (Err(failure), Vec::new()),
        };
        let unfinished = self.unfinished();
        let failed = self.failed(own.as_deref().unwrap_or_default());
        let mut outcome = match own.as_deref() {
            Err(failure) => {
                Outcome::of(Finding::new(Status::Unknown, "unlisted", failure.to_string()).hint(failure.hint()))
            }
            Ok([]) if !self.settings.configured && failed.is_none() && unfinished.is_none() && aside.is_empty() => {
                let message = format!("there is no backup in {dir}, and the configuration does not ask for any");
                let hint = "make one with `vitalsign backup`; with `backup` in the configuration its age is checked";
                return Outcome::of(Finding::new(Status::Skipped, "not-configured", message).hint(hint));
            }
            Ok([]) if !self.settings.configured => Outcome::new(format!("there is no backup in {dir}")),
            Ok([]) => {
                let message = format!("there is no backup in {dir}");
                let hint = "make one with `vitalsign backup`";
                Outcome::of(Finding::new(Status::Error, "missing", message).hint(hint))
            }
            Ok([newest, older @ ..]) => self.newest(newest, older),
        };
        outcome.findings.extend(aside);
        outcome.findings.extend(failed);
        outcome.findings.extend(self.not_verified_again(own.as_deref().unwrap_or_default()));
        outcome.findings.extend(unfinished);
        outcome
    }

    /// The finding that a restore was interrupted.
    fn unfinished(&self) -> Option<Finding> {
        let journal = journal::interrupted(&self.db)?;
        let message = format!(
            "a restore was interrupted, as {} shows: the database and its provenance export may not belong together",
            journal.display()
        );
        let hint = "stop the registry, then run `vitalsign restore --undo`, which puts back what was there before, or restore again";
        Some(Finding::new(Status::Error, "restore-unfinished", message).hint(hint))
    }

    /// The finding that the last backup failed, if none has succeeded since. `own` are the archives, newest first.
    fn failed(&self, own: &[CatalogEntry]) -> Option<Finding> {
        let (message, mut hint) = match attempt::last_failed(&self.db, &self.settings.dir) {
            Some(failed) => {
                let begun_at = failed.begun_at;
                let message = match failed.why {
                    Some(why) => format!("the backup that began at {begun_at} failed: {why}"),
                    None => format!(
                        "the backup that began at {begun_at} did not finish: its process was ended, or the machine stopped"
                    ),
                };
                (message, failed.hint)
            }
            None => {
                let (at, why) = self.last.failure()?;
                if own.first().is_some_and(|newest| newest.created_at > at) {
                    return None;
                }
                (format!("the schedule of backups failed at {at:.0}: {why}"), String::new())
            }
        };
        if !hint.is_empty() {
            hint.push_str("; then ");
        }
        hint.push_str("run `vitalsign backup`: this finding goes when a backup succeeds");
        Some(Finding::new(Status::Error, "failed", message).hint(hint))
    }

    /// What `serve` could not verify again.
    fn not_verified_again(&self, own: &[CatalogEntry]) -> Vec<Finding> {
        let now = self.clock.now();
        let proofs = &self.last.proofs;
        let mut findings = Vec::new();
        let mut tell = |status, message: String, hint: &str, path: Option<&Path>| {
            let finding = Finding::new(status, "not-verified-again", message).hint(hint);
            findings.push(match path.and_then(Path::file_name) {
                Some(name) => finding.subject(name.to_string_lossy()),
                None => finding,
            });
        };
        for (one, unproven) in proofs.failed(own, now).iter().take(MAX_TOLD) {
            let name = one.path.file_name().unwrap_or_default().to_string_lossy();
            let status = if unproven.is_bad { Status::Error } else { Status::Unknown };
            let message = format!("{name} could not be verified again: {}", unproven.why);
            tell(status, message, &unproven.hint, Some(&one.path));
        }
        if let Some(unproven) = proofs.unlisted() {
            let message = format!("no archive could be verified again at {:.0}: {}", unproven.at, unproven.why);
            tell(Status::Unknown, message, &unproven.hint, None);
        }
        if let Some((path, since)) = proofs.under_way()
            && let Some(every) = self.settings.reverify.map(|reverify| reverify.every)
            && let Ok(age) = Duration::try_from(now.duration_since(since))
            && age >= every.max(LEAST_SILENCE)
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let message = format!("the verification of {name} began {} ago and has not ended", value::span(age));
            let hint = "find out whether the file system of the archives answers; the next verification waits for this one, backups do not";
            tell(Status::Unknown, message, hint, Some(&path));
        }
        findings
    }

    /// The archives of this database, and those that do not say of which they are; and what is told of archives that count for nothing.
    fn own(&self) -> Result<(Vec<CatalogEntry>, Vec<Finding>), Error> {
        let path = files::resolved(&self.db).unwrap_or_else(|_| self.db.clone());
        let real = path.display().to_string();
        let (own, others) = of_database(list(&self.settings.dir, false)?, &path, self.settings.identity.as_deref());
        let now = self.clock.now();
        let (future, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|one| one.is_future(now));
        let (unreadable, own): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|one| one.standing == ArchiveState::Unreadable);
        let mut findings = Vec::new();
        let mut tell = |status, code: &str, of: &[CatalogEntry], what: String, hint: &str| {
            if let [first, ..] = of {
                let name = first.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let message = format!("{} {what}", listed_count(of.len()));
                findings.push(Finding::new(status, code, message).subject(name).hint(hint));
            }
        };
        tell(
            Status::Warn,
            "future",
            &future,
            "with a time in the future: made by a clock that was wrong, so how old it is nobody knows; it counts for nothing, and `prune` keeps it"
                .to_owned(),
            "correct the clock of this machine, make a new backup, then move this one away or remove it",
        );
        tell(
            Status::Unknown,
            "unreadable",
            &unreadable,
            format!(
                "cannot be accessed: {}",
                unreadable.first().and_then(|one| one.flaw.as_deref()).unwrap_or("the reason is not known")
            ),
            "look at its permissions, and at the file system that the folder is on",
        );
        let same_path: Vec<_> = others.into_iter().filter(|one| one.source.as_ref() == Some(&real)).collect();
        if own.is_empty() && self.settings.configured {
            tell(
                Status::Warn,
                "of-another",
                &same_path,
                "here of a database with the same path on another host, so it does not count".to_owned(),
                "make a backup of this database with `vitalsign backup`, best into a folder of its own",
            );
        }
        Ok((own, findings))
    }

    fn newest(&self, newest: &CatalogEntry, older: &[CatalogEntry]) -> Outcome {
        let name = newest.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // One that is a little ahead, as clocks differ, is as young as can be.
        let age = Duration::try_from(self.clock.now().duration_since(newest.created_at)).unwrap_or_default();
        let count = listed_count(older.len() + 1);
        let mut outcome = Outcome::new(format!(
            "{count}; the newest is {} old, {} and {}",
            value::span(age),
            bytes(newest.bytes),
            newest.standing.as_str()
        ));
        let limit = self.settings.max_age;
        let error = limit.map(|limit| limit.as_secs_f64());
        // What is below a millisecond is noise.
        let age_seconds = Duration::from_millis(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)).as_secs_f64();
        outcome.measures.push(Measure { error, ..Measure::new("backup_age", age_seconds, "seconds") });
        outcome.measures.push(Measure::new("backup_bytes", number(newest.bytes), "bytes"));
        outcome.measures.push(Measure::new("backup_count", number(older.len() as u64 + 1), ""));
        let mut found = |status, code: &str, message: String, hint: &str| {
            outcome.findings.push(Finding::new(status, code, message).subject(name.clone()).hint(hint));
        };
        if let Some(limit) = limit.filter(|limit| age > *limit) {
            let message =
                format!("the newest backup is {} old; at most {} are wanted", value::span(age), value::span(limit));
            found(Status::Error, "old", message, "find out why none was made since: run `vitalsign backup`");
        }
        if let Some(median) = median(older)
            && number(newest.bytes) < median * LEAST_SHARE
        {
            let message = format!(
                "the newest backup has {}, less than half of the median of the backups before it",
                bytes(newest.bytes)
            );
            found(
                Status::Warn,
                "shrunk",
                message,
                "check whether rows are missing: `vitalsign list` shows how many each backup has",
            );
        }
        outcome.findings.extend(not_proven(newest).map(|found| found.subject(name.clone())));
        outcome
            .findings
            .extend(not_included(newest, self.settings.included()).map(|found| found.subject(name.clone())));
        since(newest, older, self.clock.now(), &name, self.settings.max_proof_age, &mut outcome);
        self.room(newest, own_pins(newest, older), &name, &mut outcome);
        outcome
    }

    /// Whether the next backup has room, which is about as large as the newest.
    fn room(&self, newest: &CatalogEntry, pinned: u64, name: &str, outcome: &mut Outcome) {
        let (status, code, message, hint) = match files::free_bytes(&self.settings.dir) {
            Ok(free) => {
                outcome.measures.push(Measure::new("backup_free_bytes", number(free), "bytes"));
                if number(free) >= number(newest.bytes) * GROWTH {
                    return;
                }
                let (free, size) = (bytes(free), bytes(newest.bytes));
                let mut message = format!("{free} are free for the next backup, and the newest one has {size}");
                if pinned > 0 {
                    message += &format!("; pinned ones, which are never removed, have {}", bytes(pinned));
                }
                (Status::Warn, "no-room", message, "make room, or remove old backups with `vitalsign prune`")
            }
            Err(error) => {
                let message = format!("the free space for the next backup is not known: {error}");
                (Status::Unknown, "free-unknown", message, "check the file system that the folder is on")
            }
        };
        outcome.findings.push(Finding::new(status, code, message).subject(name).hint(hint));
    }
}

impl Check for BackupCheck {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.look() })
    }
}

/// Why the newest archive proves nothing, or less than it should.
fn not_proven(newest: &CatalogEntry) -> Option<Finding> {
    let why = |unknown: &'static str| newest.flaw.as_deref().unwrap_or(unknown);
    let hint = "`vitalsign verify` says what is wrong with it; make a new backup now";
    let found = match newest.standing {
        // Those that cannot be accessed are told apart.
        ArchiveState::Verified | ArchiveState::Unreadable => return None,
        ArchiveState::Damaged => {
            let message = format!("the newest backup is damaged: {}", why("its verification failed"));
            Finding::new(Status::Error, "damaged", message).hint(hint)
        }
        ArchiveState::Changed => {
            let message = "the newest backup has another size than when it was verified".to_owned();
            Finding::new(Status::Error, "changed", message).hint(hint)
        }
        // The record tells what it found in the database by itself.
        ArchiveState::Flawed if !matches!(newest.structure, Some(Structure::Flawed(_))) => {
            let message =
                format!("what is included in the newest backup has faults: {}", why("the reason is not known"));
            let hint = "correct each of them, or `backup.include`, then make a new backup";
            Finding::new(Status::Warn, "include-flawed", message).hint(hint)
        }
        ArchiveState::Flawed => {
            let message =
                format!("the database in the newest backup has faults: {}", why("an index or a rule is broken"));
            Finding::new(Status::Warn, "flawed", message).hint(
                "no row is lost, and `vitalsign restore --despite-faults` restores it; correct the faults in the registry as the \
                 check `integrity` says, then make a new backup",
            )
        }
        ArchiveState::Incomplete => {
            let message =
                format!("the newest backup lacks committed rows: {}", why("another process had the database open"));
            Finding::new(Status::Error, "incomplete", message).hint("see to that process, then make a new backup")
        }
        ArchiveState::Unverified => {
            let message = match &newest.flaw {
                Some(why) => format!("the newest backup is not verified: {why}"),
                None => "the newest backup was never verified".to_owned(),
            };
            Finding::new(Status::Warn, "unverified", message).hint("verify it with `vitalsign verify`")
        }
    };
    Some(found)
}

/// The finding that the newest archive does not have everything that is to be included.
fn not_included(newest: &CatalogEntry, include: &[Include]) -> Option<Finding> {
    let lacking: Vec<_> = include.iter().filter(|one| !newest.include.contains(&one.name)).collect();
    let [first, more @ ..] = lacking.as_slice() else { return None };
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let message = format!(
        "the newest backup does not contain `{}`{more}, which `backup.include` names",
        value::printable(&first.name, value::MAX_NAME_BYTES)
    );
    Some(Finding::new(Status::Warn, "not-included", message).hint("make a new backup with `vitalsign backup`"))
}

/// What only shows when the newest is held against those before it.
fn since(
    newest: &CatalogEntry,
    older: &[CatalogEntry],
    now: Timestamp,
    name: &str,
    limit: Option<Duration>,
    outcome: &mut Outcome,
) {
    outcome.findings.extend(rows_lost(newest, older, now).map(|found| found.subject(name)));
    outcome.findings.extend(rotten(older));
    // What was read long ago may have gone bad on the disk since.
    let of_use = |one: &&CatalogEntry| !matches!(one.standing, ArchiveState::Damaged | ArchiveState::Changed);
    let all = || std::iter::once(newest).chain(older).filter(of_use);
    let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    if let Some(oldest) = all().filter_map(|one| proven_at(one, now)).min() {
        let warn = limit.map(|limit| limit.as_secs_f64());
        let age = number(age(oldest).as_secs());
        outcome.measures.push(Measure { warn, ..Measure::new("backup_oldest_proof_age", age, "seconds") });
    }
    // One that was never verified has waited for that since it was made.
    let waits = all().map(|one| (proven_at(one, now).unwrap_or(one.created_at), one)).min_by_key(|(at, _)| *at);
    if let (Some((at, one)), Some(limit)) = (waits, limit)
        && age(at) > limit
    {
        let stalest = one.path.file_name().unwrap_or_default().to_string_lossy();
        let word =
            if proven_at(one, now).is_some() { "was last verified" } else { "was not verified since it was made" };
        let (age, limit) = (value::span(age(at)), value::span(limit));
        let message = format!("{stalest} {word} {age} ago; at most {limit} are wanted");
        let hint = "verify it with `vitalsign verify --stalest --budget 10m`; if `serve` does not come round, raise \
                    `backup.verifyBudgetSeconds`";
        outcome.findings.push(Finding::new(Status::Warn, "proof-old", message).subject(stalest).hint(hint));
    }
}

/// That older archives do not hold any more what was backed up. The newest is told apart.
fn rotten(older: &[CatalogEntry]) -> Vec<Finding> {
    let bad = older.iter().filter(|one| matches!(one.standing, ArchiveState::Damaged | ArchiveState::Changed));
    let count = bad.clone().count();
    let tell = |one: &CatalogEntry| {
        let name = one.path.file_name().unwrap_or_default().to_string_lossy();
        let why = match one.standing {
            ArchiveState::Changed => "it has another size than when it was verified",
            _ => one.flaw.as_deref().unwrap_or("its verification failed"),
        };
        let others = if count > MAX_TOLD { format!(" (one of {count} such backups)") } else { String::new() };
        let message = format!("the older backup {name} does not hold any more what was backed up{others}: {why}");
        let hint = "check the disk that holds the archives (`dmesg`); put this one back from another copy if there is one, otherwise \
                    remove it, by hand or with `vitalsign prune`, which ends this finding";
        Finding::new(Status::Error, "rotten", message).subject(name).hint(hint)
    };
    bad.take(MAX_TOLD).map(tell).collect()
}

/// That records are missing since an earlier backup, until they are back or somebody accepts it.
fn rows_lost(newest: &CatalogEntry, older: &[CatalogEntry], now: Timestamp) -> Option<Finding> {
    let all: Vec<_> = std::iter::once(newest).chain(older).collect();
    let lost = lost_rows::lost(&all, now)?;
    let (newest, most) = (all.get(lost.newest)?, all.get(lost.most)?);
    let count = |one: &CatalogEntry| value::grouped(one.records.unwrap_or_default());
    let name = most.path.file_name().unwrap_or_default().to_string_lossy();
    let message = format!("the newest backup has {} records, and {name} has {}", count(newest), count(most));
    let hint = "find out whether they were removed on purpose; if so, `vitalsign backup --accept-fewer-rows` ends this warning; if not, \
                restore that archive, which no rule removes meanwhile";
    Some(Finding::new(Status::Warn, "rows-lost", message).hint(hint))
}

/// Bytes of the archives that no rule removes.
fn own_pins(newest: &CatalogEntry, older: &[CatalogEntry]) -> u64 {
    std::iter::once(newest).chain(older).filter(|one| one.pinned).map(|one| one.bytes).sum()
}

fn listed_count(count: usize) -> String {
    if count == 1 { "1 backup".to_owned() } else { format!("{} backups", value::grouped(count as u64)) }
}

fn median(older: &[CatalogEntry]) -> Option<f64> {
    let mut sizes: Vec<u64> = older.iter().take(PREDECESSORS).map(|one| one.bytes).collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().map(number)
}

/// A count as a measure's value. Above 2^53 the last digits are lost, which no measure here reaches.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn number(count: u64) -> f64 {
    count as f64
}
