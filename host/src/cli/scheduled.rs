//! Backups that `serve` makes by itself: on the configured schedule, by the same code as `vitalsign backup`. After each one
//! the archives that no rule keeps are removed, and the check `backup` is told how it ended.

use std::{env, sync::Arc, time::Duration};

use tokio::task::AbortHandle;

use super::{
    assemble::{App, backup_request},
    prune,
};
use crate::{
    backup::{self, LastRun, Schedule, Silent},
    clock::{Clock, SystemClock, Timestamp},
    config::Settled,
};

/// The longest sleep before the wall clock is looked at again, since it may be set.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// The schedule at work; dropping it ends it, and a backup that is under way is not interrupted.
pub(super) struct Backups(Option<AbortHandle>);

impl Drop for Backups {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Starts the schedule, if there is one. Has to be called on the runtime of the app.
pub(super) fn start(app: &App) -> Backups {
    let Some(schedule) = app.settled.backup.schedule.clone() else { return Backups(None) };
    let settled = Arc::new(app.settled.clone());
    Backups(Some(tokio::spawn(keep(schedule, settled, app.last_backup.clone())).abort_handle()))
}

async fn keep(schedule: Schedule, settled: Arc<Settled>, last: LastRun) {
    // A time that passed while nothing ran is made up for; where there is no archive yet, nothing was missed.
    let now = SystemClock.now();
    let newest =
        backup::list(&settled.backup.dir, false).unwrap_or_default().into_iter().find(|one| one.created_at <= now);
    let mut after = newest.map_or(now, |newest| newest.created_at);
    while let Some(next) = schedule.next(after) {
        tracing::info!("the next backup is due at {next:.0}");
        if !reach(next, after).await {
            after = SystemClock.now();
            continue;
        }
        let settled = Arc::clone(&settled);
        let ended = tokio::task::spawn_blocking(move || once(&settled)).await;
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
            Ok(left) => tokio::time::sleep(left.min(MAX_SLEEP)).await,
            Err(_) => return true,
        }
    }
}

/// One backup, and the removal of those that are no longer kept.
fn once(settled: &Settled) -> Result<String, String> {
    let scratch = env::temp_dir();
    let said = |failure: backup::Failure| failure.to_string();
    let made = backup::create(&backup_request(settled, &scratch), &SystemClock, &Silent).map_err(said)?;
    if let Some(flaw) = &made.record.flaw {
        tracing::warn!("the backup {} is {:?}: {flaw}", made.path.display(), made.record.verdict);
    }
    if let Some(keep) = settled.backup.keep {
        let not_removed = |failure: backup::Failure| {
            format!("{} was made, but old archives cannot be removed: {failure}", made.path.display())
        };
        prune::after_backup(&settled.backup.dir, keep).map_err(not_removed)?;
    }
    Ok(made.path.display().to_string())
}
