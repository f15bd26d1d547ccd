//! What has been looked at, and when: one look through the database at a time, on a thread of its own, and what came of it.
//!
//! A look may take longer than a run of the check has time, so it goes on between runs, and a database that cannot be looked
//! through in one read is looked through table by table over several of them. Damage that was found is remembered until all of
//! the database has been looked at again. Knows no report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use vitalsign_base::{
    clock::{Deadline, Stopwatch},
    files::FileId,
};
use vitalsign_sqlite::{
    BadFrame, Cancel, Database, IntegrityPart, IntegrityResult, Problem, ProblemKind, StopReason, TransactionLimits,
};

/// A look is followed by a rest of this many times its length, so that looking takes 5 % of the time at most.
const REST: u32 = 20;

/// From this size on, in bytes, a look takes long enough (half a second) to be felt by programs that share the processors.
const LARGE_BYTES: u64 = 64 * 1024 * 1024;

/// The priority of a look at a large database: a tenth of the processor where others want all of it, else all of it.
const LOW_PRIORITY: i32 = 10;

/// How often a table is tried within one look where writers keep coming.
const MOST_TRIES: u32 = 3;

/// The time to list the tables.
const LISTING_LIMIT: Duration = Duration::from_secs(5);

/// The name that no table has, under which stands what was found in the whole.
const WHOLE: &str = "";

/// The looks at one database.
pub(super) struct Survey(Arc<SurveyShared>);

struct SurveyShared {
    registry: Database,
    limits: TransactionLimits,
    cancel: Cancel,
    state: Mutex<SurveyState>,
    ended: Condvar,
}

struct SurveyState {
    /// The file that all of this is about.
    file: Option<FileId>,
    made: Stopwatch,
    running: Option<Stopwatch>,
    /// When the last look that came to an end did so, and how long it took.
    rested: Option<(Stopwatch, Duration)>,
    full: Option<Full>,
    round: Option<TablePass>,
    bad_frame: Option<BadFrame>,
    error: Option<vitalsign_sqlite::Error>,
}

/// A time at which all of the database was looked at. What was found stands under
/// [`WHOLE`], or under the name of each table.
struct Full {
    begun: Stopwatch,
    took: Duration,
    is_accounted: bool,
    looked: BTreeMap<String, IntegrityResult>,
}

/// A look through the tables, one after the other, that is not at its end.
struct TablePass {
    begun: Stopwatch,
    worked: Duration,
    names: Vec<String>,
    looked: BTreeMap<String, IntegrityResult>,
    left_out: BTreeMap<String, StopReason>,
    /// Whether every page was accounted for before, in one read.
    is_accounted: bool,
    /// Why the whole was not looked at in one read.
    why: StopReason,
    /// What reads found that were stopped before their end.
    suspected: Vec<Problem>,
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// How long ago the last complete look began, and how long it took.
    pub(super) full: Option<(Duration, Duration)>,
    /// Whether every page was accounted for in that look. Where the tables were looked at one by one it cannot be.
    pub(super) is_accounted: bool,
    /// For how long there has been no complete look, when there never was one.
    pub(super) waiting: Duration,
    /// Everything that is known to be bad.
    pub(super) problems: Vec<Problem>,
    /// The first committed frame of the write-ahead log that is damaged.
    pub(super) bad_frame: Option<BadFrame>,
    /// Tables that could not be compared with their indexes and rules, and why.
    pub(super) not_compared: Vec<(String, String)>,
    /// Tables that could not be looked at, and why.
    pub(super) not_looked_at: Vec<(String, String)>,
    /// How far a look has come that is not at its end.
    pub(super) progress: Option<SurveyProgress>,
    /// What kept the last run from looking at all.
    pub(super) error: Option<vitalsign_sqlite::Error>,
}

/// How far a look has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SurveyProgress {
    /// For how long the run has been under way, if it still is.
    pub(super) running: Option<Duration>,
    /// Tables that were looked at, of how many; both 0 while the whole is looked at in one read.
    pub(super) tables: (usize, usize),
    /// Why something was left out, and the first table that was.
    pub(super) left_out: Option<(StopReason, Option<String>)>,
}

impl Survey {
    pub(super) fn new(registry: &Database, limits: TransactionLimits) -> Self {
        Self(Arc::new(SurveyShared {
            registry: registry.clone(),
            limits,
            cancel: Cancel::default(),
            state: Mutex::new(SurveyState::new()),
            ended: Condvar::new(),
        }))
    }

