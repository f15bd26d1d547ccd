//! What `serve` does with archives by itself, by the same code as the commands, and never both at once.
//!
//! It makes backups on the configured schedule: after each one the archives that no rule keeps are removed, and the check `backup` is
//! told how it ended. And it verifies archives again, those first that were verified longest ago.

use std::{env, sync::Arc, time::Duration};

use tokio::{task::AbortHandle, time::sleep};

use super::{
    assemble::{Assembly, backup_request},
    disk_turns::DiskTurns,
    prune,
};
use crate::{
    backup::{self, CronSchedule, LastRun, ReverifyRound, ReverifySettings, RoundEnd, Silent, reverify},
    config::EffectiveConfig,
};
use vitalsign_base::clock::{Clock, Stopwatch, SystemClock, Timestamp};

/// The longest sleep before the wall clock is looked at again, since it may be set.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// How long after a start the first archive is verified again, at most: a start has enough to do.
const FIRST_ROUND: Duration = Duration::from_secs(60);

/// How long a round waits that gave way to the backup of another process before it looks whether that is over.
const GAVE_WAY: Duration = Duration::from_secs(15);

/// The schedules at work; dropping it ends them, and a backup that is under way is not interrupted.
pub(super) struct BackgroundTasks {
    tasks: Vec<AbortHandle>,
    turns: Arc<DiskTurns>,
}

impl Drop for BackgroundTasks {
    fn drop(&mut self) {
        self.turns.end();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl BackgroundTasks {
    /// What asks a verification that is under way to end, so that it has ended when the server has.
    pub(super) fn turns(&self) -> Arc<DiskTurns> {
        Arc::clone(&self.turns)
    }

    /// Ends the schedules, and gives a verification the time to remove what it has unpacked.
    pub(super) async fn ended(self) {
        let turns = self.turns();
        drop(self);
        turns.ended().await;
    }
}

/// Starts the schedules that there are. Has to be called on the runtime of the app.
pub(super) fn start(app: &Assembly) -> BackgroundTasks {
    let turns = Arc::new(DiskTurns::default());
    let effective = Arc::new(app.effective.clone());
    let mut tasks = Vec::new();
    if let Some(schedule) = app.effective.backup.schedule.clone() {
        let making = keep(schedule, Arc::clone(&effective), app.last_backup.clone(), Arc::clone(&turns));
        tasks.push(tokio::spawn(making).abort_handle());
    }
    if let Some(reverify) = app.effective.backup.reverify {
        let verifying = verify_again(reverify, effective, app.last_backup.clone(), Arc::clone(&turns));
        tasks.push(tokio::spawn(verifying).abort_handle());
    }
    BackgroundTasks { tasks, turns }
}

/// Begins a round at every interval.
async fn verify_again(
    reverify: ReverifySettings,
    effective: Arc<EffectiveConfig>,
    last: LastRun,
    turns: Arc<DiskTurns>,
) {
    sleep(reverify.every.min(FIRST_ROUND)).await;
    loop {
        let mut left = reverify.budget;
        while !left.is_zero() {
            let Some(turn) = turns.for_verification().await else { return };
            let watch = Stopwatch::start();
            let (effective, noted, turns) = (Arc::clone(&effective), last.clone(), Arc::clone(&turns));
            let round = tokio::task::spawn_blocking(move || {
                // Held until the work is over, also where nobody waits for it any more.
                let _turn = turn;
                round(&effective, ReverifySettings { budget: left, ..reverify }, &noted, &turns)
            });
            match round.await {
                Ok(RoundEnd::GaveWay) => {}
                Ok(RoundEnd::Done | RoundEnd::OutOfTime) => break,
                Err(_) => {
                    let why = "internal error: the verification panicked".to_owned();
                    last.proofs.note(SystemClock.now(), Some((why, "please report it".to_owned())));
                    break;
                }
            }
            left = left.saturating_sub(watch.elapsed());
            sleep(GAVE_WAY).await;
        }
        sleep(reverify.every).await;
    }
}

fn round(effective: &EffectiveConfig, settings: ReverifySettings, last: &LastRun, turns: &DiskTurns) -> RoundEnd {
    let scratch = env::temp_dir();
    let round = ReverifyRound {
        db: &effective.db,
        identity: effective.backup.identity.as_deref(),
        folder: &effective.backup.dir,
        reverify: settings,
        // The copy of an archive must not be what makes the check `disk` bad.
        spare_bytes: effective.checks.min_free_bytes,
        scratch: &scratch,
    };
    let ended = reverify(&round, &last.proofs, &SystemClock, turns);
    let failed = ended.as_ref().err().map(|failure| (failure.to_string(), failure.hint()));
    if let Some((why, _)) = &failed {
        tracing::warn!("no archive could be verified again: {why}");
    }
    last.proofs.note(SystemClock.now(), failed);
    ended.unwrap_or(RoundEnd::Done)
}

async fn keep(schedule: CronSchedule, effective: Arc<EffectiveConfig>, last: LastRun, turns: Arc<DiskTurns>) {
    // A time that passed while nothing ran is made up for; where there is no archive yet, nothing was missed.
    let now = SystemClock.now();
    let made = {
        let backup = &effective.backup;
        backup::last_made(&backup.dir, &effective.db, backup.identity.as_deref(), now)
    };
    let mut after = made.ok().flatten().unwrap_or(now);
    while let Some(next) = schedule.next(after) {
        tracing::info!("the next backup is due at {next:.0}");
        if !reach(next, after).await {
            after = SystemClock.now();
            continue;
        }
        let effective = Arc::clone(&effective);
        let turn = turns.for_backup().await;
        let ended = tokio::task::spawn_blocking(move || once(&effective)).await;
        drop(turn);
        let ended = ended.unwrap_or_else(|_| Err("internal error: the backup panicked; please report it".to_owned()));
        match &ended {
            Ok(path) => tracing::info!("backup written to {path}"),
            Err(why) => tracing::warn!("the schedule of backups failed: {why}"),
        }
        let now = SystemClock.now();
        last.note(now, ended.map(drop));
        // One that took past its next time is not made up for.
        after = now.max(next);
    }
    tracing::warn!("the schedule `{schedule}` has no further time, so no more backups are made by it");
    last.note(SystemClock.now(), Err(format!("the schedule `{schedule}` has no further time")));
}

/// Waits until the wall clock says so; `false` when the clock was set back behind `since`, so that the time is another.
async fn reach(time: Timestamp, since: Timestamp) -> bool {
    loop {
        let now = SystemClock.now();
        match Duration::try_from(time.duration_since(now)) {
            Ok(left) if left.is_zero() => return true,
            Ok(_) if now + Duration::from_secs(1) < since => return false,
            Ok(left) => sleep(left.min(MAX_SLEEP)).await,
            Err(_) => return true,
        }
    }
}

/// One backup, and the removal of those that are no longer kept.
fn once(effective: &EffectiveConfig) -> Result<String, String> {
    let scratch = env::temp_dir();
    let said = |failure: backup::Error| failure.to_string();
    let made = backup::create(&backup_request(effective, &scratch), &SystemClock, &Silent).map_err(said)?;
    if let Some(flaw) = &made.record.flaw {
        tracing::warn!("the backup {} is {:?}: {flaw}", made.path.display(), made.record.verdict);
    }
    if let Some(keep) = effective.backup.keep {
        let not_removed = |failure: backup::Error| {
            format!("{} was made, but old archives cannot be removed: {failure}", made.path.display())
        };
        prune::after_backup(&effective.backup.dir, keep).map_err(not_removed)?;
    }
    Ok(made.path.display().to_string())
}
