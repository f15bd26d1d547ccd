//! What is included, while other programs or people meddle with it: during a backup, and after a restore that was interrupted.
//!
//! Knows nothing of how an archive is made up.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    ErrorKind, IncludeDestination, REGISTRY, TestRegistry,
    include::{ALL, Cut, OLD, backed_up, include, registry, sql},
    told,
};
use crate::backup::{Progress, Verdict, restore::swap::Recovered};
use vitalsign_archive::MAX_INCLUDED;

/// Does something while what is included is read, whenever that asks whether it should go on.
struct Meddling<F> {
    meddle: F,
    begun: AtomicBool,
}

impl<F: Fn() + Sync> Meddling<F> {
    fn with(meddle: F) -> Self {
        Self { meddle, begun: AtomicBool::new(false) }
    }
}

impl<F: Fn() + Sync> Progress for Meddling<F> {
    fn begin(&self, what: &'static str, _: u64) {
        self.begun.store(what.contains("included"), Ordering::SeqCst);
    }
    fn at(&self, _: u64) {}
    fn end(&self) {}
    fn is_cancelled(&self) -> bool {
        if self.begun.load(Ordering::SeqCst) {
            (self.meddle)();
        }
        false
    }
}

#[test]
fn a_file_that_was_asked_for_and_vanishes_is_missed_and_one_in_a_folder_is_not() {
    for (name, verdict) in [("var/token", Verdict::Flawed), ("var", Verdict::Verified)] {
        let bench = TestRegistry::with(REGISTRY);
        fs::create_dir(bench.path("var")).unwrap();
        fs::write(bench.path("var/token"), "x").unwrap();
        // After it was seen, and before it is read.
        let progress = Meddling::with(|| drop(fs::remove_file(bench.path("var/token"))));
        let include = include(&bench, &[name]);
        let made = bench.back_up_with(&progress, |request| request.include = include).unwrap();
        assert_eq!(made.record.verdict, verdict, "{name}: {:?}", made.record.include_faults);
    }
}

/// The new folder may be there already, and the old database still.
#[test]
fn a_backup_between_the_halves_of_an_interrupted_restore_is_flawed() {
    let bench = registry();
    fs::write(bench.path("r.sqlite.vitalsign-restore"), "{}").unwrap();
    let made = backed_up(&bench, &ALL);
    assert_eq!(made.record.verdict, Verdict::Flawed);
    assert!(made.record.include_faults.join("").contains("a restore was interrupted"), "{:?}", made.record);
    assert_eq!(bench.back_up(|_| {}).unwrap().record.verdict, Verdict::Verified);
}

/// An undo removes the folder with what was replaced, once all of it is back in its place.
#[test]
fn an_undo_that_does_not_know_the_place_of_something_removes_nothing() {
    let bench = registry();
    let made = backed_up(&bench, &ALL);
    sql(&bench.path("sessions.db"), "INSERT INTO sessions VALUES (3, 'c')");
    let include = include(&bench, &ALL);
    bench
        .restored(&made.path, "r.sqlite", |request| {
            (request.include, request.force) = (IncludeDestination::ByName(include), true);
        })
        .unwrap();
    fs::remove_file(bench.path("r.sqlite.replaced-1/replaced.json")).unwrap();
    let before = bench.everything();
    let (kind, text) = told(&bench, bench.undone("r.sqlite"));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("replaced-1/include-0 was included when it was replaced"), "{text}");
    assert!(before.iter().all(|one| bench.everything().contains(one)));
}

