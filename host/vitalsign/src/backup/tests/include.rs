//! Other databases, files and folders of a registry: into the archive, verified with it, restored and brought back with it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rusqlite::Connection;

use super::{ErrorKind, IncludeDestination, REGISTRY, TestRegistry, content, told};
use crate::backup::{
    CreatedBackup, Include, Progress, Verdict, Verified, beside::journal, beside::journal::Journal,
    beside::journal::Step, beside::replaced_folder::ReplacedNote, prune_replaced, replaced, restore::swap::Exchange,
    restore::swap::Recovered, restore::swap::Swap, restore::swap::plan, restore::swap::recover, verify,
    wrongly_included,
};
use vitalsign_archive::{ArchiveReader, Compression, Header, METADATA, Writer, walk};
use vitalsign_base::clock::FixedClock;

/// A registry with another database, of which rows are in the log only, and a folder with files, folders, links and a database of
/// its own.
pub(super) fn registry() -> TestRegistry {
    let bench = TestRegistry::with(REGISTRY);
    let made = Connection::open(bench.path("made.db")).unwrap();
    made.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
         CREATE TABLE sessions(id INTEGER PRIMARY KEY, who TEXT); INSERT INTO sessions VALUES (1, 'a'), (2, 'b');",
    )
    .unwrap();
    // As a process leaves them that was killed.
    for side in ["", "-wal"] {
        fs::copy(bench.path(&format!("made.db{side}")), bench.path(&format!("sessions.db{side}"))).unwrap();
    }
    drop(made);
    fs::remove_file(bench.path("made.db")).unwrap();
    fs::create_dir_all(bench.path("uploads/deep/er")).unwrap();
    fs::create_dir(bench.path("uploads/empty")).unwrap();
    fs::write(bench.path("uploads/a.txt"), "a").unwrap();
    fs::write(bench.path("uploads/zero"), "").unwrap();
    fs::write(bench.path("uploads/deep/er/large"), vec![7; 5 << 20]).unwrap();
    fs::write(bench.path(&format!("uploads/deep/{}", "long".repeat(50))), "long").unwrap();
    fs::set_permissions(bench.path("uploads/a.txt"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(bench.path("uploads/empty"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("deep/er/large", bench.path("uploads/newest")).unwrap();
    symlink("../a.txt", bench.path("uploads/deep/up")).unwrap();
    let index = Connection::open(bench.path("uploads/index.db")).unwrap();
    index.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2), (3)").unwrap();
    index.close().unwrap();
    bench
}

pub(super) fn sql(path: &Path, sql: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(sql).unwrap();
    conn.close().unwrap();
}

/// Lives as long as the test binary, as what a request is made of must.
pub(super) fn include(bench: &TestRegistry, names: &[&str]) -> &'static [Include] {
    names.iter().map(|name| Include::new(name, &bench.path(name)).unwrap()).collect::<Vec<_>>().leak()
}

pub(super) const ALL: [&str; 2] = ["sessions.db", "uploads"];

pub(super) fn backed_up(bench: &TestRegistry, names: &[&str]) -> CreatedBackup {
    let include = include(bench, names);
    bench.back_up(|request| request.include = include).unwrap()
}

pub(super) fn verified(archive: &Path) -> Verified {
    let clock: FixedClock = super::at("2026-11-24T12:30:00Z");
    verify(archive, false, &std::env::temp_dir(), &clock, &crate::backup::Silent).unwrap()
}

/// Everything below a folder that a restore has to bring back.
pub(super) fn tree(folder: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let bytes = if stat.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if stat.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            b"folder".to_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let modified = if stat.is_symlink() { 0 } else { stat.mtime() };
        found.push((path.strip_prefix(folder).unwrap().to_owned(), stat.mode(), modified, bytes));
    }
    found.sort();
    found
}

fn remove(bench: &TestRegistry) {
    for name in ["r.sqlite", "sessions.db", "sessions.db-wal", "sessions.db-shm"] {
        let _ = fs::remove_file(bench.path(name));
    }
    fs::remove_dir_all(bench.path("uploads")).unwrap();
}

