//! Verifies archives again, those first that were verified longest ago: what was good then may have gone bad on the disk since.
//!
//! One round verifies as many as it can begin in its time, and ends as soon as a backup is to be made. What it found is in the records
//! of the archives; what it could not do is kept for the check on backups. Does not know when a round begins.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::backup::{
    ArchiveState, CatalogEntry, Error, ErrorKind, Progress, catalogue::attempt, catalogue::catalog::FUTURE_TOLERANCE,
    catalogue::catalog::list, catalogue::catalog::of_database, catalogue::manifest::Manifest,
    catalogue::manifest::Verdict, error::stat, examination::INDEX_LIMIT, locking::is_locked,
    prove::verify::verify_leaving_free,
};
use vitalsign_base::{
    clock::{Clock, Stopwatch, Timestamp},
    files,
};
use vitalsign_sqlite::Depth;

/// An archive is due once its proof is older than this share of the time between two rounds: a round takes a while, and what it
/// verified last should be due again in the next.
const DUE_SHARE: f64 = 0.5;

/// How often a verification looks whether another process makes a backup: it then goes on beside it for a second at most.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When archives are verified again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReverifySettings {
    /// The time from one round to the next.
    pub every: Duration,
    /// How long a round goes on before it begins no further archive.
    pub budget: Duration,
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct ReverifyRound<'a> {
    /// The database.
    pub db: &'a Path,
    /// What the operator calls it.
    pub identity: Option<&'a str>,
    /// The folder with its archives.
    pub folder: &'a Path,
    /// When rounds are due, and what is left of the time of this one.
    pub reverify: ReverifySettings,
    /// Room that stays free while an archive is unpacked.
    pub spare_bytes: u64,
    /// Where archives are unpacked whose own folder may not be written.
    pub scratch: &'a Path,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundEnd {
    /// Every archive that was due has been read.
    Done,
    /// The time was over.
    OutOfTime,
    /// It was asked to stop, or another process makes a backup or restores one.
    GaveWay,
}

/// What rounds could not do, shared between them and the check.
#[derive(Clone, Debug, Default)]
pub struct Proofs(Arc<Mutex<ProofState>>);

#[derive(Debug, Default)]
struct ProofState {
    /// When each archive was last tried, however that ended: one that cannot be read must not be tried for ever before the others.
    tried: BTreeMap<PathBuf, Timestamp>,
    failed: BTreeMap<PathBuf, FailedProof>,
    unlisted: Option<FailedProof>,
    under_way: Option<(PathBuf, Timestamp)>,
}

/// Why an archive could not be verified, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedProof {
    pub(crate) at: Timestamp,
    /// Whether the archive is bad, and only its record does not say so: that could not be written, or the disk does not give its bytes.
    pub(crate) is_bad: bool,
    pub(crate) why: String,
    pub(crate) hint: String,
}

impl FailedProof {
    fn of(archive: &Path, failure: &Error, clock: &dyn Clock) -> Self {
        let io_error = rustix::io::Errno::IO.raw_os_error();
        let is_unreadable = matches!(failure, Error::Io { path, source, .. } if path == archive && source.raw_os_error() == Some(io_error));
        let is_bad = is_unreadable || failure.kind() == ErrorKind::Damaged;
        Self { at: clock.now(), is_bad, why: failure.to_string(), hint: failure.hint() }
    }
}

impl Proofs {
    fn state(&self) -> MutexGuard<'_, ProofState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the archives that could not be verified when that was last tried, and have not been verified since.
    pub(crate) fn failed<'a>(
        &self,
        listed: &'a [CatalogEntry],
        now: Timestamp,
    ) -> Vec<(&'a CatalogEntry, FailedProof)> {
        let state = self.state();
        let failed = listed.iter().filter_map(|one| Some((one, state.failed.get(&one.path)?.clone())));
        failed.filter(|(one, unproven)| proven_at(one, now).is_none_or(|at| at < unproven.at)).collect()
    }

    /// Why the last round could not begin.
    pub(crate) fn unlisted(&self) -> Option<FailedProof> {
        self.state().unlisted.clone()
    }

    /// Notes how a round began or ended: as a whole it fails only where the folder cannot be listed, or by a bug.
    pub fn note(&self, at: Timestamp, failed: Option<(String, String)>) {
        self.state().unlisted = failed.map(|(why, hint)| FailedProof { at, is_bad: false, why, hint });
    }

    /// The archive that is being verified, and since when.
    pub(crate) fn under_way(&self) -> Option<(PathBuf, Timestamp)> {
        self.state().under_way.clone()
    }

    /// The archives that are due, those first whose proof is oldest or that have none.
    fn due(&self, listed: Vec<CatalogEntry>, now: Timestamp, every: Duration) -> Vec<CatalogEntry> {
        let mut state = self.state();
        state.tried.retain(|path, _| listed.iter().any(|one| one.path == *path));
        state.failed.retain(|path, _| listed.iter().any(|one| one.path == *path));
        let last =
            |one: &CatalogEntry| proven_at(one, now).max(state.tried.get(&one.path).copied().filter(|at| *at <= now));
        let is_due = |at: &Option<Timestamp>| {
            at.is_none_or(|at| {
                Duration::try_from(now.duration_since(at)).is_ok_and(|age| age >= every.mul_f64(DUE_SHARE))
            })
        };
        let all = listed.into_iter().map(|one| (last(&one), one));
        let mut due: Vec<_> = all.filter(|(at, one)| one.standing != ArchiveState::Unreadable && is_due(at)).collect();
        due.sort_by_key(|(at, one)| (*at, one.created_at));
        due.into_iter().map(|(_, one)| one).collect()
    }

    pub(crate) fn begin(&self, path: &Path, now: Timestamp) {
        self.state().under_way = Some((path.to_owned(), now));
    }

    fn end(&self, path: &Path, ended: Option<(Timestamp, Option<FailedProof>)>) {
        let mut state = self.state();
        state.under_way = None;
        let Some((at, unproven)) = ended else { return };
        state.tried.insert(path.to_owned(), at);
        match unproven {
            Some(unproven) => state.failed.insert(path.to_owned(), unproven),
            None => state.failed.remove(path),
        };
    }
}