/// The registry was started after the interruption, and wrote to the new folder beside the old database.
#[test]
fn what_is_written_to_a_new_folder_after_an_interruption_is_kept() {
    for was_there in [true, false] {
        let cut = Cut::new(was_there);
        cut.run(cut.steps().len() - 1, false);
        let stat = |name: &str| fs::metadata(cut.bench.path(name)).unwrap();
        let journal = stat("r.sqlite.vitalsign-restore");
        let at = |seconds: i64, ns: i64| (seconds, ns);
        loop {
            // Until the clock of the file system has gone on.
            fs::write(cut.bench.path("uploads/fresh"), "fresh").unwrap();
            let fresh = stat("uploads/fresh");
            if at(fresh.ctime(), fresh.ctime_nsec()) > at(journal.mtime(), journal.mtime_nsec()) {
                break;
            }
        }
        assert!(matches!(cut.recovered(), Some(Recovered::TakenBack(_))));
        let kept = if was_there { "r.sqlite.replaced-1/include-1.found/fresh" } else { "uploads/fresh" };
        assert_eq!(fs::read(cut.bench.path(kept)).unwrap(), b"fresh");
        if was_there {
            assert_eq!(cut.state(), OLD.map(str::to_owned));
        }
        assert_eq!(cut.recovered(), None);
    }
}

#[test]
fn a_folder_with_more_files_than_an_archive_holds_is_refused_and_seen_to_be_in_use() {
    let bench = TestRegistry::with(REGISTRY);
    fs::create_dir(bench.path("uploads")).unwrap();
    fs::write(bench.path("uploads/a"), "a").unwrap();
    let made = backed_up(&bench, &["uploads"]);
    for index in 0..MAX_INCLUDED {
        fs::write(bench.path(&format!("uploads/{index}")), "").unwrap();
    }
    let include = include(&bench, &["uploads"]);
    let (kind, text) = told(&bench, bench.back_up(|request| request.include = include));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("more than 50000 files") && text.contains("no archive was made"), "{text}");
    let restore = || {
        bench.restored(&made.path, "r.sqlite", |request| {
            (request.include, request.force) = (IncludeDestination::ByName(include), true);
        })
    };
    let file = fs::File::options().append(true).open(bench.path("uploads/a")).unwrap();
    let mut other = Command::new("cat").stdin(Stdio::piped()).stdout(file).spawn().unwrap();
    let (kind, text) = told(&bench, restore());
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("DIR/uploads is open in cat"), "{text}");
    drop(other.stdin.take());
    other.wait().unwrap();
    restore().unwrap();
    assert_eq!(fs::read_dir(bench.path("uploads")).unwrap().count(), 1);
}

#[test]
fn no_file_is_read_through_a_link_that_was_put_in_the_way() {
    let bench = TestRegistry::with(REGISTRY);
    for folder in ["var/d", "secret"] {
        fs::create_dir_all(bench.path(folder)).unwrap();
        sql(&bench.path(&format!("{folder}/x.db")), "CREATE TABLE t(x)");
    }
    // The test of the descriptor itself: no race decides it.
    let (root, file) = (bench.path("var"), fs::File::open(bench.path("secret/x.db")).unwrap());
    let is_open = |inside: &str| vitalsign_base::files::is_open_beneath(&root, std::path::Path::new(inside));
    assert!(!is_open("d/x.db").unwrap());
    fs::rename(bench.path("var/d"), bench.path("own")).unwrap();
    std::os::unix::fs::symlink("../secret", bench.path("var/d")).unwrap();
    assert!(is_open("d/x.db").is_err());
    drop(file);
    fs::remove_file(bench.path("var/d")).unwrap();
    fs::rename(bench.path("own"), bench.path("var/d")).unwrap();
    let own = fs::File::open(bench.path("var/d/x.db")).unwrap();
    assert!(is_open("d/x.db").unwrap());
    drop(own);
    // A link to another folder takes the place of one that was seen.
    let progress = Meddling::with(|| {
        if fs::rename(bench.path("var/d"), bench.path("moved")).is_ok() {
            std::os::unix::fs::symlink("../secret", bench.path("var/d")).unwrap();
        }
    });
    let include = include(&bench, &["var"]);
    let made = bench.back_up_with(&progress, |request| request.include = include).unwrap();
    assert_eq!(made.record.verdict, Verdict::Flawed, "{:?}", made.record.include_faults);
}