#[test]
fn what_is_included_is_verified_and_comes_back_as_it_was() {
    let bench = registry();
    let (before, uploads) = (content(&bench.db()), tree(&bench.path("uploads")));
    let made = backed_up(&bench, &ALL);
    assert_eq!((made.record.verdict, &made.record.flaw), (Verdict::Verified, &None));
    assert_eq!(made.record.include, ALL);
    let proof = verified(&made.path);
    assert_eq!(
        (proof.record.verdict, proof.record.include, proof.has_sums),
        (Verdict::Verified, made.record.include, true)
    );
    // What came after the backup does not come back.
    sql(&bench.path("sessions.db"), "INSERT INTO sessions VALUES (3, 'c')");
    remove(&bench);
    let include = include(&bench, &ALL);
    let restored = bench
        .restored(&made.path, "r.sqlite", |request| request.include = IncludeDestination::ByName(include))
        .unwrap();
    assert_eq!(restored.include.iter().map(|put| (put.replaces, put.is_there)).collect::<Vec<_>>(), [(false, true); 2]);
    assert_eq!(content(&bench.db()), before);
    assert_eq!(tree(&bench.path("uploads")), uploads);
    let back = Connection::open(bench.path("sessions.db")).unwrap();
    let rows: i64 = back.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).unwrap();
    let mode: String = back.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!((rows, mode.as_str()), (2, "wal"));
    let left: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("vitalsign-restor")), "{left:?}");
}

#[test]
fn an_archive_without_it_has_the_format_of_before() {
    let bench = TestRegistry::with(REGISTRY);
    let version = |archive: &Path| {
        let mut text = String::new();
        walk::<vitalsign_archive::ReadError>(ArchiveReader::open(archive, false).unwrap(), |found, content| {
            if found.name == METADATA {
                content.read_to_string(&mut text)?;
            }
            Ok(())
        })
        .unwrap();
        let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
        (metadata["formatVersion"].as_u64().unwrap(), metadata.get("include").is_some())
    };
    assert_eq!(version(&bench.back_up(|_| {}).unwrap().path), (1, false));
    fs::write(bench.path("file"), "x").unwrap();
    assert_eq!(version(&backed_up(&bench, &["file"]).path), (2, true));
}

#[test]
fn an_undo_brings_all_of_it_back() {
    let bench = registry();
    let made = backed_up(&bench, &ALL);
    sql(&bench.path("sessions.db"), "INSERT INTO sessions VALUES (3, 'c')");
    bench.sql("DELETE FROM records");
    fs::write(bench.path("uploads/a.txt"), "changed").unwrap();
    fs::write(bench.path("uploads/new"), "new").unwrap();
    let state = || (content(&bench.db()), content(&bench.path("sessions.db")), tree(&bench.path("uploads")));
    let changed = state();
    let include = include(&bench, &ALL);
    let refused =
        bench.restored(&made.path, "r.sqlite", |request| request.include = IncludeDestination::ByName(include));
    assert_eq!(told(&bench, refused).0, ErrorKind::Refused);
    assert_eq!(state(), changed);
    let restore = || {
        bench
            .restored(&made.path, "r.sqlite", |request| {
                (request.include, request.force) = (IncludeDestination::ByName(include), true);
            })
            .unwrap()
    };
    let restored = restore();
    assert!(restored.include.iter().all(|put| put.replaces));
    let old = state();
    assert_ne!(old, changed);
    assert!(!bench.path("uploads/new").exists());
    bench.undone("r.sqlite").unwrap();
    assert_eq!(state(), changed);
    bench.undone("r.sqlite").unwrap();
    assert_eq!(state(), old);
}

#[test]
fn a_database_that_is_restored_elsewhere_leaves_the_registry_alone() {
    let bench = registry();
    let made = backed_up(&bench, &ALL);
    let uploads = tree(&bench.path("uploads"));
    bench.restored(&made.path, "copy.sqlite", |_| {}).unwrap();
    assert_eq!(tree(&bench.path("copy.sqlite.include/uploads")), uploads);
    assert_eq!(fs::metadata(bench.path("copy.sqlite.include")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(content(&bench.path("copy.sqlite.include/sessions.db")), content(&bench.path("sessions.db")));
    assert_eq!(tree(&bench.path("uploads")), uploads);
}

#[test]
fn what_the_configuration_does_not_name_is_refused_and_what_is_open_too() {
    let bench = registry();
    let made = backed_up(&bench, &ALL);
    let some = include(&bench, &["uploads"]);
    let restore = |include: &'static [Include]| {
        bench.restored(&made.path, "r.sqlite", |request| {
            (request.include, request.force) = (IncludeDestination::ByName(include), true);
        })
    };
    let (kind, text) = told(&bench, restore(some));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("also contains `sessions.db`"), "{text}");
    let uploaded = fs::File::options().append(true).open(bench.path("uploads/a.txt")).unwrap();
    let mut other = Command::new("cat").stdin(Stdio::piped()).stdout(uploaded).spawn().unwrap();
    let (kind, text) = told(&bench, restore(include(&bench, &ALL)));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("DIR/uploads is open in cat"), "{text}");
    drop(other.stdin.take());
    other.wait().unwrap();
    restore(include(&bench, &ALL)).unwrap();
}

