//! The runner with time held still: checks run as tasks, or on threads that the test itself lets go.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
    mpsc,
};

use tokio::{sync::Notify, time::advance};

use super::*;
use vitalsign_base::{clock::FixedClock, value::Name};
use vitalsign_check::{
    BoxFuture, Schedule, Spec,
    report::{Fact, Origin, Severity, Weight},
};

type ProbeAnswer = Box<dyn Fn(u32) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A check that counts its runs and answers with a closure that is given that count.
struct Probe {
    spec: Spec,
    runs: AtomicU32,
    answer: ProbeAnswer,
}

impl Check for Probe {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Outcome> {
        (self.answer)(self.runs.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

fn schedule() -> Schedule {
    Schedule {
        enabled: true,
        weight: Weight::Critical,
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(2),
        failure_threshold: 1,
        success_threshold: 1,
        groups: Vec::new(),
    }
}

fn probe(name: &str, schedule: Schedule, answer: ProbeAnswer) -> Arc<Probe> {
    let spec = Spec { name: Name::parse(name).unwrap(), origin: Origin::Builtin, schedule };
    Arc::new(Probe { spec, runs: AtomicU32::new(0), answer })
}

/// Answers with these statuses, the last one for ever.
fn saying(statuses: &'static [Status]) -> ProbeAnswer {
    Box::new(|run| {
        let status = *statuses.get(run as usize - 1).or(statuses.last()).unwrap();
        let outcome = Outcome::of(Finding::new(status, "said", "said so"));
        Box::pin(async move { Outcome { facts: vec![Fact::Records(7)], ..outcome } })
    })
}

fn hanging() -> ProbeAnswer {
    Box::new(|_| Box::pin(std::future::pending()))
}

fn runner(checks: &[&Arc<Probe>], place: Executor) -> Arc<Runner> {
    let checks = checks.iter().map(|check| Arc::clone(check) as Arc<dyn Check>).collect();
    let clock = Arc::new(FixedClock("2025-10-27T12:00:00Z".parse().unwrap()));
    Arc::new(Runner::build(checks, Subject::default(), RegistrySection::default(), clock, place))
}

fn runs(probe: &Arc<Probe>) -> u32 {
    probe.runs.load(Ordering::Relaxed)
}

fn code(runner: &Runner, name: &str) -> String {
    runner.entry(name).unwrap().findings.first().map(|finding| finding.code.clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn before_the_first_run_nothing_counts_as_healthy() {
    let runner = runner(&[&probe("wal", schedule(), saying(&[Status::Ok]))], Executor::Task);
    let report = runner.report();
    assert_eq!(report.status, Severity::Error);
    assert_eq!(report.errors, ["wal: has not run yet"]);
    assert_eq!(gate(&report, |_, _| false).refused, ["wal: has not run yet"]);
    assert_eq!((code(&runner, "wal").as_str(), report.checks[0].checked_at), ("not-yet-run", None));
}

#[tokio::test(start_paused = true)]
async fn a_round_runs_what_was_chosen_and_a_look_runs_nothing() {
    let a = probe("a", schedule(), saying(&[Status::Ok]));
    let b = probe("b", Schedule { enabled: false, ..schedule() }, saying(&[Status::Warn]));
    let runner = runner(&[&b, &a], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let report = runner.round(&all).await;
    assert_eq!((report.checks.len(), report.registry.records), (1, Some(7)));
    assert_eq!(gate(&report, |_, _| false), GateDecision::default());
    let only = runner.choose(&Selection { only: vec!["b".to_owned()], ..Selection::default() }).unwrap();
    assert_eq!(runner.round(&only).await.status, Severity::Warn);
    let version = runner.version();
    for _ in 0..1000 {
        let _ = (runner.report(), runner.entry("a"), runner.entry("b"), runner.entry("c"));
    }
    assert_eq!((runs(&a), runs(&b), runner.version()), (1, 1, version));
    assert_eq!(runner.entry("b").unwrap_err().to_string(), "there is no check `b`; there are: a");
}

#[tokio::test(start_paused = true)]
async fn a_hung_check_delays_nothing_and_its_slot_stays_taken() {
    let good = probe("good", schedule(), saying(&[Status::Ok]));
    let hung = probe("hung", schedule(), hanging());
    let runner = runner(&[&good, &hung], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let report = runner.round(&all).await;
    assert_eq!(report.errors, ["hung: gave no answer within 2 s (timeoutMs)"]);
    assert_eq!((code(&runner, "hung").as_str(), code(&runner, "good").as_str()), ("timed-out", "said"));
    let report = runner.round(&all).await;
    assert_eq!(
        report.errors,
        ["hung: the run that started at 2025-10-27T12:00:00Z has not ended; no new one starts until it does"]
    );
    assert_eq!((runs(&good), runs(&hung)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_round_with_a_limit_reports_on_every_check() {
    let good = probe("good", schedule(), saying(&[Status::Ok]));
    let hung = probe("hung", schedule(), hanging());
    let runner = runner(&[&good, &hung], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let started = Instant::now();
    let report = runner.round_within(&all, Duration::from_secs(1)).await;
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert_eq!(report.errors, ["hung: gave no answer within 1 s, the time limit for all checks together"]);
    let statuses: Vec<_> = report.checks.iter().map(|entry| (entry.name.as_str(), entry.status)).collect();
    assert_eq!(statuses, [("good", Status::Ok), ("hung", Status::Unknown)]);
    // A check's own limit holds as well, where it is shorter.
    let started = Instant::now();
    runner.round_within(&all, Duration::from_secs(3600)).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// The context's deadline is what a check keeps to, so that it can say by itself what it was doing.
#[tokio::test(start_paused = true)]
async fn a_check_is_told_that_the_round_ends_before_its_own_limit() {
    struct Told(Spec, Mutex<Vec<Duration>>);
    impl Check for Told {
        fn spec(&self) -> &Spec {
            &self.0
        }
        fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
            self.1.lock().unwrap().push(context.deadline.remaining());
            Box::pin(async { Outcome::new("fine") })
        }
    }
    let spec = Spec { name: Name::parse("told").unwrap(), origin: Origin::Builtin, schedule: schedule() };
    let told = Arc::new(Told(spec, Mutex::default()));
    let clock = Arc::new(FixedClock("2025-10-27T12:00:00Z".parse().unwrap()));
    let checks: Vec<Arc<dyn Check>> = vec![Arc::clone(&told) as Arc<dyn Check>];
    let runner = Arc::new(Runner::build(checks, Subject::default(), RegistrySection::default(), clock, Executor::Task));
    let all = runner.choose(&Selection::default()).unwrap();
    runner.round_within(&all, Duration::from_secs(1)).await;
    runner.round_within(&all, Duration::from_secs(60)).await;
    let told = told.1.lock().unwrap();
    assert!(told[0] <= Duration::from_millis(950) && told[1] > Duration::from_secs(1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn each_change_of_what_counts_is_told_once() {
    use Status::{Error, Ok};
    let held = Schedule { failure_threshold: 2, ..schedule() };
    let check = probe("disk", held, saying(&[Ok, Ok, Error, Error, Error, Ok]));
    let runner = runner(&[&check], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let mut changes = runner.changes();
    for _ in 0..6 {
        runner.round(&all).await;
    }
    let mut told = Vec::new();
    while let Result::Ok(change) = changes.try_recv() {
        told.push((change.before, change.now));
    }
    assert_eq!(told, [(None, Ok), (Some(Ok), Error), (Some(Error), Ok)]);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_found_no_database_looks_again_soon() {
    let seldom = Schedule { interval: Duration::from_secs(86_400), ..schedule() };
    let missing = || Outcome::of(Finding::new(Status::Error, "missing", "there is no database").of_database());
    let answer = move |run| if run <= 3 { missing() } else { Outcome::new("fine") };
    let check = probe("deep", seldom, Box::new(move |run| Box::pin(std::future::ready(answer(run)))));
    let runner = runner(&[&check], Executor::Task);
    let _background = runner.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((runs(&check), runner.report().status), (3, Severity::Error));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((runs(&check), runner.report().status), (4, Severity::Ok), "once it is back, the interval counts again");
}

#[tokio::test(start_paused = true)]
async fn critical_checks_start_with_the_schedule() {
    let critical = probe("z", schedule(), saying(&[Status::Ok]));
    let other = probe("a", Schedule { weight: Weight::Ordinary, ..schedule() }, saying(&[Status::Ok]));
    let runner = runner(&[&critical, &other], Executor::Task);
    let _background = runner.start();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((runs(&critical), runs(&other)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_nobodys_and_frees_the_slot() {
    let late = Arc::new(Notify::new());
    let waiter = Arc::clone(&late);
    let check = probe(
        "late",
        schedule(),
        Box::new(move |run| {
            let waiter = Arc::clone(&waiter);
            Box::pin(async move {
                if run == 1 {
                    waiter.notified().await;
                }
                Outcome::new("fine")
            })
        }),
    );
    let runner = runner(&[&check], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    runner.round(&all).await;
    late.notify_one();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(code(&runner, "late"), "timed-out", "the late answer changes nothing");
    assert_eq!(runner.round(&all).await.status, Severity::Ok);
    assert_eq!(runs(&check), 2);
}

#[tokio::test(start_paused = true)]
async fn two_rounds_at_once_share_one_run() {
    let gate = Arc::new(Notify::new());
    let waiter = Arc::clone(&gate);
    let check = probe(
        "slow",
        schedule(),
        Box::new(move |_| {
            let waiter = Arc::clone(&waiter);
            Box::pin(async move {
                waiter.notified().await;
                Outcome::new("fine")
            })
        }),
    );
    let runner = runner(&[&check], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let open = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        gate.notify_one();
    };
    let (one, two, ()) = tokio::join!(runner.round(&all), runner.round(&all), open);
    assert_eq!((one.status, two.status, runs(&check)), (Severity::Ok, Severity::Ok, 1));
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_dropped_leaves_its_runs_accounted_for() {
    let check = probe("hung", schedule(), hanging());
    let runner = runner(&[&check], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    assert!(timeout(Duration::from_millis(1), runner.round(&all)).await.is_err());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(code(&runner, "hung"), "timed-out");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_result_and_the_next_run_goes_on() {
    let check = probe(
        "buggy",
        schedule(),
        Box::new(|run| Box::pin(async move { if run == 1 { panic!("boom \x1b") } else { Outcome::new("fine") } })),
    );
    for place in [Executor::Task, Executor::Thread] {
        let runner = runner(&[&check], place);
        check.runs.store(0, Ordering::Relaxed);
        let all = runner.choose(&Selection::default()).unwrap();
        assert_eq!(runner.round(&all).await.errors, ["buggy: the check ended with an internal error: boom \\u{1b}"]);
        assert_eq!(runner.round(&all).await.status, Severity::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn hung_checks_do_not_keep_the_others_from_starting() {
    let hung: Vec<_> = (0..MAX_CONCURRENT * 3).map(|at| probe(&format!("hung-{at}"), schedule(), hanging())).collect();
    let good = probe("z-good", schedule(), saying(&[Status::Ok]));
    let mut checks: Vec<_> = hung.iter().collect();
    checks.push(&good);
    let runner = runner(&checks, Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let started = Instant::now();
    let round = tokio::spawn({
        let (runner, all) = (Arc::clone(&runner), all.clone());
        async move { runner.round(&all).await }
    });
    while runs(&good) == 0 {
        advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
    assert!(started.elapsed() < Duration::from_secs(2), "waited {:?}", started.elapsed());
    assert_eq!(round.await.unwrap().errors.len(), hung.len());
}

#[tokio::test(start_paused = true)]
async fn the_schedule_runs_start_to_start_and_ends_when_dropped() {
    let check = probe("wal", schedule(), saying(&[Status::Ok]));
    let off = probe("off", Schedule { enabled: false, ..schedule() }, saying(&[Status::Ok]));
    let runner = runner(&[&check, &off], Executor::Task);
    let background = runner.start();
    tokio::time::sleep(spread::FIRST_WITHIN).await;
    assert_eq!(runs(&check), 1, "the first run comes soon");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(runs(&check), 2);
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!((runs(&check), runs(&off)), (12, 0));
    drop(background);
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(runs(&check), 12);
}

#[tokio::test(start_paused = true)]
async fn a_run_under_way_is_accounted_for_when_the_schedule_ends() {
    let check = probe("hung", schedule(), hanging());
    let runner = runner(&[&check], Executor::Task);
    let background = runner.start();
    tokio::time::sleep(spread::FIRST_WITHIN).await;
    assert_eq!(runs(&check), 1);
    background.stop();
    let all = runner.choose(&Selection::default()).unwrap();
    assert_eq!(runner.round(&all).await.errors, ["hung: gave no answer within 2 s (timeoutMs)"]);
}

#[tokio::test(start_paused = true)]
async fn late_runs_are_not_made_up_for() {
    // Each run takes three intervals, within its time limit.
    let slow = Schedule { interval: Duration::from_secs(1), timeout: Duration::from_secs(10), ..schedule() };
    let check = probe(
        "slow",
        slow,
        Box::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Outcome::new("fine")
            })
        }),
    );
    let runner = runner(&[&check], Executor::Task);
    let _background = runner.start();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!((9..=11).contains(&runs(&check)), "{} runs", runs(&check));
}

#[tokio::test(start_paused = true)]
async fn a_result_past_its_age_is_unknown_whatever_it_said() {
    let check = probe("wal", schedule(), saying(&[Status::Ok]));
    let runner = runner(&[&check], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    assert_eq!(runner.round(&all).await.registry.records, Some(7));
    let version = runner.version();
    advance(Duration::from_secs(15 + 2) + slot::STALE_GRACE).await;
    assert_eq!(runner.report().status, Severity::Ok, "not yet past it");
    advance(Duration::from_secs(3600)).await;
    let report = runner.report();
    assert_eq!(
        (report.status, report.checks[0].status, report.checks[0].raw_status),
        (Severity::Error, Status::Unknown, Status::Ok)
    );
    assert_eq!(report.errors, ["wal: the last result is 1 h old; it said ok: said so"]);
    assert_eq!(report.checks[0].age_ms, Some(3_622_000));
    assert_eq!((report.registry.records, runner.version()), (None, version), "nothing old is shown as if it were so");
}

#[tokio::test(start_paused = true)]
async fn hysteresis_holds_and_says_so() {
    use Status::{Error, Ok, Unknown};
    let held = Schedule { failure_threshold: 2, success_threshold: 3, ..schedule() };
    let check = probe("disk", held, saying(&[Ok, Error, Unknown, Ok, Ok, Ok]));
    let runner = runner(&[&check], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let report = runner.round(&all).await;
        let entry = &report.checks[0];
        assert_eq!(report.errors.is_empty(), report.status != Severity::Error);
        seen.push((entry.status, entry.raw_status, entry.findings[0].message.clone()));
    }
    let still = |counts: &str, said: &str, streak: &str| {
        format!("still counts as {counts}, though the last run said {said}: {streak} results in a row")
    };
    let said = || "said so".to_owned();
    assert_eq!(
        seen,
        [
            (Ok, Ok, said()),
            (Ok, Error, still("ok", "error", "1 of 2 worse")),
            (Unknown, Unknown, said()),
            (Unknown, Ok, still("unknown", "ok", "1 of 3 better")),
            (Unknown, Ok, still("unknown", "ok", "2 of 3 better")),
            (Ok, Ok, said()),
        ]
    );
}

/// A check that needs a preparation of its own, which ends when the test says so.
struct Prepared {
    probe: Arc<Probe>,
    ready: Arc<watch::Sender<bool>>,
}

impl Check for Prepared {
    fn spec(&self) -> &Spec {
        self.probe.spec()
    }

    fn prepare(&self) -> Option<BoxFuture<'static, ()>> {
        let mut ready = self.ready.subscribe();
        if *ready.borrow() {
            return None;
        }
        Some(Box::pin(async move { drop(ready.wait_for(|ready| *ready).await) }))
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        let outcome = self.probe.run(context);
        let ready = *self.ready.borrow();
        Box::pin(async move {
            if ready { outcome.await } else { Outcome::of(Finding::new(Status::Unknown, "compiling", "not yet")) }
        })
    }
}

fn unprepared() -> (Arc<Probe>, Arc<watch::Sender<bool>>, Arc<Runner>) {
    let probe = probe("plugin", schedule(), saying(&[Status::Ok]));
    let ready = Arc::new(watch::Sender::new(false));
    let check = Arc::new(Prepared { probe: Arc::clone(&probe), ready: Arc::clone(&ready) });
    let clock = Arc::new(FixedClock("2025-10-27T12:00:00Z".parse().unwrap()));
    let runner =
        Arc::new(Runner::build(vec![check], Subject::default(), RegistrySection::default(), clock, Executor::Task));
    (probe, ready, runner)
}

#[tokio::test(start_paused = true)]
async fn a_round_waits_for_a_preparation_whose_time_is_not_the_run_s() {
    let (probe, ready, runner) = unprepared();
    let all = runner.choose(&Selection::default()).unwrap();
    let opened = async {
        tokio::time::sleep(schedule().timeout * 10).await;
        assert_eq!(runs(&probe), 0);
        ready.send_replace(true);
    };
    let (report, ()) = tokio::join!(runner.round(&all), opened);
    assert_eq!((report.status, runs(&probe), report.checks[0].duration_ms < 1000.0), (Severity::Ok, 1, true));
}

#[tokio::test(start_paused = true)]
async fn what_a_long_round_found_first_is_not_old_in_its_own_report() {
    let quick = probe("quick", schedule(), saying(&[Status::Ok]));
    let slow = probe(
        "slow",
        Schedule { timeout: Duration::from_secs(120), ..schedule() },
        Box::new(|_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(100)).await;
                Outcome::new("fine")
            })
        }),
    );
    let runner = runner(&[&quick, &slow], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    for report in [runner.round(&all).await, runner.round_within(&all, Duration::from_secs(300)).await] {
        assert_eq!((report.status, code(&runner, "quick").as_str()), (Severity::Ok, "stale"), "{:?}", report.errors);
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_with_an_end_says_what_is_not_prepared() {
    let (probe, _ready, runner) = unprepared();
    let all = runner.choose(&Selection::default()).unwrap();
    let report = runner.round_within(&all, Duration::from_secs(10)).await;
    assert_eq!((report.checks[0].findings[0].code.as_str(), runs(&probe)), ("compiling", 1));
}

#[tokio::test(start_paused = true)]
async fn the_schedule_says_what_is_not_prepared_and_runs_it_once_it_is() {
    let (probe, ready, runner) = unprepared();
    let background = runner.start();
    tokio::time::sleep(spread::FIRST_WITHIN + schedule().timeout).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((code(&runner, "plugin").as_str(), runs(&probe)), ("compiling", 1));
    // Again at each tick, so that what is shown is never old.
    tokio::time::sleep(schedule().interval).await;
    assert_eq!((code(&runner, "plugin").as_str(), runs(&probe)), ("compiling", 2));
    ready.send_replace(true);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((code(&runner, "plugin").as_str(), runs(&probe)), ("said", 3), "not at the next tick only");
    drop(background);
}

/// The real way: a thread that blocks for good. The test holds the only end that can wake it, and moves time by hand.
#[tokio::test(start_paused = true)]
async fn a_thread_that_blocks_is_given_up_on() {
    let (wake, sleeper) = mpsc::channel::<()>();
    let (tell, begun) = mpsc::channel::<()>();
    let (sleeper, tell) = (Mutex::new(sleeper), Mutex::new(tell));
    let check = probe(
        "blocks",
        schedule(),
        Box::new(move |_| {
            tell.lock().unwrap().send(()).unwrap();
            let _gone = sleeper.lock().unwrap().recv();
            Box::pin(async { Outcome::new("fine") })
        }),
    );
    let good = probe("good", schedule(), saying(&[Status::Ok]));
    let runner = runner(&[&check, &good], Executor::Thread);
    let all = runner.choose(&Selection::default()).unwrap();
    let round = tokio::spawn({
        let (runner, all) = (Arc::clone(&runner), all.clone());
        async move { runner.round(&all).await }
    });
    while begun.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    // The other one runs on a real thread too, and must not be overtaken by the time that is moved here.
    while runner.entry("good").unwrap().checked_at.is_none() {
        tokio::task::yield_now().await;
    }
    advance(Duration::from_secs(2) + ANSWER_GRACE + Duration::from_millis(1)).await;
    assert_eq!(round.await.unwrap().errors, ["blocks: gave no answer within 2 s (timeoutMs)"]);
    let only = runner.choose(&Selection { only: vec!["blocks".to_owned()], ..Selection::default() }).unwrap();
    runner.round(&only).await;
    assert_eq!((code(&runner, "blocks").as_str(), runs(&check)), ("still-running", 1));
    drop(wake);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_database_is_critical_whichever_check_finds_it() {
    let corrupt = |text: &str| Outcome::of(Finding::new(Status::Error, "corrupt", text).corrupt());
    let found = corrupt("page 7 is not a page");
    let finds: ProbeAnswer = Box::new(move |_| Box::pin(std::future::ready(found.clone())));
    let ordinary = Schedule { weight: Weight::Ordinary, ..schedule() };
    let ready = Schedule { groups: vec!["ready".to_owned()], ..schedule() };
    let checks = [probe("records", ordinary, finds), probe("wal", ready, saying(&[Status::Ok]))];
    let runner = runner(&[&checks[0], &checks[1]], Executor::Task);
    let all = runner.choose(&Selection::default()).unwrap();
    assert_eq!(runner.round(&all).await.checks[0].weight, Weight::Critical);
    let group = Selection { group: Some("ready".to_owned()), ..Selection::default() };
    let ready = runner.report_of(&runner.choose(&group).unwrap());
    assert_eq!(ready.errors, ["records: page 7 is not a page"], "readiness falls, though the check is in no group");
}