    /// Goes on looking where that is due, waits until the look has ended or the deadline is near, and says how things stand.
    pub(super) fn look(&self, deadline: Deadline) -> View {
        let shared = &self.0;
        let file = shared.registry.database_files().ok().map(|database_files| database_files.database.id);
        let mut state = shared.state();
        if file.is_some() && state.file != file {
            // Another database under this name: nothing that is known is about it. A look that is under way sees the old one.
            *state = SurveyState { running: state.running, file, ..SurveyState::new() };
        }
        if state.is_due() || (file.is_none() && state.running.is_none()) {
            state.running = Some(Stopwatch::start());
            let work = Arc::clone(shared);
            if let Err(error) = thread::Builder::new().name("integrity".to_owned()).spawn(move || work.run()) {
                state.running = None;
                let path = shared.registry.path().to_owned();
                state.error =
                    Some(vitalsign_sqlite::Error::Io { path, detail: format!("no thread to read it on: {error}") });
            }
        }
        let ended = shared.ended.wait_timeout_while(state, deadline.remaining(), |state| state.running.is_some());
        ended.unwrap_or_else(PoisonError::into_inner).0.view()
    }
}

impl Drop for Survey {
    fn drop(&mut self) {
        self.0.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl SurveyShared {
    fn state(&self) -> MutexGuard<'_, SurveyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let large = |registry: &Database| {
            registry.database_files().is_ok_and(|database_files| database_files.database.bytes >= LARGE_BYTES)
        };
        if large(&self.registry)
            && let Err(error) = rustix::process::setpriority_process(None, LOW_PRIORITY)
        {
            // The look is as right as before, only less considerate.
            tracing::debug!("the priority of a look at a large database could not be lowered: {error}");
        }
        let file = self.state().file;
        let watch = Stopwatch::start();
        // First: the log's index can only be read while this process does not have the database open.
        let bad_frame = self.registry.bad_frame();
        let ended = self.go_on();
        let mut state = self.state();
        state.running = None;
        if state.file == file {
            state.rested = ended.is_ok().then(|| (Stopwatch::start(), watch.elapsed()));
            state.bad_frame = bad_frame;
            state.error = ended.err();
        } else {
            // What was read may be of the database before; the next run looks at the new one.
            *state = SurveyState { file: state.file, ..SurveyState::new() };
        }
        self.ended.notify_all();
    }

    fn go_on(&self) -> Result<(), vitalsign_sqlite::Error> {
        if self.state().round.is_none() {
            let begun = Stopwatch::start();
            let looked = self.registry.check_integrity(&IntegrityPart::Whole, self.limits, &self.cancel)?;
            if !self.state().take_whole(begun, looked) {
                return Ok(());
            }
        }
        self.go_through_tables()
    }

    /// Looks at every table that this round has not looked at, those that were left out before last.
    fn go_through_tables(&self) -> Result<(), vitalsign_sqlite::Error> {
        let names = self.registry.parts(Deadline::after(LISTING_LIMIT))?;
        let mut open = self.state().still_open(names);
        for _ in 0..MOST_TRIES {
            let mut again = Vec::new();
            for name in open {
                let watch = Stopwatch::start();
                let part = IntegrityPart::Table(name.clone());
                let looked = match self.registry.check_integrity(&part, self.limits, &self.cancel) {
                    Err(vitalsign_sqlite::Error::Corrupt { detail, .. }) => damaged(&name, detail),
                    looked => looked?,
                };
                let stopped = looked.stopped.clone();
                self.state().take_table(&name, watch.elapsed(), looked);
                match stopped {
                    // The log gets a chance to be reset before it has to grow again.
                    Some(StopReason::Cancelled | StopReason::WalGrowth) => return Ok(()),
                    Some(StopReason::Writer | StopReason::Changing) => again.push(name),
                    _ => {}
                }
            }
            open = again;
        }
        Ok(())
    }
}

fn damaged(table: &str, detail: String) -> IntegrityResult {
    let problem = Problem { kind: ProblemKind::Structure, subject: Some(table.to_owned()), text: detail };
    IntegrityResult { problems: vec![problem], ..IntegrityResult::default() }
}

impl SurveyState {
    fn new() -> Self {
        let made = Stopwatch::start();
        Self { file: None, made, running: None, rested: None, full: None, round: None, bad_frame: None, error: None }
    }

