//! Archives that are verified again, and what the check says of it.

use std::{fs, path::Path, time::Duration};

use super::{
    REGISTRY, TestRegistry, at,
    check::{said_of, settings},
};
use crate::backup::{
    ArchiveState, CatalogEntry, LastRun, Progress, ReverifyRound, ReverifySettings, RoundEnd, Settings, Silent,
    catalogue::attempt::Attempt, list, reverify,
};
use vitalsign_base::{clock::Timestamp, files::ProcessLock};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whoever asks is told to stop.
struct Stopped;

impl Progress for Stopped {
    fn begin(&self, _: &'static str, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
    fn is_cancelled(&self) -> bool {
        true
    }
}

/// Archives that were verified at these times.
fn verified_at(times: &[&str]) -> TestRegistry {
    let bench = TestRegistry::with(REGISTRY);
    for time in times {
        let made = bench.back_up(|_| ()).unwrap();
        set(&made.path, "verifiedAt", time);
    }
    bench
}

fn set(archive: &Path, key: &str, value: &str) {
    let record = format!("{}.json", archive.display());
    let mut known: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    known[key] = value.into();
    fs::write(record, known.to_string()).unwrap();
}

/// One round that has no time, so that it verifies one archive.
fn round(
    bench: &TestRegistry,
    now: &str,
    last: &LastRun,
    change: impl FnOnce(&mut ReverifyRound<'_>),
    progress: &dyn Progress,
) -> RoundEnd {
    let (db, folder, scratch) = (bench.db(), bench.path("out"), std::env::temp_dir());
    let mut round = ReverifyRound {
        db: &db,
        identity: None,
        folder: &folder,
        reverify: ReverifySettings { every: DAY, budget: Duration::ZERO },
        spare_bytes: 0,
        scratch: &scratch,
    };
    change(&mut round);
    reverify(&round, &last.proofs, &at(now), progress).unwrap()
}

fn says(bench: &TestRegistry, now: &str, last: &LastRun) -> String {
    let reverify = Some(ReverifySettings { every: DAY, budget: Duration::ZERO });
    let settings =
        Settings { configured: true, reverify, max_proof_age: Some(10 * DAY), ..settings(bench.path("out")) };
    said_of(settings, bench.db(), now, last.clone())
}

/// The archives, oldest first.
fn archives(bench: &TestRegistry) -> Vec<CatalogEntry> {
    let mut all = list(&bench.path("out"), false).unwrap();
    all.reverse();
    all
}

fn proofs(bench: &TestRegistry) -> Vec<String> {
    archives(bench).into_iter().map(|one| one.verified_at.unwrap_or_default()).collect()
}

#[test]
fn those_verified_longest_ago_come_first_and_none_too_often() {
    let times = ["2026-11-20T00:00:00Z", "2026-11-18T00:00:00Z", "2026-11-24T10:00:00Z", "2026-11-19T00:00:00Z"];
    let (bench, last) = (verified_at(&times), LastRun::default());
    let mut order = Vec::new();
    for hour in 12..16 {
        let now = format!("2026-11-24T{hour}:00:00Z");
        let before = proofs(&bench);
        let ended = round(&bench, &now, &last, |_| (), &Silent);
        let after = proofs(&bench);
        order.push((before.iter().zip(&after).position(|(before, after)| before != after), ended));
    }
    let out = RoundEnd::OutOfTime;
    assert_eq!(order, [(Some(1), out), (Some(3), out), (Some(0), RoundEnd::Done), (None, RoundEnd::Done)]);
    let all = |round: &mut ReverifyRound<'_>| round.reverify.budget = DAY;
    assert_eq!(round(&bench, "2026-11-25T12:00:00Z", &last, all, &Silent), RoundEnd::Done);
    assert_eq!(proofs(&bench), ["2026-11-25T12:00:00Z"; 4]);
    // A proof from the future, by a clock that was wrong, is none.
    set(&archives(&bench)[2].path, "verifiedAt", "2031-01-01T00:00:00Z");
    assert_eq!(round(&bench, "2026-11-25T12:00:01Z", &LastRun::default(), |_| (), &Silent), RoundEnd::Done);
    assert_eq!(proofs(&bench)[2], "2026-11-25T12:00:01Z");
}

#[test]
fn one_that_has_gone_bad_is_told_until_somebody_acts() {
    let (bench, last) = (verified_at(&["2026-11-20T00:00:00Z", "2026-11-24T12:00:00Z"]), LastRun::default());
    let old = archives(&bench)[0].path.clone();
    let good = fs::read(&old).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle..middle + 4].copy_from_slice(b"XXXX");
    let modified = fs::metadata(&old).unwrap().modified().unwrap();
    let put = |bytes: &[u8]| {
        fs::write(&old, bytes).unwrap();
        fs::File::options().write(true).open(&old).unwrap().set_modified(modified).unwrap();
    };
    put(&bad);
    assert!(says(&bench, "2026-11-24T13:00:00Z", &last).starts_with("ok"), "nobody has looked yet");
    round(&bench, "2026-11-24T13:00:00Z", &last, |_| (), &Silent);
    let text = says(&bench, "2026-11-24T13:00:01Z", &last);
    assert!(text.starts_with("error: 2 backups;"), "{text}");
    let words = "- error rotten: the older backup registry-backup-2026-11-24T12-00-00Z.tar.gz does not hold any more what was backed up: ";
    assert!(text.contains(words), "{text}");
    // Another process knows it from the record, and a new backup does not change it.
    bench.back_up(|_| ()).unwrap();
    assert!(says(&bench, "2026-11-24T13:00:01Z", &LastRun::default()).contains("error rotten"));
    put(&good);
    round(&bench, "2026-11-25T13:00:00Z", &last, |round| round.reverify.budget = DAY, &Silent);
    assert!(says(&bench, "2026-11-25T13:00:00Z", &last).starts_with("ok"));
    // One that has another size need not be read.
    fs::write(&old, "cut off").unwrap();
    assert!(says(&bench, "2026-11-25T13:00:00Z", &last).contains("it has another size than when it was verified"));
}

#[test]
fn a_backup_and_whoever_stops_it_go_first() {
    let (bench, last) = (verified_at(&["2026-11-20T00:00:00Z"]), LastRun::default());
    let before = proofs(&bench);
    assert_eq!(round(&bench, "2026-11-24T13:00:00Z", &last, |_| (), &Stopped), RoundEnd::GaveWay);
    let mut attempt = Attempt::new(&bench.db(), &bench.path("out"));
    attempt.begin(&at("2026-11-24T13:00:00Z"));
    assert_eq!(round(&bench, "2026-11-24T13:00:00Z", &last, |_| (), &Silent), RoundEnd::GaveWay);
    assert_eq!(proofs(&bench), before);
    attempt.end(None, &at("2026-11-24T13:00:00Z"));
    // A restore, or a backup into another folder.
    let lock = ProcessLock::take(&bench.path("r.sqlite.vitalsign-lock")).unwrap().unwrap();
    assert_eq!(round(&bench, "2026-11-24T13:00:00Z", &last, |_| (), &Silent), RoundEnd::GaveWay);
    drop(lock);
    assert_eq!(round(&bench, "2026-11-24T13:00:00Z", &last, |_| (), &Silent), RoundEnd::Done);
    assert_eq!(proofs(&bench), ["2026-11-24T13:00:00Z"]);
    let left = fs::read_dir(bench.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| name.to_str().unwrap().starts_with("registry-backup-")));
}

