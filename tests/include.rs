//! `backup.include`: what else belongs to a registry is backed up, verified, restored and brought back with it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    backup::{back_up, has},
    env::{TestEnv, entry},
    other::OtherProcess,
};

/// A registry with uploads, and sessions in a database that another process has open.
fn registry() -> (TestEnv, OtherProcess) {
    let place = TestEnv::with_registry(20);
    place.configure(|config| {
        config["backup"] = json!({ "dir": "out", "include": ["sessions.db", "./var/uploads/"] });
    });
    place.write("var/uploads/a.txt", "a");
    place.write("var/uploads/deep/large", noise(3 << 20));
    place.write(&format!("var/uploads/{}", "sha512-".repeat(20)), "of a long name");
    fs::create_dir(place.path("var/uploads/empty")).unwrap();
    fs::set_permissions(place.path("var/uploads/a.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("deep/large", place.path("var/uploads/newest")).unwrap();
    let sessions = OtherProcess::open(
        &place.path("sessions.db"),
        "PRAGMA journal_mode = WAL; CREATE TABLE sessions(id INTEGER PRIMARY KEY, twice INTEGER); INSERT INTO sessions VALUES (1, 2)",
    );
    (place, sessions)
}

/// Bytes that no compressor makes much smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..count).map(|_| next()).collect()
}

/// Every name below a folder, with its mode and its content.
fn tree(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let bytes = if stat.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else if stat.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.push((path.strip_prefix(folder).unwrap().to_owned(), stat.permissions().mode(), bytes));
    }
    found.sort();
    found
}

/// Rows of the sessions, each of which must be whole.
fn sessions(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let sql = "SELECT count(*), coalesce(sum(twice = 2 * id), 0), coalesce(max(id), 0) FROM sessions";
    let (count, whole, last): (i64, i64, i64) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!((sound.as_str(), whole, last), ("ok", count, count), "a prefix of what was committed, and no more");
    count
}

fn restore(place: &TestEnv, archive: &Path, more: &[&str]) -> crate::env::RunOutput {
    place.run([&["restore", archive.to_str().unwrap(), "--any-schema"], more].concat())
}