    /// Whether a run should begin now: not while one is under way or the registry is given a rest. Damage is looked at again each
    /// time, so that a repair shows soon.
    fn is_due(&self) -> bool {
        let rests = self.rested.is_some_and(|(since, took)| since.elapsed() < took * REST);
        self.running.is_none() && (!rests || self.bad_frame.is_some() || !self.problems().is_empty())
    }

    /// Takes in a look at the whole; says whether the tables have to be looked at one by one.
    fn take_whole(&mut self, begun: Stopwatch, looked: IntegrityResult) -> bool {
        let took = begun.elapsed();
        match looked.stopped.clone() {
            None => {
                let is_accounted = true;
                self.full =
                    Some(Full { begun, took, is_accounted, looked: BTreeMap::from([(WHOLE.to_owned(), looked)]) });
                false
            }
            Some(StopReason::Cancelled) => false,
            Some(why) => {
                let is_accounted = looked.is_accounted;
                // What is wrong with the pages as a whole is not found again in any table.
                let (whole, suspected) = match is_accounted {
                    true => {
                        (Some(IntegrityResult { problems: looked.problems, ..IntegrityResult::default() }), Vec::new())
                    }
                    false => (None, looked.problems),
                };
                self.round = Some(TablePass {
                    begun,
                    worked: Duration::ZERO,
                    names: Vec::new(),
                    looked: whole.into_iter().map(|whole| (WHOLE.to_owned(), whole)).collect(),
                    left_out: BTreeMap::new(),
                    is_accounted,
                    why,
                    suspected,
                });
                true
            }
        }
    }

    /// The tables of `names` that the round has still to look at, in the order to do so.
    fn still_open(&mut self, names: Vec<String>) -> Vec<String> {
        let Some(round) = &mut self.round else { return Vec::new() };
        round.names = names;
        let open = round.names.iter().filter(|name| !round.looked.contains_key(*name));
        let (mut open, last): (Vec<_>, Vec<_>) = open.cloned().partition(|name| !round.left_out.contains_key(name));
        open.extend(last);
        open
    }

    /// Takes in a look at one table, and ends the round when that was the last.
    fn take_table(&mut self, name: &str, took: Duration, looked: IntegrityResult) {
        let Some(round) = &mut self.round else { return };
        round.worked += took;
        match &looked.stopped {
            // Another try would not look at more.
            None | Some(StopReason::Unsupported(_)) => {
                round.left_out.remove(name);
                round.looked.insert(name.to_owned(), looked);
            }
            Some(StopReason::Cancelled) => {}
            Some(why) => {
                round.left_out.insert(name.to_owned(), why.clone());
                round.suspected.extend(looked.problems);
            }
        }
        if round.names.iter().all(|name| round.looked.contains_key(name))
            && let Some(round) = self.round.take()
        {
            let TablePass { begun, worked: took, is_accounted, looked, .. } = round;
            self.full = Some(Full { begun, took, is_accounted, looked });
        }
    }

    /// The newest look at everything that was looked at.
    fn looked(&self) -> BTreeMap<&str, &IntegrityResult> {
        let maps = self.full.iter().map(|full| &full.looked).chain(self.round.iter().map(|round| &round.looked));
        maps.flatten().map(|(name, looked)| (name.as_str(), looked)).collect()
    }

    fn problems(&self) -> BTreeSet<&Problem> {
        let suspected = self.round.iter().flat_map(|round| &round.suspected);
        self.looked().values().flat_map(|looked| &looked.problems).chain(suspected).collect()
    }

    fn view(&self) -> View {
        let looked = self.looked();
        let not_compared = looked.iter().filter_map(|(name, looked)| {
            let why = looked.not_compared.clone().filter(|_| looked.stopped.is_none())?;
            Some(((*name).to_owned(), why))
        });
        let not_looked_at = looked.iter().filter_map(|(name, looked)| match &looked.stopped {
            Some(StopReason::Unsupported(why)) => Some(((*name).to_owned(), why.clone())),
            _ => None,
        });
        let running = self.running.map(|running| running.elapsed());
        let progress = (running.is_some() || self.round.is_some()).then(|| self.progress(running));
        View {
            full: self.full.as_ref().map(|full| (full.begun.elapsed(), full.took)),
            is_accounted: self.full.as_ref().is_some_and(|full| full.is_accounted),
            waiting: self.made.elapsed(),
            problems: self.problems().into_iter().cloned().collect(),
            bad_frame: self.bad_frame,
            not_compared: not_compared.collect(),
            not_looked_at: not_looked_at.collect(),
            progress,
            error: self.error.clone(),
        }
    }