/// When an archive was last read to its end; `None` where that says nothing of the file that is there now.
#[must_use]
pub fn proven_at(one: &CatalogEntry, now: Timestamp) -> Option<Timestamp> {
    let says_nothing =
        matches!(one.standing, ArchiveState::Unverified | ArchiveState::Changed | ArchiveState::Unreadable);
    let at: Timestamp = one.verified_at.as_deref().filter(|_| !says_nothing)?.parse().ok()?;
    (at.duration_since(now) <= FUTURE_TOLERANCE).then_some(at)
}

/// Verifies archives again, at least one if any is due.
///
/// That one is damaged is no failure of the round: its record says so from then on, and the round goes on.
///
/// # Errors
/// [`Error`] when the folder cannot be listed.
pub fn reverify(
    round: &ReverifyRound<'_>,
    proofs: &Proofs,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<RoundEnd, Error> {
    let real = files::resolved(round.db).unwrap_or_else(|_| round.db.to_owned());
    let (own, _) = of_database(list(round.folder, false)?, &real, round.identity);
    let way = YieldToBackup { progress, round, real: &real, looked: Mutex::new(None) };
    let watch = Stopwatch::start();
    for (at, one) in proofs.due(own, clock.now(), round.reverify.every).iter().enumerate() {
        if way.is_cancelled() {
            return Ok(RoundEnd::GaveWay);
        }
        if at > 0 && watch.elapsed() >= round.reverify.budget {
            return Ok(RoundEnd::OutOfTime);
        }
        let path = &one.path;
        proofs.begin(path, clock.now());
        let depth = Depth::Within(INDEX_LIMIT);
        let unproven = match verify_leaving_free(path, depth, round.spare_bytes, round.scratch, clock, &way) {
            Err(Error::Interrupted) => {
                proofs.end(path, None);
                return Ok(RoundEnd::GaveWay);
            }
            // Removed by the rules meanwhile, or by hand.
            Err(_) if matches!(stat(path), Ok(None)) => None,
            Err(failure) if failure.kind() == ErrorKind::Damaged => {
                tracing::warn!("{failure}");
                let is_recorded = Manifest::of(path).is_some_and(|record| record.verdict == Verdict::Damaged);
                (!is_recorded).then(|| FailedProof::of(path, &failure, clock))
            }
            Err(failure) => {
                tracing::warn!("{} could not be verified again: {failure}", path.display());
                Some(FailedProof::of(path, &failure, clock))
            }
            Ok(_) => None,
        };
        proofs.end(path, Some((clock.now(), unproven)));
    }
    Ok(RoundEnd::Done)
}

/// Stops a verification for a backup or a restore of another process.
struct YieldToBackup<'a> {
    progress: &'a dyn Progress,
    round: &'a ReverifyRound<'a>,
    real: &'a Path,
    looked: Mutex<Option<(Stopwatch, bool)>>,
}

impl Progress for YieldToBackup<'_> {
    fn begin(&self, doing: &'static str, bytes: u64) {
        self.progress.begin(doing, bytes);
    }

    fn at(&self, bytes: u64) {
        self.progress.at(bytes);
    }

    fn end(&self) {
        self.progress.end();
    }

    fn is_cancelled(&self) -> bool {
        if self.progress.is_cancelled() {
            return true;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match *looked {
            Some((watch, found)) if watch.elapsed() < LOOK_AGAIN => found,
            _ => {
                // The note lies in the folder of the archives, the lock beside the database: one of them may be elsewhere.
                let found = attempt::is_under_way(self.round.db, self.round.folder) || is_locked(self.real);
                *looked = Some((Stopwatch::start(), found));
                found
            }
        }
    }
}
