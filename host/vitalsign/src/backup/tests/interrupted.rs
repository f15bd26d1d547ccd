//! Restores and undos that end between two of their steps, as by a kill: the next run puts the database and its export right.

use std::{fs, path::Path};

use super::{
    ErrorKind, IncludeDestination, MustMatch, REGISTRY, RestoreRequest, Silent, TABLES, TestRegistry, at, check::said,
    restore, told,
};
use crate::backup::{
    LastRun, beside::journal, beside::journal::Journal, beside::journal::Step, beside::replaced_folder::ReplacedNote,
    restore::swap::Recovered, restore::swap::Swap, restore::swap::plan, restore::swap::recover,
};

const OLD: (&str, &str) = ("old database", "old export");
const NEW: (&str, &str) = ("new database", "new export");

/// What a scene has before the swap.
#[derive(Clone, Copy, Debug)]
struct Before {
    database: bool,
    export: bool,
    log: bool,
}

/// A folder with the old files and the staged new ones, and the journal of a swap between them.
struct Cut {
    bench: TestRegistry,
    before: Before,
    journal: Journal,
    note: ReplacedNote,
}

impl Cut {
    fn new(before: Before, kind: journal::SwapKind) -> Self {
        let bench = TestRegistry::empty();
        let real = fs::canonicalize(bench.folder.path()).unwrap().join("r.sqlite");
        let write = |name: &str, text: &str| fs::write(bench.path(name), text).unwrap();
        let from = real.with_file_name("r.sqlite.replaced-1");
        fs::create_dir(&from).unwrap();
        write("r.sqlite.replaced-1/database", NEW.0);
        write("r.sqlite.replaced-1/database-wal", "new log");
        write(".export.vitalsign-restoring", NEW.1);
        for (is_there, name, text) in [
            (before.database, "r.sqlite", OLD.0),
            (before.export, "export", OLD.1),
            (before.log, "r.sqlite-wal", "old log"),
        ] {
            if is_there {
                write(name, text);
            }
        }
        let (staged, log) = (real.with_file_name(".export.vitalsign-restoring"), real.with_file_name("export"));
        let new = from.join("database");
        let swap = Swap {
            real: &real,
            new: Some(&new),
            log: Some((Some(&staged), &log)),
            kind,
            at: "now",
            by: "a test",
            from: Some(&from),
            include: &[],
        };
        let journal = plan(&swap).unwrap().unwrap();
        journal.write().unwrap();
        Self { journal, note: ReplacedNote::new("now", "a test", Some(&log), real.parent().unwrap()), before, bench }
    }

    /// The steps up to the one that decides, and that one.
    fn steps(&self) -> Vec<Step> {
        self.journal.before.iter().chain([&self.journal.decisive]).cloned().collect()
    }

    /// Does the first steps.
    fn run(&self, count: usize) {
        self.journal.begin(&self.note).unwrap();
        self.steps().iter().take(count).for_each(|step| self.journal.step(step, None).unwrap());
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.bench.path(name)).ok()
    }

    fn recovered(&self) -> Option<Recovered> {
        recover(&fs::canonicalize(self.bench.folder.path()).unwrap().join("r.sqlite")).unwrap()
    }

    /// Whether everything is as before, or as it is to be.
    fn is_new(&self) -> bool {
        let pair = (self.text("r.sqlite"), self.text("export"), self.text("r.sqlite-wal"));
        let old = |is_there: bool, text: &str| is_there.then(|| text.to_owned());
        let all_old =
            (old(self.before.database, OLD.0), old(self.before.export, OLD.1), old(self.before.log, "old log"));
        let all_new = (Some(NEW.0.to_owned()), Some(NEW.1.to_owned()), Some("new log".to_owned()));
        assert!(pair == all_old || pair == all_new, "{:?}: {pair:?}", self.before);
        pair == all_new
    }
}

