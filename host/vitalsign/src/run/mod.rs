//! Runs checks: deadline, single flight, period, staleness, hysteresis, spreading.
//!
//! Names no check and knows no output format. A check is given a thread of its own and a time limit; whatever it does there
//! (block, spin, panic, never return) delays nothing but itself. Reading what was found never runs anything.

mod gate;
mod hysteresis;
mod selection;
mod spread;

mod slot;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, broadcast, watch},
    task::{AbortHandle, JoinError, JoinHandle},
    time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at},
};

pub use gate::{GateDecision, gate};
pub use selection::{Chosen, Selection, SelectionError};
use slot::{AnswerGuard, Busy, Moment, RunPermit, Slot};

use vitalsign_base::{
    clock::{Clock, Deadline, Stopwatch, Timestamp},
    value::{self, Name},
};
use vitalsign_check::{
    BoxFuture, Check, Context, Outcome,
    report::{Entry, Finding, RegistrySection, Report, Status, Subject, Weight},
};

/// Runs that are started at one time. More would queue for the processor and the disk, and miss their deadlines there.
const MAX_CONCURRENT: usize = 32;

/// How long a run counts among [`MAX_CONCURRENT`]. One that takes longer waits or hangs, and must not keep others from
/// starting: with 32 places, a thousand hung checks delay the last healthy one by 8 s, not by 32 rounds of time limits.
const PLACE_HELD: Duration = Duration::from_millis(250);

/// What a run is given beyond its time limit before it is given up on: a check that notices the limit itself says more
/// precisely than we can what it was doing.
const ANSWER_GRACE: Duration = Duration::from_millis(250);

/// The ceiling on threads that block, most of which never come to be. Each hung check holds one for as long as it hangs,
/// so the ceiling has to lie above the number of checks that anybody configures.
const MAX_BLOCKING_THREADS: usize = 4096;

/// Where all checks of a round have one time limit together, what each of them is given of it: the rest is for those that
/// notice the limit themselves to say what they were doing.
const SHARE_OF_A_ROUND: f64 = 0.95;

/// How long after a run that could not read the database as a whole the check runs again, if its interval is longer. A report
/// recovers as soon as its slowest check does, and such a run costs little: there is nothing that it could read.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Changes of statuses that are kept for an observer that is behind: some for each of a few hundred checks.
const MAX_CHANGES_KEPT: usize = 1024;

/// The longest text of a panic that a finding repeats, in bytes.
const MAX_PANIC_BYTES: usize = 200;

/// The runtime that a [`Runner`] works on in a command: whoever waits for the checks drives it, and each check has a thread of
/// its own, so that no further thread has to be started.
///
/// Never drop it while checks run: dropping waits for the threads of checks that hang.
///
/// # Errors
/// When the system gives no event queue.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    built(tokio::runtime::Builder::new_current_thread())
}

/// The runtime of a server, which answers requests on all processors. As for [`runtime`], never drop it while checks run.
///
/// # Errors
/// When the system gives no threads or no event queue.
pub fn server_runtime() -> io::Result<tokio::runtime::Runtime> {
    built(tokio::runtime::Builder::new_multi_thread())
}

fn built(mut builder: tokio::runtime::Builder) -> io::Result<tokio::runtime::Runtime> {
    builder.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build()
}

/// Where a run is executed.
#[derive(Clone, Copy, Debug)]
enum Executor {
    /// On a blocking thread of its own.
    Thread,
    /// As a task, so that tests can let time stand still.
    #[cfg(test)]
    Task,
}

impl Executor {
    fn launch(self, check: Arc<dyn Check>, context: Context, flight: RunPermit) -> JoinHandle<(Outcome, Duration)> {
        let run = async move {
            // Named here so that the slot stays taken until the run has ended, by return or by panic.
            let _flight = flight;
            let watch = Stopwatch::start();
            let outcome = check.run(&context).await;
            (outcome, watch.elapsed())
        };
        match self {
            Self::Thread => {
                let handle = Handle::current();
                tokio::task::spawn_blocking(move || handle.block_on(run))
            }
            #[cfg(test)]
            Self::Task => tokio::spawn(run),
        }
    }
}

/// How long a run waits for [`Check::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PrepareLimit {
    /// In a round: until it ends, by its own limit or with the round, if that has an end.
    Round(Option<Instant>),
    /// On a schedule: the check's time limit. It is run again once it is ready.
    Schedule,
}

