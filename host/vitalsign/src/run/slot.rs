//! One check's place in the runner: whether it is running, what its last run said, and what that counts for now.
//!
//! Knows no schedule and starts nothing. What a reader sees is a pure function of this state and of now.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Change,
    hysteresis::{Hysteresis, HysteresisResult, PendingChange, StreakThresholds},
};
use vitalsign_base::{clock::Timestamp, value};
use vitalsign_check::{
    Check, Outcome, Spec,
    report::{Entry, Fact, Finding, Status, Weight},
};

/// What a result may be older than its interval and its time limit: a run also waits for its turn, on a busy machine too.
pub(super) const STALE_GRACE: Duration = Duration::from_secs(5);

/// One check and what is known of it.
pub(super) struct Slot {
    pub(super) check: Arc<dyn Check>,
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    /// Since when a run has been under way; until it has really ended, however late.
    running: Option<Timestamp>,
    /// Whether the answer of that run is still waited for.
    awaited: bool,
    latest: Option<LastResult>,
    hysteresis: Hysteresis,
}

struct LastResult {
    outcome: Outcome,
    raw_status: Status,
    verdict: HysteresisResult,
    took: Duration,
    at: Timestamp,
    ended: Instant,
}

/// The right to run a check; there is one a slot. It goes with the run and is given back when that has really ended.
pub(super) struct RunPermit(Arc<Slot>);

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.0.state().running = None;
    }
}

/// The promise to bring a run's answer, or another in its place. It stays with whoever waits.
pub(super) struct AnswerGuard(Arc<Slot>);

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        self.0.state().awaited = false;
    }
}

/// Why a check cannot be started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// It is running, and its answer is still waited for.
    Awaited,
    /// The run that started then was given up on, and has not ended yet.
    Stuck(Timestamp),
}

/// A moment, on both clocks: one for people, one that never jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) steady: Instant,
}

impl Slot {
    pub(super) fn new(check: Arc<dyn Check>) -> Arc<Self> {
        Arc::new(Self { check, state: Mutex::default() })
    }

    pub(super) fn spec(&self) -> &Spec {
        self.check.spec()
    }

    // No code that can panic runs under the lock, so a poisoned one holds nothing half-written.
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to run the check.
    pub(super) fn start_run(self: &Arc<Self>, now: Timestamp) -> Result<(RunPermit, AnswerGuard), Busy> {
        let mut state = self.state();
        match state.running {
            _ if state.awaited => Err(Busy::Awaited),
            Some(since) => Err(Busy::Stuck(since)),
            None => {
                state.running = Some(now);
                state.awaited = true;
                Ok((RunPermit(Arc::clone(self)), AnswerGuard(Arc::clone(self))))
            }
        }
    }

    /// Whether there is an answer, and none that is newer is waited for.
    pub(super) fn has_answered(&self) -> bool {
        let state = self.state();
        state.latest.is_some() && !state.awaited
    }

    /// Whether a run's answer is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.state().awaited
    }

    /// Takes in what a run said, or what has to be said in its place. Says when the status that counts has changed by it.
    pub(super) fn record(&self, outcome: Outcome, took: Duration, now: Moment) -> Option<Change> {
        let schedule = &self.spec().schedule;
        let thresholds = StreakThresholds { failure: schedule.failure_threshold, success: schedule.success_threshold };
        let raw_status = outcome.status();
        let mut state = self.state();
        let before = state.latest.as_ref().map(|latest| latest.verdict.effective);
        let verdict = state.hysteresis.take(raw_status, thresholds);
        let change = (before != Some(verdict.effective)).then(|| Change {
            check: self.spec().name.clone(),
            before,
            now: verdict.effective,
            summary: outcome.summary.clone(),
        });
        state.latest = Some(LastResult { outcome, raw_status, verdict, took, at: now.wall, ended: now.steady });
        change
    }

    /// Whether the last run found the database to be corrupt.
    pub(super) fn is_corrupt(&self) -> bool {
        self.state().latest.as_ref().is_some_and(|latest| latest.outcome.is_corrupt())
    }

    /// Whether the last run could not read the database as a whole: it was missing, locked or the like.
    pub(super) fn found_no_database(&self) -> bool {
        let is_whole = |finding: &Finding| finding.consequences.of_database && finding.status >= Status::Unknown;
        self.state().latest.as_ref().is_some_and(|latest| latest.outcome.findings.iter().any(is_whole))
    }

    /// The check's entry as it counts now, and what its last run tells of the registry.
    pub(super) fn view(&self, now: Instant, begun: Option<Instant>) -> (Entry, Vec<Fact>) {
        let Spec { name, schedule, .. } = self.spec();
        let mut entry = Entry {
            name: name.clone(),
            origin: self.check.origin(),
            status: Status::Unknown,
            raw_status: Status::Unknown,
            weight: schedule.weight,
            groups: schedule.groups.clone(),
            summary: String::new(),
            findings: Vec::new(),
            measures: Vec::new(),
            duration_ms: 0.0,
            checked_at: None,
            age_ms: None,
        };
        let state = self.state();
        let Some(latest) = &state.latest else {
            entry.summary = "has not run yet".to_owned();
            entry.findings.push(Finding::new(Status::Unknown, "not-yet-run", entry.summary.clone()));
            return (entry, Vec::new());
        };
        let age = now.saturating_duration_since(latest.ended);
        entry.raw_status = latest.raw_status;
        // Microseconds: finer digits are noise.
        entry.duration_ms = (latest.took.as_secs_f64() * 1e6).round() / 1e3;
        entry.checked_at = Some(latest.at);
        entry.age_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let fresh_for = schedule.interval.saturating_add(schedule.timeout).saturating_add(STALE_GRACE);
        // What an old result says of the registry may no longer be so, and nothing of it is shown as if it were.
        // But for the report of the round that it was found in.
        let of_this_round = begun.is_some_and(|begun| latest.ended >= begun);
        if age > fresh_for && !of_this_round {
            entry.summary = "no fresh result".to_owned();
            let (old, word) = (value::span(age), latest.raw_status.as_str());
            let said = format!("the last result is {old} old; it said {word}: {}", latest.outcome.summary);
            entry.findings.push(Finding::new(Status::Unknown, "stale", said));
            return (entry, Vec::new());
        }
        entry.status = latest.verdict.effective;
        // A corrupt database is critical, whichever check comes across it.
        if schedule.weight == Weight::Ordinary && latest.outcome.is_corrupt() {
            entry.weight = Weight::Critical;
        }
        entry.summary.clone_from(&latest.outcome.summary);
        entry.findings.extend(latest.verdict.held.map(|held| explain(held, latest)));
        entry.findings.extend(latest.outcome.findings.iter().cloned());
        entry.measures.clone_from(&latest.outcome.measures);
        (entry, latest.outcome.facts.clone())
    }
}

/// The finding that says why a check's last result does not count yet.
fn explain(held: PendingChange, latest: &LastResult) -> Finding {
    let counts = latest.verdict.effective;
    let (word, said) = (counts.as_str(), latest.raw_status.as_str());
    match held {
        PendingChange::Recovering(so_far, of) => {
            let text = format!(
                "still counts as {word}, though the last run said {said}: {so_far} of {of} better results in a row"
            );
            Finding::new(counts, "recovering", text)
        }
        PendingChange::Worsening(so_far, of) => {
            let text = format!(
                "still counts as {word}, though the last run said {said}: {so_far} of {of} worse results in a row"
            );
            Finding::new(counts, "held", text)
        }
    }
}