#[test]
fn what_could_not_be_verified_is_told_and_keeps_no_other_waiting() {
    let times = ["2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"];
    let (bench, last) = (verified_at(&times), LastRun::default());
    // As if the first were too large to be unpacked.
    round(&bench, "2026-11-24T13:00:00Z", &last, |round| round.spare_bytes = u64::MAX / 2, &Silent);
    assert_eq!(proofs(&bench), times);
    let text = says(&bench, "2026-11-24T13:00:00Z", &last);
    let words = "- unknown not-verified-again: registry-backup-2026-11-24T12-00-00Z.tar.gz could not be verified again: the folder ";
    assert!(text.starts_with("unknown: 2 backups;") && text.contains(words), "{text}");
    round(&bench, "2026-11-24T13:00:01Z", &last, |_| (), &Silent);
    assert_eq!(proofs(&bench), ["2026-11-20T00:00:00Z", "2026-11-24T13:00:01Z"]);
    assert!(says(&bench, "2026-11-24T13:00:01Z", &last).starts_with("unknown"));
    round(&bench, "2026-11-25T13:00:00Z", &last, |_| (), &Silent);
    assert!(says(&bench, "2026-11-25T13:00:00Z", &last).starts_with("ok"));
    last.proofs.note(at("2026-11-25T13:00:00Z").0, Some(("the folder hid".to_owned(), "find it".to_owned())));
    let text = says(&bench, "2026-11-25T13:00:00Z", &last);
    assert!(text.contains("no archive could be verified again at 2026-11-25T13:00:00Z: the folder hid"), "{text}");
}