fn everywhere(each: impl Fn(&Cut, usize, usize)) {
    for database in [true, false] {
        for (export, log) in [(true, false), (false, true), (true, true), (false, false)] {
            let before = Before { database, export, log };
            let steps = Cut::new(before, journal::SwapKind::Restore).steps().len();
            for count in 0..=steps {
                let cut = Cut::new(before, journal::SwapKind::Restore);
                cut.run(count);
                each(&cut, count, steps);
            }
        }
    }
}

#[test]
fn what_was_cut_off_is_taken_back_or_completed() {
    everywhere(|cut, count, steps| {
        let is_decided = count == steps;
        let expected = match is_decided {
            true => Recovered::Completed(journal::SwapKind::Restore),
            false => Recovered::TakenBack(journal::SwapKind::Restore),
        };
        assert_eq!(cut.recovered(), Some(expected), "{:?} after {count} of {steps}", cut.before);
        assert_eq!(cut.is_new(), is_decided);
        // What is needed no more is gone, and what is not lost.
        let is_there = |name: &str| cut.bench.path(name).exists();
        assert!(!is_there("r.sqlite.vitalsign-restore"));
        assert_eq!(is_there("r.sqlite.replaced-1"), !is_decided, "where the new files come from");
        let keeps = is_decided && (cut.before.database || cut.before.export || cut.before.log);
        assert_eq!(is_there("r.sqlite.replaced-2"), keeps);
        assert_eq!(cut.recovered(), None);
    });
}

/// The same when the next run is killed too, wherever that is.
#[test]
fn a_recovery_that_is_cut_off_can_be_begun_again() {
    everywhere(|cut, count, steps| {
        // The journal is the last thing that a recovery removes, so with it there, everything may happen once more.
        let journal = fs::read(cut.bench.path("r.sqlite.vitalsign-restore")).unwrap();
        cut.recovered().unwrap();
        let before = cut.bench.everything();
        fs::write(cut.bench.path("r.sqlite.vitalsign-restore"), journal).unwrap();
        cut.recovered().unwrap();
        assert_eq!(before, cut.bench.everything(), "{:?} after {count} of {steps}", cut.before);
    });
}

#[test]
fn a_database_that_was_used_since_gets_no_log_back() {
    let cut = Cut::new(Before { database: true, export: true, log: true }, journal::SwapKind::Restore);
    cut.run(cut.steps().len() - 1);
    fs::write(cut.bench.path("r.sqlite"), "the registry has written to it").unwrap();
    assert_eq!(cut.recovered(), Some(Recovered::TakenBack(journal::SwapKind::Restore)));
    assert_eq!((cut.text("export").as_deref(), cut.text("r.sqlite-wal")), (Some(OLD.1), None));
    assert_eq!(cut.text("r.sqlite.replaced-2/database-wal").as_deref(), Some("old log"));
}