    fn progress(&self, running: Option<Duration>) -> SurveyProgress {
        let Some(round) = &self.round else { return SurveyProgress { running, ..SurveyProgress::default() } };
        let first = round.left_out.first_key_value().map(|(name, why)| (why.clone(), Some(name.clone())));
        SurveyProgress {
            running,
            tables: (round.names.iter().filter(|name| round.looked.contains_key(*name)).count(), round.names.len()),
            left_out: Some(first.unwrap_or_else(|| (round.why.clone(), None))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn bad(text: &str) -> IntegrityResult {
        damaged("t", text.to_owned())
    }

    fn stopped(why: StopReason) -> IntegrityResult {
        IntegrityResult { stopped: Some(why), ..IntegrityResult::default() }
    }

    fn texts(state: &SurveyState) -> Vec<&str> {
        state.problems().into_iter().map(|problem| problem.text.as_str()).collect()
    }

    #[test]
    fn damage_is_remembered_until_all_was_looked_at_again() {
        let mut state = SurveyState::new();
        assert!(!state.take_whole(Stopwatch::start(), bad("first")));
        assert!(state.full.is_some());
        // The next look has to go table by table, and finds nothing so far.
        let cut = IntegrityResult { stopped: Some(StopReason::WalGrowth), ..bad("second") };
        assert!(state.view().is_accounted);
        assert!(state.take_whole(Stopwatch::start(), cut));
        assert_eq!(state.still_open(names(&["a", "b", "c"])), ["a", "b", "c"]);
        state.take_table("a", Duration::from_secs(1), stopped(StopReason::Writer));
        state.take_table("b", Duration::from_secs(1), IntegrityResult::default());
        assert_eq!(texts(&state), ["first", "second"]);
        assert_eq!(state.still_open(names(&["a", "b", "c"])), ["c", "a"], "what was left out comes last");
        let progress = state.view().progress.unwrap();
        assert_eq!((progress.tables, progress.left_out), ((1, 3), Some((StopReason::Writer, Some("a".to_owned())))));
        state.take_table("c", Duration::from_secs(1), stopped(StopReason::Unsupported("no such collation".to_owned())));
        state.take_table("a", Duration::from_secs(1), IntegrityResult::default());
        assert!(state.round.is_none(), "the round is complete");
        assert_eq!(texts(&state), Vec::<&str>::new());
        let view = state.view();
        assert_eq!(view.full.unwrap().1, Duration::from_secs(4), "the time of all looks together");
        assert_eq!(view.not_looked_at, [("c".to_owned(), "no such collation".to_owned())]);
        assert_eq!(view.progress, None);
        assert!(!view.is_accounted, "single tables do not show what they share");
    }

    #[test]
    fn what_is_wrong_with_the_whole_outlasts_a_look_at_the_tables() {
        let mut state = SurveyState::new();
        let unsupported = Some(StopReason::Unsupported("no such collation".to_owned()));
        let looked = IntegrityResult { stopped: unsupported, is_accounted: true, ..bad("a page is used twice") };
        assert!(state.take_whole(Stopwatch::start(), looked));
        assert_eq!(state.still_open(names(&["a"])), ["a"]);
        assert_eq!(state.view().progress.unwrap().tables, (0, 1));
        state.take_table("a", Duration::ZERO, IntegrityResult::default());
        assert!(state.round.is_none(), "the round is complete");
        assert_eq!(texts(&state), ["a page is used twice"]);
        assert!(state.view().is_accounted);
    }

    #[test]
    fn a_long_look_is_followed_by_a_rest_unless_something_is_bad() {
        let mut state = SurveyState::new();
        assert!(state.is_due());
        state.take_whole(Stopwatch::start(), IntegrityResult::default());
        state.rested = Some((Stopwatch::start(), Duration::from_secs(60)));
        assert!(!state.is_due());
        state.rested = Some((Stopwatch::start(), Duration::ZERO));
        assert!(state.is_due());
        state.running = Some(Stopwatch::start());
        assert!(!state.is_due(), "one look at a time");
        state.running = None;
        state.rested = Some((Stopwatch::start(), Duration::from_secs(60)));
        state.take_whole(Stopwatch::start(), bad("damage"));
        assert!(state.is_due(), "so that a repair shows");
    }
}