impl PrepareLimit {
    /// The time that the check may take, if it has a limit: what is left of the round, but for the share that
    /// checks need to say what they were doing.
    fn left(self) -> Option<Duration> {
        let Self::Round(until) = self else { return None };
        until.map(|until| until.saturating_duration_since(Instant::now()).mul_f64(SHARE_OF_A_ROUND))
    }
}

/// A preparation that had not ended when the check was run, and goes on.
type PendingPreparation = Option<BoxFuture<'static, ()>>;

/// A check's status has changed, after hysteresis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The check.
    pub check: Name,
    /// What it was; `None` when this is the check's first result.
    pub before: Option<Status>,
    /// What it is now.
    pub now: Status,
    /// One line that says how it stands.
    pub summary: String,
}

/// Runs checks and keeps what they said.
pub struct Runner {
    slots: Vec<Arc<Slot>>,
    subject: Subject,
    base: RegistrySection,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    version: watch::Sender<u64>,
    changes: broadcast::Sender<Change>,
    place: Executor,
}

impl Runner {
    /// A runner of `checks`, whose names are unique, on `subject`. `base` is what is known of the registry before any check
    /// has run.
    #[must_use]
    pub fn new(
        checks: Vec<Arc<dyn Check>>,
        subject: Subject,
        base: RegistrySection,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self::build(checks, subject, base, clock, Executor::Thread))
    }

    fn build(
        mut checks: Vec<Arc<dyn Check>>,
        subject: Subject,
        base: RegistrySection,
        clock: Arc<dyn Clock>,
        place: Executor,
    ) -> Self {
        checks.sort_by(|a, b| a.spec().name.cmp(&b.spec().name));
        let places = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let slots = checks.into_iter().map(Slot::new).collect();
        let (version, changes) = (watch::Sender::new(0), broadcast::Sender::new(MAX_CHANGES_KEPT));
        Self { slots, subject, base, clock, places, version, changes, place }
    }

    /// Looks a selection up.
    ///
    /// # Errors
    /// [`SelectionError`] for a name that no check has, a group that no check is in, or when no check is meant.
    pub fn choose(&self, selection: &Selection) -> Result<Chosen, SelectionError> {
        selection::choose(self.slots.iter().map(|slot| slot.spec()), selection)
    }

    /// Every check that is enabled.
    fn enabled(&self) -> Chosen {
        let enabled = self.slots.iter().enumerate().filter(|(_, slot)| slot.spec().schedule.enabled);
        Chosen(enabled.map(|(at, _)| at).collect())
    }

    /// Runs each of the chosen checks once, side by side, and reports on them.
    pub async fn round(self: &Arc<Self>, chosen: &Chosen) -> Report {
        let begun = Instant::now();
        self.run_all(chosen, None).await;
        self.report_since(chosen, Some(begun))
    }

    /// As [`Runner::round`], with a limit on all of them together: a check that has not answered by then is `unknown`.
    pub async fn round_within(self: &Arc<Self>, chosen: &Chosen, limit: Duration) -> Report {
        let begun = Instant::now();
        let until = begun + limit;
        if timeout_at(until, self.run_all(chosen, Some(until))).await.is_err() {
            self.give_up(chosen, limit);
        }
        self.report_since(chosen, Some(begun))
    }

    /// Says of each of the chosen checks that has not answered that `limit`, which was given to all together, has run out.
    pub fn give_up(&self, chosen: &Chosen, limit: Duration) {
        let text = format!("gave no answer within {}, the time limit for all checks together", value::span(limit));
        let outcome = Outcome::of(
            Finding::new(Status::Unknown, "timed-out", text).hint("Find out what it waits for, or allow more time."),
        );
        for slot in chosen.0.iter().filter_map(|at| self.slots.get(*at)).filter(|slot| !slot.has_answered()) {
            self.record(slot, outcome.clone(), limit, None);
        }
    }

    async fn run_all(self: &Arc<Self>, chosen: &Chosen, until: Option<Instant>) {
        let runs: Vec<_> = chosen.0.iter().map(|at| self.begin(*at, PrepareLimit::Round(until))).collect();
        for run in runs {
            // An error means that the runtime is going down; the entry says then that the check has not run.
            let _ended = run.await;
        }
    }

    /// From now on every change of a check's status, for whoever observes them.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Runs every enabled check on its interval from now on, until the answer is dropped.
    pub fn start(self: &Arc<Self>) -> Background {
        let run = |at: usize| tokio::spawn(Arc::clone(self).keep_running(at)).abort_handle();
        Background(self.enabled().0.into_iter().map(run).collect())
    }

    /// What is known of every enabled check. Runs nothing.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report_of(&self.enabled())
    }

    /// What is known of the chosen checks, and of every other one that found the database to be corrupt. Runs nothing.
    #[must_use]
    pub fn report_of(&self, chosen: &Chosen) -> Report {
        self.report_since(chosen, None)
    }

    /// As [`Runner::report_of`]. What a round that began at `begun` has found is not too old for its own report, however long
    /// the slowest check took.
    fn report_since(&self, chosen: &Chosen, begun: Option<Instant>) -> Report {
        let now = Instant::now();
        let mut registry = self.base.clone();
        let mut entries = Vec::with_capacity(chosen.count());
        let concerns = |(at, slot): &(usize, &Arc<Slot>)| {
            chosen.0.contains(at) || (slot.spec().schedule.enabled && slot.is_corrupt())
        };
        for (_, slot) in self.slots.iter().enumerate().filter(concerns) {
            let (entry, facts) = slot.view(now, begun);
            entries.push(entry);
            facts.into_iter().for_each(|fact| registry.learn(fact));
        }
        Report::new(&self.subject, registry, entries, self.clock.now())
    }

    /// What is known of one check that is enabled. Runs nothing.
    ///
    /// # Errors
    /// [`SelectionError`] when there is none of this name, or it is not enabled.
    pub fn entry(&self, name: &str) -> Result<Entry, SelectionError> {
        let enabled = || self.slots.iter().filter(|slot| slot.spec().schedule.enabled);
        match enabled().find(|slot| slot.spec().name.as_str() == name) {
            Some(slot) => Ok(slot.view(Instant::now(), None).0),
            None => {
                let selection = Selection { only: vec![name.to_owned()], ..Selection::default() };
                let chosen = selection::choose(enabled().map(|slot| slot.spec()), &selection);
                Err(chosen.err().unwrap_or(SelectionError::Name {
                    word: name.to_owned(),
                    near: None,
                    known: Vec::new(),
                }))
            }
        }
    }

    /// A number that grows with every result, so that whoever keeps a rendered report knows when it is out of date.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    async fn keep_running(self: Arc<Self>, at: usize) {
        let Some(slot) = self.slots.get(at) else { return };
        let period = slot.spec().schedule.interval.max(Duration::from_millis(1));
        let (first, second) = spread::starts(slot.spec().name.as_str(), period);
        // The report is unhealthy until every critical check has run, so these do not wait for their share of a second.
        let first = if slot.spec().schedule.weight == Weight::Critical { Duration::ZERO } else { first };
        let start = Instant::now();
        tokio::time::sleep_until(start + first).await;
        // An error means that the runtime is going down.
        let mut unfinished = self.begin(at, PrepareLimit::Schedule).await.ok().flatten();
        let mut ticks = interval_at(start + second, period);
        // A start that comes late moves the later ones, so that none is made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A database that nobody could read may be back any moment; the check would say so only at its next start.
            let again = async {
                if slot.found_no_database() {
                    tokio::time::sleep(AGAIN_AFTER).await
                } else {
                    std::future::pending().await
                }
            };
            let ready = async {
                match unfinished.take() {
                    Some(preparation) => preparation.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => {}
                () = again => {}
                () = ready => {}
            }
            unfinished = self.begin(at, PrepareLimit::Schedule).await.ok().flatten();
        }
    }

    /// Begins one run as a task of its own: whoever stops waiting for it must not keep it from being accounted for.
    fn begin(self: &Arc<Self>, at: usize, prepare_limit: PrepareLimit) -> JoinHandle<PendingPreparation> {
        tokio::spawn(Arc::clone(self).run_one(at, prepare_limit))
    }

    /// Runs one check once, or says why not; returns when there is an answer: when the preparation has ended, or `prepare_limit`
    /// with it, and then at the run's deadline at the latest.
    async fn run_one(self: Arc<Self>, at: usize, prepare_limit: PrepareLimit) -> PendingPreparation {
        let slot = self.slots.get(at)?;
        let (flight, wait) = match slot.start_run(self.clock.now()) {
            Ok(flight) => flight,
            Err(Busy::Stuck(since)) => {
                self.record(slot, still_running(since), Duration::ZERO, None);
                return None;
            }
            Err(Busy::Awaited) => {
                // Whoever runs it already brings the answer; an error would mean that the runner is gone.
                let mut changes = self.version.subscribe();
                drop(changes.wait_for(|_| !slot.is_awaited()).await);
                return None;
            }
        };
        let limit = slot.spec().schedule.timeout;
        let unfinished = match slot.check.prepare() {
            None => None,
            Some(preparation) => prepared(preparation, prepare_limit, limit).await,
        };
        self.execute(slot, flight, wait, limit, prepare_limit).await;
        unfinished
    }

    /// Runs a check that is prepared, and records what it says or what has to be said in its place.
    async fn execute(
        &self,
        slot: &Slot,
        flight: RunPermit,
        wait: AnswerGuard,
        limit: Duration,
        prepare_limit: PrepareLimit,
    ) {
        // The semaphore is never closed; without a permit the run would still be right, only not counted.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let limit = limit.min(prepare_limit.left().unwrap_or(Duration::MAX));
        let (started, last) = (Instant::now(), limit.saturating_add(ANSWER_GRACE));
        let context = Context { deadline: Deadline::after(limit) };
        let mut run = self.place.launch(Arc::clone(&slot.check), context, flight);
        let early = timeout_at(started + PLACE_HELD.min(last), &mut run).await;
        drop(place);
        let answer = match early {
            Ok(answer) => Ok(answer),
            Err(_) => timeout_at(started + last, &mut run).await,
        };
        match answer {
            Ok(Ok((outcome, took))) => self.record(slot, outcome, took, Some(wait)),
            Ok(Err(ended)) if ended.is_panic() => self.record(slot, panicked(ended), started.elapsed(), Some(wait)),
            // The runtime is going down: there is nobody left to tell.
            Ok(Err(_)) => {}
            Err(_) => self.record(slot, timed_out(limit), started.elapsed(), Some(wait)),
        }
    }

    fn record(&self, slot: &Slot, outcome: Outcome, took: Duration, wait: Option<AnswerGuard>) {
        if let Some(change) = slot.record(outcome, took, Moment { wall: self.clock.now(), steady: Instant::now() }) {
            // Nobody may be listening.
            let _ = self.changes.send(change);
        }
        // Before the version moves: whoever waits for the answer looks when it does.
        drop(wait);
        self.version.send_modify(|version| *version += 1);
    }
}