#[test]
fn an_undo_ends_before_the_restore_however_often_it_is_interrupted() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    bench.sql("INSERT INTO records VALUES ('only before the restore', '')");
    fs::write(bench.path("r.sqlite.jsonl"), "export before the restore").unwrap();
    let old = bench.read("r.sqlite");
    for (kind, count) in [(journal::SwapKind::Restore, 3), (journal::SwapKind::Undo, 3), (journal::SwapKind::Undo, 4)] {
        let real = fs::canonicalize(bench.folder.path()).unwrap().join("r.sqlite");
        let log = real.with_file_name("r.sqlite.jsonl");
        let (staged, new) = (real.with_file_name(".r.sqlite.jsonl.vitalsign-restoring"), real.with_file_name("staged"));
        if kind == journal::SwapKind::Undo {
            bench.restored(&made.path, "r.sqlite", |request| request.force = true).unwrap();
        }
        fs::write(&staged, "export before the restore").unwrap();
        fs::write(&new, &old).unwrap();
        let from = real.with_file_name("r.sqlite.replaced-1");
        let is_undo = kind == journal::SwapKind::Undo;
        let swap = Swap {
            real: &real,
            new: Some(&new),
            log: Some((Some(&staged), &log)),
            kind,
            at: "now",
            by: "a test",
            from: Some(from.as_path()).filter(|_| is_undo),
            include: &[],
        };
        let journal = plan(&swap).unwrap().unwrap();
        journal.write().unwrap();
        journal.begin(&ReplacedNote::new("now", "a test", Some(&log), real.parent().unwrap())).unwrap();
        for step in journal.before.iter().chain([&journal.decisive]).take(count) {
            journal.step(step, None).unwrap();
        }
        let said = said(bench.db(), bench.path("out"), false, "2026-11-24T12:00:00Z", LastRun::default());
        assert!(said.contains("error restore-unfinished: a restore was interrupted, as"), "{said}");
        let undone = bench.undone("r.sqlite").unwrap();
        assert_eq!(undone.interrupted, (kind, count) != (journal::SwapKind::Undo, 3));
        assert_eq!(
            (bench.read("r.sqlite"), bench.read("r.sqlite.jsonl")),
            (old.clone(), b"export before the restore".to_vec())
        );
        for left in fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if left.is_dir() && left.to_str().unwrap().contains("replaced-") {
                fs::remove_dir_all(left).unwrap();
            }
        }
    }
}

#[test]
fn what_leads_out_of_a_copy_is_left_alone() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    for (folder, log) in [("inside", "inside/log"), ("outside", "log")] {
        fs::create_dir(bench.path(folder)).unwrap();
        let db = format!("{folder}/r.sqlite");
        fs::copy(bench.db(), bench.path(&db)).unwrap();
        fs::write(bench.path(log), "old").unwrap();
        let (log, path, scratch) = (bench.path(log), bench.path(&db), std::env::temp_dir());
        let (archive, to) = (&made.path, &path);
        let request = RestoreRequest {
            archive,
            db: to,
            log: &log,
            force: true,
            schema_version: None,
            must_match: MustMatch::Content,
            identity: None,
            tables: TABLES,
            dry_run: false,
            despite_faults: false,
            include: IncludeDestination::Beside,
            scratch: &scratch,
        };
        restore(&request, &at("2026-11-24T13:00:00Z"), &Silent).unwrap();
        let copy = format!("{folder} copy");
        fs::create_dir(bench.path(&copy)).unwrap();
        copied(&bench.path(folder), &bench.path(&copy));
        let before = fs::read(&log).unwrap();
        let found = bench.undone(&format!("{copy}/r.sqlite"));
        assert_eq!(fs::read(&log).unwrap(), before, "the export of the original");
        if folder == "inside" {
            assert_eq!((found.is_ok(), bench.read("inside copy/log")), (true, b"old".to_vec()));
        } else {
            let (kind, text) = told(&bench, found);
            assert_eq!(kind, ErrorKind::Refused);
            assert!(text.contains("was copied or moved to here since the restore"), "{text}");
        }
        bench.undone(&db).unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"old");
    }
}

fn copied(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copied(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_journal_that_cannot_be_used_is_refused() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    fs::write(bench.path("r.sqlite.vitalsign-restore"), "{").unwrap();
    for found in [
        told(&bench, bench.undone("r.sqlite")),
        told(&bench, bench.restored(&made.path, "r.sqlite", |request| request.force = true)),
    ] {
        assert_eq!(
            (found.0, found.1.contains("r.sqlite.vitalsign-restore cannot be read")),
            (ErrorKind::Refused, true),
            "{found:?}"
        );
    }
    let (kind, text) = told(&bench, bench.restored(&made.path, "r.sqlite", |request| request.dry_run = true));
    assert_eq!(
        (kind, text.contains("was interrupted; nothing was changed (--dry-run)")),
        (ErrorKind::Refused, true),
        "{text}"
    );
}
