//! To whom the files belong that backups and restores make, and who may use them.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use rustix::fs::XattrFlags;

use super::{
    ErrorKind, IncludeDestination, MustMatch, REGISTRY, RestoreRequest, Silent, TABLES, TestRegistry, UndoRequest, at,
    restore, told, undo,
};
use crate::backup::{pin, verify};
use vitalsign_base::files;

const ACCESS_LIST: &str = "system.posix_acl_access";
const DEFAULT_LIST: &str = "system.posix_acl_default";

/// Whether root runs this, as CI does.
fn is_root() -> bool {
    if !files::is_root() {
        eprintln!("SKIPPED: only root can give files away");
    }
    files::is_root()
}

/// Everything below a folder that belongs to root.
fn of_root(bench: &TestRegistry, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let facts = fs::symlink_metadata(&path).unwrap();
            if (facts.uid(), facts.gid()) != (4711, 4712) {
                found.push(path.strip_prefix(bench.folder.path()).unwrap().display().to_string());
            }
            if facts.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn root_leaves_nothing_of_its_own() {
    if !is_root() {
        return;
    }
    for folder_of_root in [false, true] {
        let bench = TestRegistry::with(REGISTRY);
        chown(bench.db(), Some(4711), Some(4712)).unwrap();
        if !folder_of_root {
            chown(bench.folder.path(), Some(4711), Some(4712)).unwrap();
        }
        let made = bench.back_up(|_| ()).unwrap();
        verify(&made.path, false, &std::env::temp_dir(), &at("2026-11-24T12:30:00Z"), &Silent).unwrap();
        pin(&made.path, true, &at("2026-11-24T12:30:00Z")).unwrap();
        fs::write(bench.path("r.sqlite.jsonl"), "old").unwrap();
        chown(bench.path("r.sqlite.jsonl"), Some(4711), Some(4712)).unwrap();
        bench.restored(&made.path, "r.sqlite", |request| request.force = true).unwrap();
        bench.restored(&made.path, "a/new/folder/db", |_| ()).unwrap();
        bench.undone("r.sqlite").unwrap();
        assert_eq!(of_root(&bench, bench.folder.path()), Vec::<String>::new(), "in a folder of root: {folder_of_root}");
        // Notes of failed backups too.
        fs::write(bench.db(), [7; 5000]).unwrap();
        bench.back_up(|_| ()).unwrap_err();
        assert_eq!(of_root(&bench, bench.folder.path()), Vec::<String>::new(), "in a folder of root: {folder_of_root}");
    }
    // What only root may read stays so, whoever owns the folder.
    let bench = TestRegistry::with(REGISTRY);
    chown(bench.folder.path(), Some(4711), Some(4712)).unwrap();
    let made = bench.back_up(|_| ()).unwrap();
    assert_eq!(fs::metadata(&made.path).unwrap().uid(), 0);
}

/// A restore as root that is killed can be ended by the registry's user, and root does nothing that this user wrote down.
#[test]
fn root_does_only_what_it_has_written_itself() {
    if !is_root() {
        return;
    }
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    fs::create_dir(bench.path("logs")).unwrap();
    let (db, log, scratch) = (bench.db(), bench.path("logs/log"), std::env::temp_dir());
    fs::write(&log, "old").unwrap();
    for path in [bench.folder.path(), &db, &log] {
        chown(path, Some(4711), Some(4712)).unwrap();
    }
    let request = RestoreRequest {
        archive: &made.path,
        db: &db,
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
    let (kind, text) = told(&bench, bench.undone("r.sqlite"));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("another user than root could have changed the note in DIR/r.sqlite.replaced-1"), "{text}");
    let request = UndoRequest { db: &db, log: Some(&log), include: &[], scratch: &scratch };
    undo(&request, &at("2026-11-24T14:00:00Z")).unwrap();
    assert_eq!(fs::read(&log).unwrap(), b"old");

    fs::write(bench.path("r.sqlite.vitalsign-restore"), "{}").unwrap();
    chown(bench.path("r.sqlite.vitalsign-restore"), Some(4711), Some(4712)).unwrap();
    let (kind, text) = told(&bench, bench.undone("r.sqlite"));
    assert_eq!(kind, ErrorKind::Refused);
    assert!(text.contains("a restore was interrupted that the user 4711 had begun"), "{text}");
}

/// An access control list: the rights of the owner, of user 4711, of the group, the mask, and everybody else.
fn list(rights: [u16; 5]) -> Vec<u8> {
    let tags = [1_u16, 2, 4, 0x10, 0x20];
    let entries = tags.into_iter().zip(rights).flat_map(|(tag, rights)| {
        let id = if tag == 2 { 4711 } else { u32::MAX };
        [tag.to_le_bytes(), rights.to_le_bytes()].concat().into_iter().chain(id.to_le_bytes())
    });
    [2, 0, 0, 0].into_iter().chain(entries).collect()
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    let filled = rustix::fs::getxattr(path, name, &mut value).ok()?;
    value.truncate(filled);
    Some(value)
}

#[test]
fn what_is_replaced_hands_on_its_rights_and_attributes() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    let (open, own) = (list([6, 6, 6, 6, 4]), list([6, 6, 4, 6, 0]));
    if rustix::fs::setxattr(bench.folder.path(), DEFAULT_LIST, &open, XattrFlags::empty()).is_err() {
        eprintln!("SKIPPED: no access control lists on this file system");
        return;
    }
    for name in ["plain", "listed", "plain.jsonl"] {
        fs::write(bench.path(name), "").unwrap();
        let _ = rustix::fs::removexattr(bench.path(name), ACCESS_LIST);
        fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    rustix::fs::setxattr(bench.path("listed"), ACCESS_LIST, &own, XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(bench.path("listed"), "user.origin", b"vault", XattrFlags::empty()).unwrap();
    for (name, mode, expected) in [("plain", 0o640, None), ("listed", 0o660, Some(own)), ("new", 0o600, None)] {
        bench.restored(&made.path, name, |request| request.force = true).unwrap();
        let rights = |name: &str| {
            (fs::metadata(bench.path(name)).unwrap().mode() & 0o7777, attribute(&bench.path(name), ACCESS_LIST))
        };
        assert_eq!(rights(name), (mode, expected.clone()), "{name}");
        if name == "plain" {
            assert_eq!(rights("plain.jsonl"), (0o640, None));
        }
        if name == "listed" {
            bench.undone(name).unwrap();
            assert_eq!(rights(name), (mode, expected));
            bench.undone(name).unwrap();
            assert_eq!(attribute(&bench.path(name), "user.origin").as_deref(), Some(b"vault".as_slice()));
        }
    }
}

#[test]
fn an_export_that_is_open_is_refused() {
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    bench.restored(&made.path, "r.sqlite", |request| request.force = true).unwrap();
    let log = fs::File::open(bench.path("r.sqlite.jsonl")).unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").stdin(log).spawn().unwrap();
    let before = bench.everything();
    for found in [
        told(&bench, bench.restored(&made.path, "r.sqlite", |request| request.force = true)),
        told(&bench, bench.undone("r.sqlite")),
    ] {
        assert_eq!(found.0, ErrorKind::Refused);
        assert!(found.1.starts_with("DIR/r.sqlite.jsonl is open in sleep (process "), "{}", found.1);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(before, bench.everything());
    bench.undone("r.sqlite").unwrap();
}

/// What root's restore leaves when it is killed while it unpacks does not stop the registry's user.
#[test]
fn what_root_unpacks_is_in_a_folder_of_the_owner() {
    use std::sync::Mutex;

    struct Looking<'a>(&'a TestRegistry, Mutex<Option<u32>>);
    impl crate::backup::Progress for Looking<'_> {
        fn begin(&self, _: &'static str, _: u64) {
            let staging = fs::metadata(self.0.path(".r.sqlite.vitalsign-restoring"));
            *self.1.lock().unwrap() = staging.ok().map(|staging| staging.uid());
        }
        fn at(&self, _: u64) {}
        fn end(&self) {}
    }
    if !is_root() {
        return;
    }
    let bench = TestRegistry::with(REGISTRY);
    let made = bench.back_up(|_| ()).unwrap();
    chown(bench.db(), Some(4711), Some(4712)).unwrap();
    let (db, log, scratch) = (bench.db(), bench.path("log"), std::env::temp_dir());
    let request = RestoreRequest {
        archive: &made.path,
        db: &db,
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
    let looking = Looking(&bench, Mutex::new(None));
    restore(&request, &at("2026-11-24T13:00:00Z"), &looking).unwrap();
    assert_eq!(*looking.1.lock().unwrap(), Some(4711));
}