#[test]
fn faults_of_what_is_included_are_kept_and_named() {
    let bench = registry();
    symlink("/etc/passwd", bench.path("uploads/out")).unwrap();
    fs::write(bench.path("uploads/back\\slash"), "x").unwrap();
    // A database that SQLite can open, of which one page is another.
    let index = bench.path("uploads/index.db");
    let mut bytes = fs::read(&index).unwrap();
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xa5);
    fs::write(&index, bytes).unwrap();
    let made = backed_up(&bench, &["uploads", "gone"]);
    let faults = made.record.include_faults.join("\n");
    assert_eq!(made.record.verdict, Verdict::Flawed);
    for part in [
        "`uploads/out` is a symbolic link that leads out of its folder",
        "cannot hold the name `uploads/back\\slash`",
        "the database `uploads/index.db` is damaged",
        "`gone` did not exist",
    ] {
        assert!(faults.contains(part), "{part}: {faults}");
    }
    let proof = verified(&made.path);
    assert_eq!((proof.record.verdict, proof.record.include_faults), (Verdict::Flawed, made.record.include_faults));
    let (kind, text) = told(&bench, bench.restored(&made.path, "copy.sqlite", |_| {}));
    assert_eq!(kind, ErrorKind::Damaged);
    assert!(text.contains("what is included in") && text.contains("nothing was changed"), "{text}");
    bench.restored(&made.path, "copy.sqlite", |request| request.despite_faults = true).unwrap();
    assert_eq!(fs::read(bench.path("copy.sqlite.include/uploads/index.db")).unwrap(), fs::read(&index).unwrap());
}