#[test]
fn a_registry_comes_back_with_all_that_belongs_to_it() {
    let (place, mut writer) = registry();
    let uploads = tree(&place.path("var/uploads"));
    let database = fs::read(place.path("registry.sqlite")).unwrap();
    let sql = "INSERT INTO sessions SELECT max(id) + 1, 2 * (max(id) + 1) FROM sessions";
    writer.forever(sql);
    let ran = place.run(["backup"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let archive = place.path(ran.stdout.trim());
    let ran = place.run(["verify", archive.to_str().unwrap(), "--full", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.report()["include"], json!(["sessions.db", "var/uploads"]));
    let listed: Value = serde_json::from_str(&place.run(["list", "--json"]).stdout).unwrap();
    assert_eq!((&listed[0]["standing"], &listed[0]["include"][1]), (&"verified".into(), &"var/uploads".into()));
    assert!(place.run(["list"]).stdout.contains("verified, 2 included"));
    assert_eq!(entry(&place.check(), "backup")["status"], "ok");
    // The process that has the sessions open would go on in the old file.
    fs::remove_file(place.path("registry.sqlite")).unwrap();
    let ran = restore(&place, &archive, &["--force"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("[folder]/sessions.db is open in"), "{}", ran.stderr);
    writer.kill();
    for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm"] {
        fs::remove_file(place.path(name)).unwrap();
    }
    fs::remove_dir_all(place.path("var")).unwrap();
    let ran = restore(&place, &archive, &["--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for line in ["`sessions.db` goes to [folder]/sessions.db\n", "`var/uploads` goes to [folder]/var/uploads\n"] {
        assert!(ran.stdout.contains(line), "{}", ran.stdout);
    }
    assert!(!place.path("var").exists());
    let ran = restore(&place, &archive, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(fs::read(place.path("registry.sqlite")).unwrap(), database);
    assert_eq!(tree(&place.path("var/uploads")), uploads);
    let count = sessions(&place.path("sessions.db"));
    assert!(count >= 1);
    // Everything goes on from there, is replaced, and comes back.
    fs::write(place.path("var/uploads/a.txt"), "changed").unwrap();
    fs::write(place.path("var/uploads/new"), "new").unwrap();
    Connection::open(place.path("sessions.db")).unwrap().execute("DELETE FROM sessions", []).unwrap();
    let changed = tree(&place.path("var/uploads"));
    assert_eq!(restore(&place, &archive, &[]).code, 4);
    let ran = restore(&place, &archive, &["--force", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let replaced =
        json!({ "name": "var/uploads", "path": "[folder]/var/uploads", "replaces": true, "inArchive": true });
    assert_eq!(ran.report()["include"][1], replaced);
    assert_eq!((tree(&place.path("var/uploads")), sessions(&place.path("sessions.db"))), (uploads, count));
    let ran = place.run(["restore", "--undo"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!((tree(&place.path("var/uploads")), sessions(&place.path("sessions.db"))), (changed, 0));
}

#[test]
fn damage_to_what_is_included_is_named() {
    let (place, _writer) = registry();
    let archive = back_up(&place, &["--config", "registry.config.json"]);
    let good = fs::read(&archive).unwrap();
    let noise = noise(3 << 20);
    // Noise is stored as it is, in blocks of which each is found by a part of it.
    let at = good.windows(64).position(|part| part == &noise[1 << 20..][1000..1064]).unwrap_or(good.len() / 2);
    let mut bad = good.clone();
    bad[at] ^= 1;
    fs::write(&archive, &bad).unwrap();
    let ran = place.run(["verify", archive.to_str().unwrap()]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("is damaged: `include/var/uploads/deep/large`, bytes "), "{}", ran.stderr);
    let before = place.listing();
    assert_eq!(restore(&place, &archive, &["--db", "copy.sqlite"]).code, 5);
    let after = place.listing();
    let is_new = |line: &&String| !before.contains(line) && !line.contains(".vitalsign-lock");
    let new: Vec<_> = after.iter().filter(is_new).filter(|line| !line.contains(" mode 40")).collect();
    assert_eq!(new, Vec::<&String>::new(), "nothing stays behind");
    fs::write(&archive, &good).unwrap();
    assert_eq!(place.run(["verify", archive.to_str().unwrap()]).code, 0);
    if has("tar") && has("sha256sum") {
        fs::create_dir(place.path("by-hand")).unwrap();
        let script = format!("cd by-hand && tar xzf {} && sha256sum --quiet -c SHA256SUMS", archive.display());
        let ran = Command::new("sh").args(["-c", &script]).current_dir(place.folder()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(sessions(&place.path("by-hand/include/sessions.db")), 1);
        assert_eq!(fs::read(place.path("by-hand/include/var/uploads/deep/large")).unwrap(), noise);
        // Packed again by another tool, with folders and in an order of its own, and below a folder.
        for (name, what, folder) in [("again.tar.gz", ".", "by-hand"), ("below.tar.gz", "by-hand", ".")] {
            let pack = format!("tar czf {name} --sort=name -C {folder} {what}");
            assert!(Command::new("sh").args(["-c", &pack]).current_dir(place.folder()).status().unwrap().success());
            let ran = place.run(["verify", name]);
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_restore_elsewhere_leaves_the_registry_alone() {
    let (place, _writer) = registry();
    let archive = back_up(&place, &[]);
    let uploads = tree(&place.path("var/uploads"));
    let ran = restore(&place, &archive, &["--db", "copy.sqlite"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("`sessions.db` goes to [folder]/copy.sqlite.include/sessions.db\n"), "{}", ran.stdout);
    assert_eq!(tree(&place.path("copy.sqlite.include/var/uploads")), uploads);
    assert_eq!(tree(&place.path("var/uploads")), uploads);
    assert_eq!(sessions(&place.path("copy.sqlite.include/sessions.db")), 1);
    // Nor is what belongs to the registry backed up with another database.
    let ran = place.run(["backup", "--db", "copy.sqlite", "--out", "other", "--json"]);
    assert_eq!((ran.code, ran.report().get("include")), (0, None), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_included_is_a_mistake_with_its_place() {
    let place = TestEnv::with_registry(1);
    place.configure(|config| {
        let include = ["registry.sqlite", ".", "out/x", "../x", "var", "var/uploads"];
        config["backup"] = json!({ "dir": "out", "include": include });
    });
    let ran = place.run(["config", "check"]);
    assert_eq!(ran.code, 3);
    insta::assert_snapshot!(ran.stderr, @r"
    vitalsign: registry.config.json:1:129: backup.include[0]: it is the database of the registry, or belongs to it, and every archive contains that anyway; remove it
    registry.config.json:1:147: backup.include[1]: this is the folder where relative paths start; name the databases, files and folders in it
    registry.config.json:1:151: backup.include[2]: it lies in the folder for archives; include nothing from there
    registry.config.json:1:159: backup.include[3]: it contains `..`; write an absolute path instead
    registry.config.json:1:172: backup.include[5]: it lies in `var`, which is included as a whole; remove one of the two
      → `vitalsign config schema` describes every key
    ");
}

#[test]
fn an_archive_that_lacks_what_is_to_be_included_is_a_warning() {
    let (place, _writer) = registry();
    place.configure(|config| config["backup"] = json!({ "dir": "out" }));
    back_up(&place, &[]);
    place.configure(|config| config["backup"] = json!({ "dir": "out", "include": ["sessions.db", "gone"] }));
    let report = place.check();
    let check = entry(&report, "backup");
    assert_eq!(check["status"], "warn");
    assert_eq!(check["findings"][0]["code"], "not-included");
    assert_eq!(
        check["findings"][0]["message"],
        "the newest backup does not contain `sessions.db` and 1 more, which `backup.include` names"
    );
    // What is not there is told, and everything else is in the archive.
    let ran = place.run(["backup"]);
    assert_eq!(ran.code, 5);
    assert!(ran.stderr.contains("`gone` did not exist when the backup was made"), "{}", ran.stderr);
    let ran = place.run(["verify", ran.stdout.trim()]);
    assert_eq!(ran.code, 5);
    let report = place.check();
    let check = entry(&report, "backup");
    assert_eq!((&check["status"], &check["findings"][0]["code"]), (&"warn".into(), &"include-flawed".into()));
}