/// The schedule at work. Dropping it ends it; runs that are under way are not interrupted.
#[derive(Debug)]
#[must_use = "dropping it ends the schedule"]
pub struct Background(Vec<AbortHandle>);

impl Background {
    /// Ends the schedule.
    pub fn stop(self) {}
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Waits for a preparation as long as `prepare_limit` lasts; what comes back goes on.
async fn prepared(
    mut preparation: BoxFuture<'static, ()>,
    prepare_limit: PrepareLimit,
    limit: Duration,
) -> PendingPreparation {
    let most = match prepare_limit {
        PrepareLimit::Round(_) => prepare_limit.left(),
        PrepareLimit::Schedule => Some(limit),
    };
    match most {
        None => preparation.await,
        Some(most) => {
            if timeout(most, &mut preparation).await.is_err() {
                return Some(preparation);
            }
        }
    }
    None
}

fn timed_out(limit: Duration) -> Outcome {
    let text = format!("gave no answer within {} (timeoutMs)", value::span(limit));
    let hint = "Find out what it waits for, or raise its timeoutMs.";
    Outcome::of(Finding::new(Status::Unknown, "timed-out", text).hint(hint))
}

fn still_running(since: Timestamp) -> Outcome {
    let text = format!("the run that started at {since:.0} has not ended; no new one starts until it does");
    let hint = "Find out what it waits for; a restart of Vitalsign ends it.";
    Outcome::of(Finding::new(Status::Unknown, "still-running", text).hint(hint))
}

fn panicked(ended: JoinError) -> Outcome {
    let payload = ended.into_panic();
    let said = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let said = value::printable(said.unwrap_or("no message"), MAX_PANIC_BYTES);
    let text = format!("the check ended with an internal error: {said}");
    let hint = "Report it to the author of the check; the other checks are not affected.";
    Outcome::of(Finding::new(Status::Unknown, "panicked", text).hint(hint))
}