#[test]
fn a_verification_that_does_not_end_is_told() {
    let (bench, last) = (verified_at(&["2026-11-24T12:00:00Z"]), LastRun::default());
    last.proofs.begin(&archives(&bench)[0].path, at("2026-11-24T12:00:00Z").0);
    assert!(says(&bench, "2026-11-25T11:59:59Z", &last).starts_with("ok"));
    let text = says(&bench, "2026-11-25T12:00:00Z", &last);
    let words = "unknown not-verified-again: the verification of registry-backup-2026-11-24T12-00-00Z.tar.gz began 1 d ago and has not ended";
    assert!(text.contains(words), "{text}");
}

/// Where the record cannot say that an archive is bad, `serve` does.
#[test]
fn one_that_is_bad_without_a_record_that_says_so_is_an_error() {
    let (bench, last) = (verified_at(&["2026-11-20T00:00:00Z", "2026-11-24T12:00:00Z"]), LastRun::default());
    let old = archives(&bench)[0].path.clone();
    // A folder in the place of the record: nothing can be written there.
    let record = format!("{}.json", old.display());
    fs::remove_file(&record).unwrap();
    fs::create_dir_all(Path::new(&record).join("full")).unwrap();
    let bytes = fs::read(&old).unwrap();
    fs::write(&old, &bytes[..bytes.len() / 2]).unwrap();
    round(&bench, "2026-11-24T13:00:00Z", &last, |_| (), &Silent);
    let text = says(&bench, "2026-11-24T13:00:00Z", &last);
    assert!(
        text.contains(
            "error not-verified-again: registry-backup-2026-11-24T12-00-00Z.tar.gz could not be verified again"
        ),
        "{text}"
    );
}

#[test]
fn a_proof_that_is_too_old_is_a_warning() {
    let (bench, last) = (verified_at(&["2026-11-14T13:00:00Z", "2026-11-24T12:00:00Z"]), LastRun::default());
    assert!(says(&bench, "2026-11-24T13:00:00Z", &last).starts_with("ok"));
    let text = says(&bench, "2026-11-24T13:00:01Z", &last);
    let words = "- warn proof-old: registry-backup-2026-11-24T12-00-00Z.tar.gz was last verified 10 d ago; at most 10 d are wanted";
    assert!(text.starts_with("warn") && text.contains(words), "{text}");
    // One that was never verified has waited since it was made.
    let waiting = bench.back_up(|request| request.verify = false).unwrap();
    bench.back_up(|_| ()).unwrap();
    set(&archives(&bench)[0].path, "verifiedAt", "2026-12-04T12:00:00Z");
    set(&archives(&bench)[1].path, "verifiedAt", "2026-12-04T12:00:00Z");
    set(&archives(&bench)[3].path, "verifiedAt", "2026-12-04T12:00:00Z");
    assert!(says(&bench, "2026-12-04T12:00:00Z", &last).starts_with("ok"));
    let text = says(&bench, "2026-12-04T12:00:01Z", &last);
    assert!(text.contains(&format!("{} was not verified since it was made", waiting.record.archive)), "{text}");
}

#[test]
fn the_standing_decides_whether_a_proof_counts() {
    let bench = verified_at(&["2026-11-20T00:00:00Z"]);
    let mut one = archives(&bench).remove(0);
    let now: Timestamp = at("2026-11-24T13:00:00Z").0;
    use ArchiveState::{Changed, Damaged, Flawed, Incomplete, Unreadable, Unverified, Verified};
    let mut counts = |standing| {
        one.standing = standing;
        crate::backup::proven_at(&one, now).is_some()
    };
    assert_eq!([Verified, Flawed, Incomplete, Damaged].map(&mut counts), [true; 4]);
    assert_eq!([Unverified, Changed, Unreadable].map(&mut counts), [false; 3]);
}