#[test]
fn sockets_and_pipes_are_left_out_and_never_opened() {
    let bench = TestRegistry::with(REGISTRY);
    fs::create_dir(bench.path("run")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("run/socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.path("run/pipe"), rustix::fs::Mode::RUSR).unwrap();
    let made = backed_up(&bench, &["run"]);
    assert_eq!(made.record.verdict, Verdict::Verified);
    bench.restored(&made.path, "copy.sqlite", |_| {}).unwrap();
    assert_eq!(fs::read_dir(bench.path("copy.sqlite.include/run")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_included_is_told() {
    let bench = registry();
    fs::create_dir_all(bench.path("out")).unwrap();
    symlink("uploads", bench.path("link")).unwrap();
    let real = fs::canonicalize(bench.folder.path()).unwrap();
    let said = |names: &[&str]| -> Vec<String> {
        let include: Vec<_> =
            names.iter().map(|name| Include { name: (*name).to_owned(), path: real.join(name) }).collect();
        let wrong = wrongly_included(&include, &bench.db(), &bench.path("out"), true);
        wrong.into_iter().map(|(at, why)| format!("{}: {why}", names[at])).collect()
    };
    insta::assert_snapshot!(
        said(&["r.sqlite", "r.sqlite-wal", "out", "out/x", "uploads", "uploads", "uploads/deep", "link", "sessions.db"]).join("\n"),
        @r"
    r.sqlite: it is the database of the registry, or belongs to it, and every archive contains that anyway; remove it
    r.sqlite-wal: it is the database of the registry, or belongs to it, and every archive contains that anyway; remove it
    out: the folder for archives lies in it, so each archive would contain those before it; name what else is in it
    out/x: it lies in the folder for archives; include nothing from there
    uploads: it is the same as `uploads` before it; remove one of the two
    uploads/deep: it lies in `uploads`, which is included as a whole; remove one of the two
    link: it is a symbolic link; write the path that it leads to
    "
    );
    assert_eq!(said(&[".", "sessions.db"]).len(), 2);
    for (written, part) in
        [("../x", "contains `..`"), ("/", "is the folder"), (".", "is the folder"), ("a\\b", "no backslash")]
    {
        let why = Include::new(written, Path::new(written)).unwrap_err();
        assert!(why.contains(part), "{written}: {why}");
    }
    assert_eq!(Include::new("./var//x/", Path::new("x")).unwrap().name, "var/x");
    let include = include(&bench, &["link"]);
    let (kind, text) = told(&bench, bench.back_up(|request| request.include = include));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("`backup.include` names `link`, but it is a symbolic link"), "{text}");
    assert_eq!(bench.archives(), 0);
}

/// A place with the old files and the staged new ones, and the journal of a swap between them.
pub(super) struct Cut {
    pub(super) bench: TestRegistry,
    journal: Journal,
    note: ReplacedNote,
}

pub(super) const OLD: [&str; 4] = ["old", "old sessions", "old log", "old upload"];
const NEW: [&str; 4] = ["new", "new sessions", "", "new upload"];
const NAMES: [&str; 4] = ["r.sqlite", "sessions.db", "sessions.db-wal", "uploads/a"];

/// The text of a file that begins as a database does.
fn as_database(text: &str) -> Vec<u8> {
    [b"SQLite format 3\0", text.as_bytes()].concat()
}

impl Cut {
    pub(super) fn new(was_there: bool) -> Self {
        let bench = TestRegistry::empty();
        let real = fs::canonicalize(bench.folder.path()).unwrap();
        for folder in ["staged", "staged/new", "other"] {
            fs::create_dir(real.join(folder)).unwrap();
        }
        fs::write(real.join("staged/db"), NEW[0]).unwrap();
        fs::write(real.join("other/new"), as_database(NEW[1])).unwrap();
        fs::write(real.join("staged/new/a"), NEW[3]).unwrap();
        if was_there {
            fs::create_dir(real.join("uploads")).unwrap();
            fs::write(real.join(NAMES[0]), OLD[0]).unwrap();
            fs::write(real.join(NAMES[1]), as_database(OLD[1])).unwrap();
            fs::write(real.join(NAMES[2]), OLD[2]).unwrap();
            fs::write(real.join(NAMES[3]), OLD[3]).unwrap();
        }
        let path = |name: &str| real.join(name);
        let (sessions, uploads) = (path("sessions.db"), path("uploads"));
        let (new_sessions, new_uploads) = (path("other/new"), path("staged/new"));
        let include = [Exchange::new(Some(&new_sessions), &sessions), Exchange::new(Some(&new_uploads), &uploads)];
        let (db, new) = (path("r.sqlite"), path("staged/db"));
        let swap = Swap {
            real: &db,
            new: Some(&new),
            log: None,
            kind: journal::SwapKind::Restore,
            at: "now",
            by: "a test",
            from: None,
            include: &include,
        };
        let journal = plan(&swap).unwrap().unwrap();
        journal.write().unwrap();
        let note =
            ReplacedNote::new("now", "a test", None, &real).including([sessions.as_path(), &uploads].into_iter());
        Self { bench, journal, note }
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.journal.before.iter().chain([&self.journal.decisive]).cloned().collect()
    }

    /// Does the first steps, and of the next one the first half where it has two.
    pub(super) fn run(&self, count: usize, and_half: bool) {
        self.journal.begin(&self.note).unwrap();
        let steps = self.steps();
        steps.iter().take(count).for_each(|step| self.journal.step(step, None).unwrap());
        if let (true, Some(Step::Exchange { place, kept, .. })) = (and_half, steps.get(count)) {
            self.journal.step(&Step::Exchange { from: None, place: place.clone(), kept: kept.clone() }, None).unwrap();
        }
    }

    pub(super) fn recovered(&self) -> Option<Recovered> {
        recover(&fs::canonicalize(self.bench.folder.path()).unwrap().join("r.sqlite")).unwrap()
    }

    pub(super) fn state(&self) -> Vec<String> {
        let text = |name: &&str| fs::read(self.bench.path(name)).unwrap_or_default();
        let text = |name| String::from_utf8(text(name)).unwrap().replace("SQLite format 3\0", "");
        NAMES.iter().map(text).collect()
    }
}

#[test]
fn an_interrupted_swap_leaves_all_of_it_old_or_all_of_it_new() {
    for was_there in [true, false] {
        let old = if was_there { OLD } else { [""; 4] };
        let count = Cut::new(was_there).steps().len();
        for (steps, and_half) in (0..=count).flat_map(|steps| [(steps, false), (steps, true)]) {
            let cut = Cut::new(was_there);
            cut.run(steps, and_half);
            let recovered = cut.recovered().unwrap();
            let expected = match recovered {
                Recovered::Completed(_) => NEW,
                Recovered::TakenBack(_) => old,
            };
            assert_eq!(
                (cut.state(), steps == count),
                (expected.map(str::to_owned).to_vec(), expected == NEW),
                "{steps}"
            );
            assert_eq!(cut.recovered(), None);
        }
    }
}

/// The registry was started after the interruption, found no folder, and made a new one.
#[test]
fn what_is_put_in_an_empty_place_meanwhile_is_kept() {
    let cut = Cut::new(true);
    let uploads = cut.steps().iter().position(|step| format!("{step:?}").contains("uploads")).unwrap();
    cut.run(uploads, true);
    fs::create_dir(cut.bench.path("uploads")).unwrap();
    fs::write(cut.bench.path("uploads/fresh"), "fresh").unwrap();
    assert!(matches!(cut.recovered(), Some(Recovered::TakenBack(_))));
    assert_eq!(cut.state(), OLD.map(str::to_owned));
    assert_eq!(fs::read(cut.bench.path("r.sqlite.replaced-1/include-1.found/fresh")).unwrap(), b"fresh");
}

/// An archive that somebody has put together by hand, which includes `name`, with the description and members given.
fn by_hand(bench: &TestRegistry, archive: &Path, name: &str, contents: &str, members: &[(&str, &[u8])]) {
    let db = fs::read(bench.db()).unwrap();
    let metadata = format!(
        r#"{{"formatVersion":2,"files":{{"database":"r.sqlite"}},"include":[{{"name":"{name}","path":"/x"}}]}}"#
    );
    let mut all: Vec<(&str, &[u8])> = vec![("metadata.json", metadata.as_bytes()), ("r.sqlite", &db)];
    all.extend(members);
    all.push(("include.json", contents.as_bytes()));
    let file = fs::File::options().read(true).write(true).create(true).truncate(true).open(archive).unwrap();
    let mut writer = Writer::new(file, Compression::Gzip, 1).unwrap();
    let header = |name: &str, bytes: u64| Header {
        name: name.to_owned(),
        bytes: Some(bytes),
        mode: 0o600,
        uid: 0,
        gid: 0,
        modified: 0,
    };
    for (name, content) in all {
        writer.begin(header(name, content.len() as u64)).unwrap();
        writer.write(content).unwrap();
        writer.end().unwrap();
    }
    writer.finish(&header("", 0)).unwrap();
}

/// What writes elsewhere, or lets half of it be read.
#[test]
fn a_hostile_archive_puts_nothing_anywhere_else() {
    let bench = TestRegistry::with(REGISTRY);
    fs::create_dir(bench.path("uploads")).unwrap();
    fs::write(bench.path("uploads/a"), "a").unwrap();
    let archive = bench.path("bad.tar.gz");
    let folder = r#"{"path":"","mode":448,"uid":0,"gid":0,"modified":0}"#;
    let entry = |name: &str, more: &str| {
        format!(r#"{{"entries":[{{"name":"{name}","kind":"folder","folders":[{folder}]{more}}}]}}"#)
    };
    let link = |target: &str| format!(r#","links":[{{"path":"l","target":"{target}","uid":0,"gid":0}}]"#);
    // Each stays in the folder by its own name; the second is made in the folder itself, and the third beside that.
    let chain = [("a/b/l", "../.."), ("a/b/l/x", "../.."), ("x/evil", "y")]
        .map(|(path, target)| format!(r#"{{"path":"{path}","target":"{target}","uid":0,"gid":0}}"#));
    let below = ["a", "a/b"].map(|path| folder.replace(r#""path":"""#, &format!(r#""path":"{path}""#)));
    let chain = format!(r#","links":[{}]"#, chain.join(","));
    let own = "uploads";
    for (what, name, contents, member) in [
        ("a name that leads out", "../x", entry("../x", ""), None),
        ("an absolute name", "/etc", entry("/etc", ""), None),
        ("a member of another name", own, entry(own, ""), Some("include/other/a")),
        ("a member of a longer name", own, entry(own, ""), Some("include/uploads2")),
        ("a link out", own, entry(own, &link("../../x")), None),
        ("a link in the way", own, entry(own, &link("x")), Some("include/uploads/l/a")),
        (
            "links out through one another",
            own,
            entry(own, &chain).replace(folder, &[folder, &below[0], &below[1]].join(",")),
            None,
        ),
        ("a folder that is not described", own, entry(own, ""), Some("include/uploads/b/a")),
        ("another description", own, entry("other", ""), None),
        ("no such member", own, r#"{"entries":[{"name":"uploads","kind":"file"}]}"#.to_owned(), None),
        ("a folder that leads out", own, entry(own, "").replace(r#""path":"""#, r#""path":"..""#), None),
    ] {
        let member = member.map(|member| (member, b"x".as_slice()));
        by_hand(&bench, &archive, name, &contents, member.as_slice());
        let before = bench.everything();
        for beside in [true, false] {
            let include = include(&bench, &[own]);
            let found = bench.restored(&archive, if beside { "copy.sqlite" } else { "r.sqlite" }, |request| {
                let putting = if beside { IncludeDestination::Beside } else { IncludeDestination::ByName(include) };
                (request.include, request.force) = (putting, true);
            });
            assert!(found.is_err(), "{what}");
            let after = bench.everything();
            let is_lock = |path: &Path| path.to_string_lossy().ends_with(".vitalsign-lock");
            assert!(after.iter().all(|one| before.contains(one) || is_lock(&one.0)), "{what}");
            assert!(before.iter().all(|one| after.contains(one)), "{what}");
        }
    }
    by_hand(&bench, &archive, own, &entry(own, ""), &[("include/uploads/b", b"b")]);
    bench.restored(&archive, "copy.sqlite", |_| {}).unwrap();
    assert_eq!(fs::read(bench.path("copy.sqlite.include/uploads/b")).unwrap(), b"b");
}

/// Writes to a file whenever it is asked whether to go on, which is in the middle of reading it.
struct Restless {
    file: PathBuf,
    left: AtomicU32,
}

impl Progress for Restless {
    fn begin(&self, _: &'static str, _: u64) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
    fn is_cancelled(&self) -> bool {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let bytes = fs::read(&self.file).unwrap();
            fs::write(&self.file, [bytes.as_slice(), b"+"].concat()).unwrap();
        }
        false
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_told_where_that_does_not_help() {
    for (size, changes, verdict) in
        [(10, 10, Verdict::Verified), (10, 1000, Verdict::Flawed), (5 << 20, 10_000, Verdict::Flawed)]
    {
        let bench = TestRegistry::with(REGISTRY);
        fs::create_dir(bench.path("var")).unwrap();
        fs::write(bench.path("var/log"), vec![b'x'; size]).unwrap();
        let progress = Restless { file: bench.path("var/log"), left: AtomicU32::new(changes) };
        let include = include(&bench, &["var"]);
        let made = bench.back_up_with(&progress, |request| request.include = include).unwrap();
        assert_eq!(made.record.verdict, verdict, "{:?}", made.record.include_faults);
        let fault = "`var/log` changed during each of 5 attempts to read it";
        assert_eq!(made.record.include_faults == [fault], verdict == Verdict::Flawed);
        assert_eq!(verified(&made.path).record.verdict, verdict);
    }
}

/// A folder that not even its owner writes to is moved, and removed, all the same.
#[test]
fn folders_that_may_not_be_written_come_back_with_their_mode() {
    let bench = registry();
    let mode = |name: &str, mode: u32| fs::set_permissions(bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("uploads/deep", 0o500);
    mode("uploads", 0o500);
    let uploads = tree(&bench.path("uploads"));
    let made = backed_up(&bench, &ALL);
    let include = include(&bench, &ALL);
    let restored = bench.restored(&made.path, "r.sqlite", |request| {
        (request.include, request.force) = (IncludeDestination::ByName(include), true);
    });
    assert!(restored.is_ok(), "{restored:?}");
    assert_eq!(tree(&bench.path("uploads")), uploads);
    bench.undone("r.sqlite").unwrap();
    assert_eq!(tree(&bench.path("uploads")), uploads);
    prune_replaced(&bench.db(), 0, &std::env::temp_dir()).unwrap();
    assert_eq!(replaced(&bench.db()).unwrap(), []);
    mode("uploads", 0o700);
    mode("uploads/deep", 0o700);
}
