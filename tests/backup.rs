//! `backup`, `restore`, `verify`, `list` and `prune` as users run them: what they print, what they end with, what they leave.

use std::{
    fs,
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    env::{RunOutput, TestEnv, entry, skipped},
    other::OtherProcess,
};

/// A program that users may lack: the test says loudly that it does without, and CI does not let it.
pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        skipped(&format!("`{program}` is not installed, so it was not tried"));
    }
    found
}

/// Makes a backup and gives the archive's path.
pub fn back_up(place: &TestEnv, more: &[&str]) -> PathBuf {
    let ran = place.run([&["backup", "--db", "registry.sqlite", "--out", "out"], more].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    place.path(ran.stdout.trim())
}

fn restore(place: &TestEnv, archive: &Path, more: &[&str]) -> RunOutput {
    let archive = archive.to_str().unwrap();
    place.run([&["restore", archive], more].concat())
}

/// A registry with two rows that share a unique value, which only a comparison with the index shows, and a NULL where there must be none.
fn with_faults() -> TestEnv {
    let place = TestEnv::with_registry(20);
    let sql = |sql: &str| {
        let conn = Connection::open(place.path("registry.sqlite")).unwrap();
        conn.execute_batch(&format!("PRAGMA writable_schema = ON; {sql}")).unwrap();
        conn.close().unwrap();
    };
    sql("CREATE TABLE users(id INTEGER PRIMARY KEY, name, mail); CREATE UNIQUE INDEX once ON users(name);
         INSERT INTO users VALUES (1, 'a', 'x'), (2, 'b', NULL);
         CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'once';
         DELETE FROM sqlite_schema WHERE name = 'once'");
    sql("UPDATE users SET name = 'a'");
    sql("INSERT INTO sqlite_schema SELECT * FROM kept;
         UPDATE sqlite_schema SET sql = replace(sql, 'mail', 'mail NOT NULL') WHERE name = 'users'");
    place
}

#[test]
fn faults_that_lose_no_row_are_kept_and_named() {
    let place = with_faults();
    let ran = place.run(["backup", "--db", "registry.sqlite", "--out", "out"]);
    let archive = ran.stdout.trim();
    assert_eq!((ran.code, Path::new(archive).exists() || place.path(archive).exists()), (5, true), "{}", ran.stderr);
    insta::assert_snapshot!(settled(&ran.stderr), @"
    vitalsign: the archive was made, but the database in it has faults: NULL value in users.mail; row 2 missing from index once
      → no row is lost: correct the faults in the registry as `vitalsign check --only integrity` says, then make a new backup; `vitalsign restore --despite-faults` restores this one
    ");
    let listed = place.run(["list", "--out", "out", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let faults = serde_json::json!(["NULL value in users.mail", "row 2 missing from index once"]);
    assert_eq!((&listed[0]["standing"], &listed[0]["structure"]["flawed"]), (&"flawed".into(), &faults));
    let ran = place.run(["verify", archive, "--json"]);
    let record = ran.report();
    assert_eq!((ran.code, &record["verdict"], &record["checked"]["indexes"]), (5, &"flawed".into(), &true.into()));
    if has("tar") {
        let text =
            Command::new("tar").args(["xzOf", archive, "metadata.json"]).current_dir(place.folder()).output().unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&text.stdout).unwrap()["faults"], faults);
    }
    let to = ["--db", "back.sqlite", "--log", "back.jsonl"];
    let restore = |more: &[&str]| place.run([&["restore", "--archive", archive], &to[..], more].concat());
    let ran = restore(&[]);
    insta::assert_snapshot!(settled(&ran.stderr), @"
    vitalsign: the database in out/registry-backup-[stamp].tar.gz has faults: NULL value in users.mail; row 2 missing from index once; nothing was changed
      → every row can be read: `--despite-faults` restores it, and then the check `integrity` says how to correct each fault
    ");
    assert_eq!((ran.code, place.path("back.sqlite").exists()), (5, false));
    let ran = restore(&["--despite-faults"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("every row of the database can be read, but it has faults: NULL value"),
        "{}",
        ran.stdout
    );
    let back = Connection::open(place.path("back.sqlite")).unwrap();
    assert_eq!(back.query_row("SELECT count(*) FROM users NOT INDEXED", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
}

#[test]
fn verify_full_follows_references() {
    let place = TestEnv::with_registry(20);
    let conn = Connection::open(place.path("registry.sqlite")).unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; CREATE TABLE p(a INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(a)); INSERT INTO c VALUES (7)",
    )
    .unwrap();
    conn.close().unwrap();
    let archive = back_up(&place, &[]);
    let archive = archive.to_str().unwrap();
    assert_eq!(place.run(["verify", archive]).code, 0);
    let ran = place.run(["verify", archive, "--full"]);
    assert_eq!(ran.code, 5);
    assert!(ran.stdout.contains("row 1 of c refers to a row of p that is missing"), "{}", ran.stdout);
}

/// The text without what differs from run to run.
fn settled(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let (name, rest) = word.split_once("registry-backup-2").map_or((word, None), |(head, rest)| (head, Some(rest)));
        match rest {
            Some(rest) => format!("{name}registry-backup-[stamp]{}", rest.split_once('Z').unwrap().1),
            None if word.starts_with("20") && word.trim_end_matches(':').ends_with('Z') => "[time]".to_owned(),
            None => word.to_owned(),
        }
    });
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    words.collect::<Vec<_>>().join(" ").replace(&format!("on the host {}", host.trim()), "on the host [host]")
}

#[test]
fn a_backup_and_the_way_back() {
    let place = TestEnv::with_registry(1000);
    place.configure(|_| ());
    let archive = back_up(&place, &["--tag", "nightly"]);
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = fs::read(place.path("registry.sqlite")).unwrap();

    insta::assert_snapshot!(settled(&restore(&place, &archive, &[]).stderr), @"
    vitalsign: [folder]/registry.sqlite already exists; nothing was changed
      → add --force to replace it (the old file is kept, and `vitalsign restore --undo` brings it back), or restore to another path with --db and --log
    ");
    let ran = restore(&place, &archive, &["--db", "new/registry.sqlite"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(settled(&ran.stdout), @"
    restoring [folder]/new/registry.sqlite
      the archive was made at [time] from [folder]/registry.sqlite on the host [host]: schema version 1, 1,000 records, 1,000 provenance rows
      every checksum matches, and the pages, rows and indexes of the database are intact
      the provenance export goes to [folder]/new/registry.sqlite.provenance.jsonl
      there is no database at the destination yet
    restored [folder]/new/registry.sqlite
    ");
    assert_eq!(fs::read(place.path("new/registry.sqlite")).unwrap(), before);
    let log = fs::read_to_string(place.path("new/registry.sqlite.provenance.jsonl")).unwrap();
    assert_eq!((log.lines().count(), place.path("var").exists()), (1000, false), "the registry's own export stays");

    let ran = restore(&place, &archive, &["--dry-run"]);
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(settled(&ran.stdout), @"
    can be restored: [folder]/registry.sqlite
      the archive was made at [time] from [folder]/registry.sqlite on the host [host]: schema version 1, 1,000 records, 1,000 provenance rows
      every checksum matches, and the pages, rows and indexes of the database are intact
      the provenance export goes to [folder]/var/registry-provenance.jsonl
      it replaces the present database, last written at [time] schema version 1, 1,000 records, 1,000 provenance rows
      nothing was changed (--dry-run); the restore itself needs --force to replace the database
    ");
    Connection::open(place.path("registry.sqlite")).unwrap().execute_batch("DELETE FROM provenance").unwrap();
    let ran = restore(&place, &archive, &["--force"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!(settled(&ran.stdout), @"
    restoring [folder]/registry.sqlite
      the archive was made at [time] from [folder]/registry.sqlite on the host [host]: schema version 1, 1,000 records, 1,000 provenance rows
      every checksum matches, and the pages, rows and indexes of the database are intact
      the provenance export goes to [folder]/var/registry-provenance.jsonl
      it replaces the present database, last written at [time] schema version 1, 1,000 records, 0 provenance rows
    restored [folder]/registry.sqlite
      the files that were there are kept in [folder]/registry.sqlite.replaced-1; `vitalsign restore --undo` puts them back
    ");
    assert_eq!(fs::read(place.path("registry.sqlite")).unwrap(), before);
    insta::assert_snapshot!(place.run(["restore", "--undo"]).stdout, @"
    put back registry.sqlite
    the files that were there are kept in [folder]/registry.sqlite.replaced-2
    ");
    assert_ne!(fs::read(place.path("registry.sqlite")).unwrap(), before);
    what_was_replaced_is_shown_and_removed(&place, &archive);
}

fn what_was_replaced_is_shown_and_removed(place: &TestEnv, archive: &Path) {
    for _ in 0..2 {
        assert_eq!(restore(place, archive, &["--force"]).code, 0);
    }
    // What a process that was killed while it removed one has left.
    fs::create_dir(place.path(".registry.sqlite.replaced-1.vitalsign-restoring")).unwrap();
    let shown = |more: &[&str]| {
        let ran = place.run([&["prune", "--replaced"], more].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        let words = ran
            .stdout
            .split(' ')
            .map(|word| if word.starts_with("2026") || word.starts_with("20") { "[time]" } else { word });
        settled(&words.collect::<Vec<_>>().join(" "))
    };
    let before = place.listing();
    insta::assert_snapshot!(shown(&[]), @"
    keep    [folder]/registry.sqlite.replaced-4  (1.6 MiB, replaced at [time] by restore of [folder]/out/registry-backup-[stamp]-nightly.tar.gz)
    remove  [folder]/registry.sqlite.replaced-3  (1.3 MiB, replaced at [time] by restore of [folder]/out/registry-backup-[stamp]-nightly.tar.gz)
    remove  [folder]/registry.sqlite.replaced-2  (1.6 MiB, replaced at [time] by restore --undo, from [folder]/registry.sqlite.replaced-1)
    would remove 2 of 3, 2.9 MiB; nothing was removed yet: add --yes to remove them
    ");
    assert_eq!(before, place.listing());
    let rows = place.run(["prune", "--replaced", "--json", "--last", "2"]).report();
    let kept: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["kept"].as_bool().unwrap()).collect();
    assert_eq!(kept, [true, true, false]);
    insta::assert_snapshot!(shown(&["--yes"]).lines().last().unwrap(), @"removed 2 of 3, 2.9 MiB");
    let left = fs::read_dir(place.folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("replaced-")).collect::<Vec<_>>(), ["registry.sqlite.replaced-4"]);
    insta::assert_snapshot!(shown(&["--yes", "--last", "0"]).lines().last().unwrap(), @"removed 1 of 1, 1.6 MiB");
    assert_eq!(place.run(["restore", "--undo"]).code, 4, "nothing is left");
    assert_eq!(shown(&[]), "nothing to remove\n");
}

/// The program was upgraded, and the archive is from before: the program could not start on it.
#[test]
fn an_archive_of_another_schema_version_is_restored_only_when_asked_for() {
    let place = TestEnv::with_registry(10);
    place.configure(|_| ());
    let archive = back_up(&place, &[]);
    let ran = restore(&place, &archive, &["--force", "--dry-run"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    place.configure(|config| config["registry"]["expectedSchemaVersion"] = 2.into());
    let before = fs::read(place.path("registry.sqlite")).unwrap();
    for more in [&["--force"][..], &["--force", "--dry-run"], &["--force", "--json"]] {
        let ran = restore(&place, &archive, more);
        assert_eq!(ran.code, 4, "{more:?}: {}", ran.stdout);
        insta::allow_duplicates! {
            insta::assert_snapshot!(settled(&ran.stderr), @"
            vitalsign: the database in [folder]/out/registry-backup-[stamp].tar.gz has the schema version 1, but the configuration expects 2; nothing was changed
              → restore an archive of the expected version; or add --any-schema, and start the version of the registry's program that goes with this archive
            ");
        }
        assert_eq!(fs::read(place.path("registry.sqlite")).unwrap(), before);
    }
    let ran = restore(&place, &archive, &["--force", "--any-schema", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["schemaVersion"], 1);
    assert_eq!(said["source"], "[folder]/registry.sqlite");
    assert!(said["createdAt"].as_str().unwrap().ends_with('Z'));
}

/// Somebody takes the archive of another application, or has only what `sqlite3` and `gzip` made.
#[test]
fn another_database_is_refused_and_a_plain_copy_is_restored() {
    let place = TestEnv::with_registry(10);
    place.configure(|_| ());
    let archive = back_up(&place, &[]);
    Connection::open(place.path("shop.sqlite")).unwrap().execute_batch("CREATE TABLE orders(id)").unwrap();
    place.configure(|config| config["dbPath"] = "shop.sqlite".into());
    let before = fs::read(place.path("shop.sqlite")).unwrap();
    let ran = restore(&place, &archive, &["--force"]);
    assert_eq!(ran.code, 4);
    insta::assert_snapshot!(settled(&ran.stderr), @"
    vitalsign: [folder]/out/registry-backup-[stamp].tar.gz is an archive of another database than [folder]/shop.sqlite: the two databases have no table in common; nothing was changed
      → `vitalsign list --json` shows of which database each archive is; add --another-database to restore this one all the same
    ");
    assert_eq!(fs::read(place.path("shop.sqlite")).unwrap(), before);
    assert_eq!(restore(&place, &archive, &["--force", "--another-database"]).code, 0);
    if has("gzip") {
        let packed = Command::new("gzip").args(["-k", "shop.sqlite"]).current_dir(place.folder()).status().unwrap();
        assert!(packed.success());
        let ran = restore(&place, &place.path("shop.sqlite.gz"), &["--db", "again.sqlite", "--dry-run"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        insta::assert_snapshot!(settled(&ran.stdout), @"
        can be restored: [folder]/again.sqlite
          [folder]/shop.sqlite.gz is a plain copy of a database, last written at [time] schema version 1, 10 records, 10 provenance rows
          the pages, rows and indexes of the database are intact
          there is no database at the destination yet
          nothing was changed (--dry-run)
        ");
        let ran = restore(&place, &place.path("shop.sqlite.gz"), &["--force", "--json"]);
        let said: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((ran.code, &said["records"], &said["present"]["content"]["records"]), (0, &10.into(), &10.into()));
    }
}

#[test]
fn verify_list_and_prune_say_what_they_see() {
    let place = TestEnv::with_registry(10);
    place.configure(|_| ());
    let first = back_up(&place, &["--tag", "one"]);
    let second = back_up(&place, &["--tag", "two", "--no-verify", "--compression", "zstd"]);
    let ran = place.run(["verify", second.to_str().unwrap()]);
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(settled(&ran.stdout), @"[folder]/out/registry-backup-[stamp]-two.tar.zst is intact: every checksum matches, and the pages, rows and indexes of its database are intact; 32.0 KiB, 10 records");
    let third = back_up(&place, &["--tag", "three", "--no-verify", "--compression", "none"]);
    let listed = place.run(["list", "--out", "out", "--json"]).report();
    let row = |one: &Value| format!("{} {} {} {}", one["tag"], one["compression"], one["standing"], one["records"]);
    let mut rows: Vec<_> = listed.as_array().unwrap().iter().map(row).collect();
    rows.sort();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    "one" "gzip" "verified" 10
    "three" "none" "unverified" 10
    "two" "zstd" "verified" 10
    "#);
    let text = place.run(["list", "--out", "out"]).stdout;
    assert!(text.starts_with("AGE") || text.trim_start().starts_with("AGE"), "{text}");
    assert_eq!((text.lines().count(), text.matches("unverified").count()), (4, 1), "{text}");

    let before = place.listing();
    let ran = place.run(["prune", "--out", "out", "--yes"]);
    assert_eq!((ran.code, ran.stdout.matches("(no rule)").count()), (0, 3), "{}", ran.stdout);
    insta::assert_snapshot!(ran.stderr, @"
    vitalsign: no rule says which archives to keep, so none is removed
      → set `backup.keep` in the configuration, or give for example `--last 7 --daily 30`
    ");
    assert_eq!(place.run(["prune", "--out", "out", "--yes", "--last", "0"]).code, 4);
    let dry = place.run(["prune", "--out", "out", "--last", "1"]);
    assert!(dry.stdout.ends_with("nothing was removed yet: add --yes to remove them\n"), "{}", dry.stdout);
    assert_eq!(before, place.listing());
    let done = place.run(["prune", "--out", "out", "--last", "1", "--yes"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    // The newest by name stays for the rule, the newest verified for safety.
    let left: Vec<_> =
        place.run(["list", "--out", "out", "--json"]).report().as_array().unwrap().iter().map(row).collect();
    assert!(left.iter().any(|row| row.contains("verified\"")) && left.len() <= 2, "{left:?}");
    assert!(!first.exists());
    drop(third);
    assert_eq!(place.run(["list", "--out", "nowhere"]).stdout, "there are no archives in nowhere\n");
}

#[test]
fn several_archives_are_verified_and_each_that_went_bad_is_named() {
    let place = TestEnv::with_registry(10);
    place.configure(|_| ());
    let archives: Vec<_> = ["one", "two", "three"].map(|tag| back_up(&place, &["--tag", tag])).into();
    let names: Vec<&str> = archives.iter().map(|archive| archive.to_str().unwrap()).collect();
    assert_eq!(place.run([&["verify"], &names[..]].concat()).code, 0);
    let mut bytes = fs::read(&archives[1]).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 32;
    let stamp = fs::metadata(&archives[1]).unwrap().modified().unwrap();
    fs::write(&archives[1], bytes).unwrap();
    fs::File::options().write(true).open(&archives[1]).unwrap().set_modified(stamp).unwrap();
    for how in [&["--all"][..], &["--stalest", "--budget", "10m"], &["--all", "--json"]] {
        let ran = place.run([&["verify", "--out", "out"], how].concat());
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        assert!(ran.stderr.contains("-two.tar.gz is damaged"), "{}", ran.stderr);
        assert!(ran.stderr.contains("1 of 3 archives did not pass the verification"), "{}", ran.stderr);
        if how.contains(&"--json") {
            assert_eq!(ran.report().as_array().unwrap().len(), 3);
        }
    }
    let listed = place.run(["list", "--out", "out", "--json"]).report();
    let standings: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["standing"].as_str().unwrap()).collect();
    assert_eq!(standings, ["verified", "damaged", "verified"]);
    assert_eq!(place.run(["verify", "--out", "out", "--stalest", "--budget", "0"]).code, 0, "there is no time for any");
    // The damaged one takes its turn, so that it cannot use up the time of the others each night.
    let verified_at = |archive: &Path, at: &str| {
        let path = PathBuf::from(format!("{}.json", archive.display()));
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record["verifiedAt"] = at.into();
        fs::write(path, record.to_string()).unwrap();
    };
    for (archive, at) in archives.iter().zip(["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z"]) {
        verified_at(archive, at);
    }
    let ran = place.run(["verify", "--out", "out", "--stalest", "--budget", "10m", "--json"]);
    let told = ran.report();
    let order: Vec<_> = told.as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    let order: Vec<_> = order.iter().map(|path| archives.iter().position(|one| one.ends_with(path)).unwrap()).collect();
    assert_eq!(order, [2, 0, 1]);
    if Path::new("/dev/full").exists() {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = place.finish(place.command(["verify", "--out", "out", "--all"]).stdout(full).output().unwrap());
        assert_eq!((ran.code, ran.stderr.contains("did not pass")), (6, false), "{}", ran.stderr);
    }
    assert_eq!(place.run(["verify", "--stalest"]).code, 2);
}

#[test]
fn a_pinned_archive_stays_until_it_is_unpinned() {
    let place = TestEnv::with_registry(10);
    place.configure(|config| config["backup"] = serde_json::json!({ "dir": "out", "keep": { "last": 1 } }));
    let first = back_up(&place, &["--tag", "one"]);
    let name = first.to_str().unwrap();
    assert_eq!(place.run(["pin", name]).code, 0);
    assert_eq!(place.run(["pin", name]).code, 0, "twice is once");
    assert_eq!(place.run(["pin", "registry.sqlite"]).code, 4);
    assert_eq!(place.run(["pin", &name.replace("-one", "-none")]).code, 6);
    back_up(&place, &["--tag", "two", "--prune"]);
    back_up(&place, &["--tag", "three", "--prune"]);
    let text = place.run(["list"]).stdout;
    assert_eq!((text.lines().count(), text.matches("verified, pinned").count()), (3, 1), "{text}");
    assert_eq!(place.run(["unpin", name]).code, 0);
    back_up(&place, &["--tag", "four", "--prune"]);
    assert!(!first.exists());
}

/// Command lines that something is wrong with, and what.
fn bad_inputs(long: &str) -> Vec<(&'static str, Vec<&str>)> {
    let to = ["--db", "n.sqlite", "--log", "n.jsonl"];
    let restores = |archive: &'static str| [&["restore", "--archive", archive], to.as_slice()].concat();
    vec![
        ("missing", restores("gone.tar.gz")),
        ("empty", restores("empty.tar.gz")),
        ("not an archive", restores("text.tar.gz")),
        ("cut", restores("cut.tar.gz")),
        ("flipped", restores("flipped.tar.gz")),
        ("wrong compression", restores("bz.tar.gz")),
        ("a folder for an archive", restores("folder")),
        ("a folder for a database", vec!["restore", "--archive", "cut.tar.gz", "--db", "folder", "--force"]),
        ("a folder to be verified", vec!["verify", "folder"]),
        ("a missing one to be verified", vec!["verify", "gone.tar.gz"]),
        ("a tag with a slash", vec!["backup", "--tag", "a/b"]),
        ("a tag that climbs", vec!["backup", "--tag", ".."]),
        ("a long tag", vec!["backup", "--tag", long]),
        ("a level too high", vec!["backup", "--level", "13"]),
        ("a file for a folder", vec!["backup", "--out", "file"]),
        ("an unwritable folder", vec!["backup", "--out", "/proc/nowhere"]),
        ("no database", vec!["backup", "--db", "gone.sqlite"]),
        ("a folder for a database", vec!["backup", "--db", "folder"]),
        ("an archive for a database", vec!["backup", "--db", "flipped.tar.gz", "--out", "o"]),
        ("nothing to undo", vec!["restore", "--undo"]),
        ("nothing to restore", vec!["restore"]),
    ]
}

#[test]
fn bad_input_is_one_sentence_and_a_code_and_changes_nothing() {
    let place = TestEnv::with_registry(10);
    place.configure(|_| ());
    let archive = back_up(&place, &[]);
    let good = fs::read(&archive).unwrap();
    place.write("empty.tar.gz", "");
    place.write("text.tar.gz", "no archive");
    place.write("cut.tar.gz", &good[..good.len() / 2]);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    place.write("flipped.tar.gz", flipped);
    place.write("bz.tar.gz", "BZh91AY&SY");
    fs::create_dir(place.path("folder")).unwrap();
    place.write("file", "");
    let long = "x".repeat(300);
    let before = place.listing();
    let mut told = String::new();
    for (what, args) in bad_inputs(&long) {
        let ran = place.run(&args);
        let half = vitalsign_base::value::bytes(good.len() as u64 / 2);
        let sentence = ran
            .stderr
            .lines()
            .next()
            .unwrap_or_default()
            .replace(&half, "[half]")
            .replace(&long, "[x]")
            .replace(&long[..40], "[x]");
        told += &format!("{what}: {} {sentence}\n", ran.code);
        assert!(!ran.stderr.contains("panicked") && ran.stdout.is_empty(), "{what}: {}{}", ran.stdout, ran.stderr);
        let _ = fs::remove_dir(place.path("o"));
        // A backup that failed is remembered for the check on backups; that is tested where the check is.
        let is_new = |line: &String| !before.contains(line) && !line.contains("backup-failed-");
        let left: Vec<_> = place.listing().into_iter().filter(is_new).collect();
        let own = |line: &String| line.split_once(" inode").is_some_and(|(path, _)| Path::new(path).is_dir());
        assert!(left.iter().all(own), "{what}: {left:?}");
    }
    insta::assert_snapshot!(told, @"
    missing: 6 vitalsign: cannot read gone.tar.gz: No such file or directory (os error 2)
    empty: 5 vitalsign: empty.tar.gz is empty (0 bytes)
    not an archive: 5 vitalsign: text.tar.gz is not a backup archive: it is not a tar file; the supported formats are .tar.gz, .tar.zst, .tar, and a SQLite database by itself
    cut: 5 vitalsign: cut.tar.gz is incomplete: it ends after [half], but more data must follow
    flipped: 5 vitalsign: flipped.tar.gz is damaged: `registry.sqlite`, bytes 0 to 32767
    wrong compression: 5 vitalsign: bz.tar.gz is not a backup archive: it is compressed with bzip2; the supported formats are .tar.gz, .tar.zst, .tar, and a SQLite database by itself
    a folder for an archive: 6 vitalsign: cannot read folder: it is a directory
    a folder for a database: 4 vitalsign: [folder]/folder is a folder, but the database must be a file; nothing was changed
    a folder to be verified: 6 vitalsign: cannot read folder: it is a directory
    a missing one to be verified: 6 vitalsign: cannot read gone.tar.gz: No such file or directory (os error 2)
    a tag with a slash: 2 vitalsign: invalid value 'a/b' for '--tag <LABEL>': `a/b` is not a valid tag: use 1 to 100 letters, digits, `.`, `_` and `-`, without `..`, and begin with a letter or digit
    a tag that climbs: 2 vitalsign: invalid value '..' for '--tag <LABEL>': `..` is not a valid tag: use 1 to 100 letters, digits, `.`, `_` and `-`, without `..`, and begin with a letter or digit
    a long tag: 2 vitalsign: invalid value '[x]' for '--tag <LABEL>': `[x]…` is not a valid tag: use 1 to 100 letters, digits, `.`, `_` and `-`, without `..`, and begin with a letter or digit
    a level too high: 2 vitalsign: --level 13 is too high: the highest level of gzip is 12
    a file for a folder: 4 vitalsign: file is not a folder, so archives cannot be written there; nothing was changed
    an unwritable folder: 6 vitalsign: cannot create the folder /proc/nowhere: No such file or directory (os error 2)
    no database: 6 vitalsign: there is no database at `gone.sqlite`
    a folder for a database: 6 vitalsign: `folder` is a directory, not a database
    an archive for a database: 5 vitalsign: `flipped.tar.gz` is not a SQLite database
    nothing to undo: 4 vitalsign: no restore has replaced registry.sqlite, so there is nothing to bring back
    nothing to restore: 2 vitalsign: the following required arguments were not provided:
    ");
}

/// Every program that opens archives gets the same files out of ours.
#[test]
fn other_programs_open_it() {
    let place = TestEnv::with_registry(3000);
    let archive = back_up(&place, &[]);
    let name = archive.file_name().unwrap().to_str().unwrap();
    let whole = fs::read(place.path("registry.sqlite")).unwrap();
    for (program, line) in [
        ("tar", "tar xzf ../out/$A && sha256sum -c --quiet SHA256SUMS"),
        ("bsdtar", "bsdtar xf ../out/$A && sha256sum -c --quiet SHA256SUMS"),
        ("busybox", "busybox tar xzf ../out/$A && busybox sha256sum -c SHA256SUMS"),
        (
            "python3",
            "python3 -c 'import tarfile,sys; tarfile.open(sys.argv[1]).extractall(filter=\"data\")' ../out/$A && sha256sum -c --quiet SHA256SUMS",
        ),
        (
            "node",
            "node -e 'const z=require(\"zlib\"),f=require(\"fs\");f.writeFileSync(\"t\",z.gunzipSync(f.readFileSync(process.argv[1])))' ../out/$A && tar xf t && sha256sum -c --quiet SHA256SUMS",
        ),
    ] {
        if !has(program) {
            continue;
        }
        let folder = place.path(program);
        fs::create_dir(&folder).unwrap();
        let ran = Command::new("sh").args(["-ec", line]).env("A", name).current_dir(&folder).output().unwrap();
        assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(fs::read(folder.join("registry.sqlite")).unwrap(), whole, "{program}");
    }
    if has("zstd") {
        let zst = back_up(&place, &["--compression", "zstd"]);
        fs::create_dir(place.path("zst")).unwrap();
        let line = "zstd -dqc \"$A\" | tar x && sha256sum -c --quiet SHA256SUMS";
        let ran =
            Command::new("sh").args(["-ec", line]).env("A", &zst).current_dir(place.path("zst")).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(fs::read(place.path("zst/registry.sqlite")).unwrap(), whole);
    }
}

/// Raw copies with a log, as other tools of the registry archive them: what is in the log comes back.
#[test]
fn older_archives_restore_with_what_is_in_their_log() {
    if !has("tar") {
        return;
    }
    let place = TestEnv::empty();
    fs::create_dir(place.path("s")).unwrap();
    OtherProcess::open(
        &place.path("s/registry.sqlite"),
        "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE records(id); INSERT INTO records VALUES ('in the log')",
    )
    .kill();
    assert!(fs::metadata(place.path("s/registry.sqlite-wal")).unwrap().len() > 0);
    place.write("s/metadata.json", r#"{"createdAt": "2025-10-27T16:43:49Z", "source": "var/registry.sqlite"}"#);
    for (name, line) in [
        ("dot", "cd s && tar czf ../dot.tar.gz ."),
        ("folder", "tar czf folder.tar.gz s"),
        (
            "order",
            "cd s && tar czf ../order.tar.gz registry.sqlite-wal metadata.json registry.sqlite-shm registry.sqlite",
        ),
        ("plain", "cd s && tar cf ../plain.tar.gz *"),
    ] {
        assert!(Command::new("sh").args(["-ec", line]).current_dir(place.folder()).status().unwrap().success());
        let ran = restore(&place, &place.path(&format!("{name}.tar.gz")), &["--db", &format!("{name}.sqlite")]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        assert!(ran.stdout.contains("no checksums to compare with"), "{}", ran.stdout);
        let conn = Connection::open(place.path(&format!("{name}.sqlite"))).unwrap();
        let found: String = conn.query_row("SELECT id FROM records", [], |row| row.get(0)).unwrap();
        assert_eq!(found, "in the log");
    }
    // The same as a raw copy of our own.
    let ran = place.run(["backup", "--raw", "--db", "s/registry.sqlite", "--out", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = restore(&place, &place.path(ran.stdout.trim()), &["--db", "raw.sqlite", "--json"]);
    assert_eq!(ran.report()["structure"], "sound");
    let conn = Connection::open(place.path("raw.sqlite")).unwrap();
    assert_eq!(conn.query_row("SELECT count(*) FROM records", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn a_raw_copy_brings_its_journal_along() {
    let place = TestEnv::with_registry(20);
    let spill = "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN;
        UPDATE records SET payload = zeroblob(2000); DELETE FROM provenance";
    OtherProcess::open(&place.path("registry.sqlite"), spill).kill();
    assert!(place.path("registry.sqlite-journal").exists());
    let ran = place.run(["backup", "--raw", "--db", "registry.sqlite", "--out", "out"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(place.path("registry.sqlite-journal").exists(), "the original is left alone");
    let archive = place.path(ran.stdout.trim());
    assert_eq!(place.run(["verify", archive.to_str().unwrap()]).code, 0);
    let ran = restore(&place, &archive, &["--db", "raw.sqlite", "--log", "raw.jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let conn = Connection::open(place.path("raw.sqlite")).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM provenance"), 20, "the transaction is rolled back in the copy");
    assert_eq!(count("SELECT count(*) FROM records WHERE payload = zeroblob(2000)"), 0);
    assert!(!place.path("raw.sqlite-journal").exists());
}

#[test]
fn an_archive_whose_path_cannot_be_printed_is_named_all_the_same() {
    let place = TestEnv::with_registry(20);
    let mut command = place.command(["backup", "--db", "registry.sqlite", "--out", "out"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(
        said.contains("vitalsign: the archive out/registry-backup-2") && said.contains(" was made: cannot write"),
        "{said}"
    );
    assert!(place.run(["list", "--out", "out"]).stdout.contains("verified"));
    // What is done is said, also where only the result cannot be printed.
    let archive = place.run(["list", "--out", "out", "--json"]).report()[0]["path"].as_str().unwrap().to_owned();
    for (args, done) in [
        (&["restore", &archive, "--db", "registry.sqlite", "--force", "--json"][..], "registry.sqlite was restored: "),
        (&["restore", "--db", "registry.sqlite", "--undo"], "registry.sqlite was put back: "),
        (&["prune", "--out", "out", "--last", "1", "--yes"], "what no rule keeps was removed: "),
        (&["prune", "--out", "out", "--last", "1"], "vitalsign: cannot write to standard output"),
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = place.finish(place.command(args).stdout(full).output().unwrap());
        assert_eq!((ran.code, ran.stderr.contains(done)), (6, true), "{args:?}: {}", ran.stderr);
    }
}

/// Each backup taken under a writer holds a prefix of what was committed, and nothing less than what was before it began.
/// Ends a writer when it is dropped, also when an assertion fails: the scope of threads waits for the writer.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn backups_under_a_writer_hold_a_prefix() {
    let place = TestEnv::empty();
    let path = place.path("registry.sqlite");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch(
            "PRAGMA journal_mode = wal; CREATE TABLE records(id INTEGER PRIMARY KEY, payload);
             CREATE TABLE provenance(seq INTEGER PRIMARY KEY, record_id)",
        )
        .unwrap();
    let rounds = if std::env::var("VITALSIGN_TORTURE").is_ok_and(|value| value == "long") { 100 } else { 12 };
    let (stop, committed) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let (stop, committed) = (&stop, &committed);
        let _stopping = Stopping(stop);
        scope.spawn(move || {
            for number in 1.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                writer
                    .execute_batch(&format!(
                        "BEGIN; INSERT INTO records VALUES ({number}, hex(randomblob(20)));
                         INSERT INTO provenance VALUES ({number}, {number}); COMMIT"
                    ))
                    .unwrap();
                committed.store(number, Ordering::SeqCst);
            }
        });
        for round in 0..rounds {
            let least = committed.load(Ordering::SeqCst);
            let archive = back_up(&place, &[]);
            let most = committed.load(Ordering::SeqCst) + 1;
            let name = format!("back-{round}.sqlite");
            let ran = restore(&place, &archive, &["--db", &name, "--log", &format!("back-{round}.jsonl")]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let conn = Connection::open(place.path(&name)).unwrap();
            let numbers = |table: &str| -> (u32, u32, u32) {
                let sql = format!("SELECT count(*), coalesce(min(rowid), 1), coalesce(max(rowid), 0) FROM {table}");
                conn.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
            };
            let (count, first, last) = numbers("records");
            assert_eq!((count, first), (last, 1), "a prefix has no gap");
            assert_eq!(numbers("provenance"), (count, first, last));
            assert!((least..=most).contains(&count), "{count} of {least} to {most}");
            let lines = fs::read_to_string(place.path(&format!("back-{round}.jsonl"))).unwrap().lines().count();
            assert_eq!(lines, count as usize, "the export is of the same moment");
            // A hundred of them need not lie there at once.
            for file in [archive, place.path(&name), place.path(&format!("back-{round}.jsonl"))] {
                fs::remove_file(file).unwrap();
            }
        }
    });
}

/// A writer that opens, commits and closes each time leaves no log behind to be read through, and must not hold a backup up.
#[test]
fn a_backup_under_writers_who_come_and_go() {
    let place = TestEnv::with_registry(3000);
    let path = place.path("registry.sqlite");
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = wal").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stopping = Stopping(&stop);
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let writer = Connection::open(&path).unwrap();
                writer.busy_timeout(Duration::from_secs(30)).unwrap();
                let sql = format!("INSERT INTO records VALUES ('w{number}', 'w', 'w', '1', '{{}}', 'now')");
                writer.execute_batch(&sql).unwrap();
                writer.close().unwrap();
            }
        });
        for round in 0..10 {
            let archive = back_up(&place, &[]);
            let name = format!("back-{round}.sqlite");
            let ran = restore(&place, &archive, &["--db", &name, "--log", &format!("{name}.jsonl")]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            let conn = Connection::open(place.path(&name)).unwrap();
            let sql =
                "SELECT count(*), coalesce(max(CAST(substr(id, 2) AS INTEGER)), -1) + 1 FROM records WHERE kind = 'w'";
            let (count, next): (i64, i64) = conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            assert_eq!(count, next, "a prefix has no gap");
        }
    });
    // Whoever is last tidies up, a backup too.
    for side in ["-wal", "-shm"] {
        assert!(!place.path(&format!("registry.sqlite{side}")).exists(), "{side} was left behind");
    }
}

#[test]
fn other_file_systems_and_other_users() {
    let place = TestEnv::with_registry(10);
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        let elsewhere = tempfile::tempdir_in(shm).unwrap();
        let out = elsewhere.path().to_str().unwrap();
        let ran = place.run(["backup", "--db", "registry.sqlite", "--out", out]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let ran = restore(
            &place,
            Path::new(ran.stdout.trim()),
            &["--db", &format!("{out}/back.sqlite"), "--log", "here.jsonl"],
        );
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(
            fs::read(elsewhere.path().join("back.sqlite")).unwrap(),
            fs::read(place.path("registry.sqlite")).unwrap()
        );
    }
    let archive = back_up(&place, &[]);
    if !rustix::process::geteuid().is_root() {
        skipped("only root can be somebody else, so missing permissions were not tried");
        return;
    }
    for path in [place.folder(), &archive, &place.path("out")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let before = place.listing();
    let nobody = |args: &[&str]| {
        let mut command = place.command(args);
        command.uid(65534).gid(65534);
        place.finish(command.output().unwrap())
    };
    let archive = archive.to_str().unwrap();
    for args in [
        ["restore", "--archive", archive, "--db", "registry.sqlite", "--force"].as_slice(),
        &["restore", "--archive", archive, "--db", "new.sqlite"],
        &["backup", "--db", "registry.sqlite", "--out", "out"],
    ] {
        let ran = nobody(args);
        assert_eq!(ran.code, 6, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("Permission denied"), "{}", ran.stderr);
        assert_eq!(before, place.listing());
    }
}

#[test]
fn the_check_and_the_schedule_are_in_the_report() {
    let place = TestEnv::with_registry(10);
    place.configure(|config| config["backup"] = serde_json::json!({ "dir": "out" }));
    let report = place.check();
    assert_eq!((&report["status"], &entry(&report, "backup")["status"]), (&"error".into(), &"error".into()));
    back_up(&place, &[]);
    let report = place.check();
    assert_eq!((&report["status"], &entry(&report, "backup")["status"]), (&"ok".into(), &"ok".into()));
    place.configure(|config| config["backup"] = serde_json::json!({ "schedule": "61 * * * *" }));
    let ran = place.run(["check"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("backup.schedule: `61 * * * *` is not a valid schedule"), "{}", ran.stderr);
}

/// A backup that fails by hand is another process than the check that tells of it.
#[test]
fn a_backup_that_failed_is_told_until_one_succeeds() {
    let place = TestEnv::with_registry(10);
    place.configure(|config| config["backup"] = serde_json::json!({ "dir": "out" }));
    let good = fs::read(place.path("registry.sqlite")).unwrap();
    let failing = |place: &TestEnv| {
        place.write("registry.sqlite", "no database at all");
        let ran = place.run(["backup"]);
        place.write("registry.sqlite", &good);
        ran
    };
    assert_eq!(place.run(["backup"]).code, 0);
    assert_eq!(failing(&place).code, 5);
    let report = place.check();
    let findings = entry(&report, "backup")["findings"].as_array().unwrap();
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!(
        (&finding["status"], &finding["code"], &report["status"]),
        (&"error".into(), &"failed".into(), &"error".into())
    );
    assert!(finding["message"].as_str().unwrap().ends_with("is not a SQLite database"), "{finding}");
    assert_eq!(place.run(["backup"]).code, 0);
    assert_eq!(entry(&place.check(), "backup")["status"], "ok");
    assert_eq!(failing(&place).code, 5);
    assert_eq!(place.run(["backup", "--out", "elsewhere"]).code, 0);
    assert_eq!(entry(&place.check(), "backup")["status"], "error", "the folder that the check looks at has no new one");
}

/// `serve` makes a backup when the schedule says so, thins out, and says how it went.
#[test]
fn serve_backs_up_on_schedule() {
    let place = TestEnv::with_registry(10);
    place.configure(|config| {
        // With six fields the first is the second, so that the test need not wait for a minute.
        config["backup"] = serde_json::json!({ "dir": "out", "schedule": "* * * * * *", "keep": { "last": 2 } });
        config["health"]["checks"] = serde_json::json!({ "backup": { "intervalSeconds": 1 } });
    });
    let server = crate::serve::Server::start(&place);
    let archives = || {
        let names = fs::read_dir(place.path("out")).into_iter().flatten();
        names.filter(|entry| entry.as_ref().unwrap().path().to_str().unwrap().ends_with(".tar.gz")).count()
    };
    server.until("two backups are there", || archives() == 2);
    server.until("the ledger tells of a third and of one that went", || {
        let ledger = fs::read_to_string(place.path("out/registry-backup-ledger.jsonl")).unwrap_or_default();
        ledger.matches(r#""event":"backup""#).count() >= 3 && ledger.contains(r#""event":"prune""#)
    });
    server.until("the report is healthy", || server.get("/health/backup").1.contains(r#""status":"ok""#));
    // Where the next ones cannot be made, the report says so.
    let ours = place.path("out");
    fs::rename(&ours, place.path("moved")).unwrap();
    fs::write(&ours, "no folder").unwrap();
    server.until("the report says why", || server.get("/health/backup").1.contains("is not a folder"));
}

/// `serve` looks at older archives by itself, and says which one has gone bad on the disk since it was verified.
#[test]
fn serve_verifies_again_what_was_verified_longest_ago() {
    let place = TestEnv::with_registry(200);
    place.configure(|config| {
        config["backup"] = serde_json::json!({ "dir": "out", "verifyIntervalSeconds": 1 });
        config["health"]["checks"] = serde_json::json!({ "backup": { "intervalSeconds": 1 } });
    });
    let (older, newer) = (back_up(&place, &[]), back_up(&place, &[]));
    // The disk changes some bytes, and no time stamp.
    let modified = fs::metadata(&older).unwrap().modified().unwrap();
    let mut bytes = fs::read(&older).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&older, bytes).unwrap();
    fs::File::options().write(true).open(&older).unwrap().set_modified(modified).unwrap();
    assert_eq!(entry(&place.check(), "backup")["status"], "ok", "nobody has looked at it yet");
    let server = crate::serve::Server::start(&place);
    server.until("the report names it", || {
        let report: Value = serde_json::from_str(&server.get("/health").1).unwrap();
        let findings = entry(&report, "backup")["findings"].as_array().cloned().unwrap_or_default();
        let name = older.file_name().unwrap().to_str().unwrap();
        report["status"] == "error" && findings.iter().any(|one| one["code"] == "rotten" && one["subject"] == name)
    });
    let proof = |archive: &Path| {
        let record = fs::read_to_string(format!("{}.json", archive.display())).unwrap_or_default();
        serde_json::from_str::<Value>(&record).map(|record| record["verifiedAt"].clone()).unwrap_or_default()
    };
    let before = proof(&newer);
    server.until("the others are verified too", || ![&before, &Value::Null].contains(&&proof(&newer)));
    assert_eq!(server.stop("-TERM"), Some(0));
    let left = fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| !name.to_str().unwrap().starts_with("registry-backup-")).collect();
    assert!(left.is_empty(), "{left:?}");
    // It is told until somebody acts, whoever asks.
    assert_eq!(entry(&place.check(), "backup")["status"], "error");
    for path in [older.display().to_string(), format!("{}.json", older.display())] {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(entry(&place.check(), "backup")["status"], "ok");
}

#[test]
fn records_that_are_missing_are_told_until_somebody_accepts_it() {
    let place = TestEnv::with_registry(100);
    place.configure(|config| config["backup"] = serde_json::json!({ "dir": "out", "keep": { "last": 1 } }));
    back_up(&place, &[]);
    let gone = "DELETE FROM provenance; DELETE FROM records WHERE rowid % 2 = 0";
    Connection::open(place.path("registry.sqlite")).unwrap().execute_batch(gone).unwrap();
    for _ in 0..2 {
        back_up(&place, &["--prune"]);
        let report = place.check();
        let found = &entry(&report, "backup")["findings"][0];
        assert_eq!((&found["code"], &found["status"]), (&"rows-lost".into(), &"warn".into()), "{found}");
    }
    assert_eq!(place.run(["backup", "--raw", "--accept-fewer-rows"]).code, 2);
    back_up(&place, &["--accept-fewer-rows", "--prune"]);
    assert_eq!(entry(&place.check(), "backup")["status"], "ok");
    back_up(&place, &["--prune"]);
    assert_eq!(entry(&place.check(), "backup")["status"], "ok");
    assert_eq!(place.run(["list", "--json"]).report().as_array().unwrap().len(), 1);
}

#[test]
fn the_newest_archive_and_that_of_a_time_are_found() {
    let place = TestEnv::with_registry(5);
    place.configure(|config| config["backup"] = serde_json::json!({ "dir": "out" }));
    let older = back_up(&place, &[]);
    let later = older.with_file_name("registry-backup-2026-01-02T03-04-05Z.tar.gz");
    fs::rename(&older, &later).unwrap();
    let newest = back_up(&place, &["--wait", "600"]);
    let restored = |how: &[&str]| place.run([&["restore", "--db", "copy.sqlite", "--dry-run", "--json"], how].concat());
    // Another database has no archive here.
    let ran = restored(&["--latest"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("has no archive of"), "{}", ran.stderr);
    let own = |how: &[&str]| place.run([&["restore", "--force", "--dry-run", "--json"], how].concat());
    let at = |ran: &RunOutput| ran.report()["createdAt"].as_str().unwrap().to_owned();
    let known: Value = serde_json::from_slice(
        &fs::read(newest.with_file_name(format!("{}.json", newest.file_name().unwrap().to_str().unwrap()))).unwrap(),
    )
    .unwrap();
    let ran = own(&["--latest"]);
    assert_eq!((ran.code, at(&ran)), (0, known["createdAt"].as_str().unwrap().to_owned()), "{}", ran.stderr);
    let ran = own(&["--at", "2026-06-01T00:00:00Z"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(own(&["--at", "2025-01-01T00:00:00Z"]).code, 4);
    assert_eq!(own(&["--at", "yesterday"]).code, 2);
}

#[test]
fn an_archive_passes_through_pipes() {
    let place = TestEnv::with_registry(5);
    let before = place.listing();
    let output = place.command(["backup", "--db", "registry.sqlite", "--out", "-"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.listing(), before);
    place.write("stream", &output.stdout);
    let piped = |args: &[&str]| {
        let input = fs::File::open(place.path("stream")).unwrap();
        place.finish(place.command(args).stdin(input).output().unwrap())
    };
    let ran = piped(&["verify", "-"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("is intact"), "{}", ran.stdout);
    let ran = piped(&["restore", "-", "--db", "copy.sqlite", "--json"]);
    assert_eq!((ran.code, ran.report()["records"].as_u64()), (0, Some(5)), "{}", ran.stderr);
    // A stream that was cut off is not an archive.
    place.write("stream", &output.stdout[..output.stdout.len() / 2]);
    assert_eq!(piped(&["verify", "-"]).code, 5);
    assert_eq!(piped(&["restore", "-", "--db", "other.sqlite"]).code, 5);
    assert!(!place.path("other.sqlite").exists());
    assert_eq!(place.run(["verify", "-", "stream"]).code, 2);
    for flag in ["--json", "--prune"] {
        assert_eq!(place.run(["backup", "--db", "registry.sqlite", "--out", "-", flag]).code, 2);
    }
}

/// Starts a command that keeps an archive in `TMPDIR`, ends it by a signal once the archive is there, and says what is left.
fn interrupted(place: &TestEnv, args: &[&str]) -> (Option<i32>, Vec<PathBuf>) {
    let temporary = place.path("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = place.command(args);
    // A pipe that nobody writes to on the one side, and one that nobody reads from on the other.
    command.env("TMPDIR", &temporary).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let is_there = || {
        let folders = fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path());
        let mut files =
            folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().map(|entry| entry.unwrap().path());
        // What is read, or the record of what is written next.
        files.any(|file| file.ends_with("standard-input") || file.to_str().unwrap().ends_with(".tar.json"))
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !is_there() && Instant::now() < until {
        thread::yield_now();
    }
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    (status.signal(), fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn a_signal_ends_a_command_that_waits_for_a_pipe_and_no_archive_stays() {
    let place = TestEnv::with_registry(2000);
    for args in [
        &["verify", "-"][..],
        &["restore", "-", "--db", "copy.sqlite"],
        &["backup", "--db", "registry.sqlite", "--compression", "none", "--out", "-"],
    ] {
        assert_eq!(interrupted(&place, args), (Some(1), Vec::new()), "{args:?}");
    }
}

#[test]
fn archives_that_another_user_may_not_read_are_kept() {
    /// Neither root nor the user of this test.
    const USER: &str = "54321";
    if !has("setpriv") {
        return;
    }
    let place = TestEnv::with_registry(5);
    for tag in ["one", "two"] {
        back_up(&place, &["--tag", tag]);
    }
    let open = |path: &str, mode| fs::set_permissions(place.path(path), fs::Permissions::from_mode(mode)).unwrap();
    for folder in ["", "out"] {
        open(folder, 0o777);
    }
    let run = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", env!("CARGO_BIN_EXE_vitalsign")]);
        place.finish(command.args(args).current_dir(place.folder()).env_clear().output().unwrap())
    };
    let ran = run(&["prune", "--out", "out", "--last", "1", "--yes"]);
    if ran.code == 127 || ran.stderr.starts_with("setpriv:") {
        skipped("only root can become another user, and that user must be able to run the binary");
        return;
    }
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout.matches("(cannot be accessed)").count(), 2, "{}", ran.stdout);
    let listed = run(&["list", "--out", "out", "--json"]).report();
    assert_eq!(listed[0]["standing"], "unreadable");
    assert_eq!(listed.as_array().unwrap().len(), 2);
}
