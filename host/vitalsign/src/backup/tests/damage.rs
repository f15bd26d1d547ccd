//! Archives that were cut, flipped or made to harm: refused, or restored identical; never anything else.

use std::{fs, io::Write as _, path::Path};

use super::{ErrorKind, REGISTRY, TestRegistry, is_long, told};
use crate::backup::{ArchiveState, Error, Silent, Verdict, list, tests::at, verify};
use vitalsign_archive::Compression;

fn small() -> TestRegistry {
    TestRegistry::with(&format!("PRAGMA page_size = 512; {REGISTRY}"))
}

/// Restores what `bytes` are: refused as damaged, or the very same database and export.
fn refused_or_identical(bench: &TestRegistry, bytes: &[u8], whole: &(Vec<u8>, Vec<u8>), what: &str) -> bool {
    let path = bench.path("bad.tar");
    fs::write(&path, bytes).unwrap();
    let found = bench.restored(&path, "back", |_| ());
    match found {
        Ok(_) => {
            let same = (bench.read("back"), bench.read("back.jsonl")) == *whole;
            assert!(same, "{what}: restored, but not what was backed up");
            fs::remove_file(bench.path("back")).unwrap();
            fs::remove_file(bench.path("back.jsonl")).unwrap();
            true
        }
        Err(failure) => {
            assert_eq!(failure.kind(), ErrorKind::Damaged, "{what}: {failure}");
            for name in ["back", "back.jsonl", ".back.vitalsign-restoring"] {
                assert!(!bench.path(name).exists(), "{what}: {name} was left behind");
            }
            false
        }
    }
}

#[test]
fn every_flip_and_every_cut_is_refused_or_restored_identical() {
    for compression in Compression::ALL {
        let bench = small();
        let made = bench.back_up(|request| request.compression = compression).unwrap();
        let good = fs::read(&made.path).unwrap();
        bench.restored(&made.path, "back", |_| ()).unwrap();
        let whole = (bench.read("back"), bench.read("back.jsonl"));
        fs::remove_file(bench.path("back")).unwrap();
        fs::remove_file(bench.path("back.jsonl")).unwrap();
        // Every byte where that takes seconds; a plain tar is larger, and mostly zeros.
        let step = match (is_long(), compression) {
            (true, _) => 1,
            (false, Compression::None) => 41,
            (false, _) => 5,
        };
        let mut identical = 0;
        for at in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            identical += usize::from(refused_or_identical(&bench, &bad, &whole, &format!("byte {at} flipped")));
        }
        for length in (0..good.len()).step_by(step) {
            let bad = &good[..length];
            let harmless = refused_or_identical(&bench, bad, &whole, &format!("cut to {length} bytes"));
            // What may be missing is the second of the two zero blocks at the end.
            assert!(
                !harmless || compression == Compression::None && length >= good.len() - 1024,
                "cut to {length} bytes"
            );
        }
        // What a flip may hit unseen: in a plain tar its padding, in zstd what fills up a slot, in gzip a few hints.
        let allowed = match compression {
            Compression::None => good.len(),
            Compression::Zstd => 1200 / step,
            Compression::Gzip => good.len() / step / 20,
        };
        assert!(identical <= allowed, "{identical} flips of {} went unseen in {}", good.len(), compression.as_str());
    }
}

#[test]
fn verify_names_the_member_and_the_bytes_and_writes_it_down() {
    let bench = TestRegistry::with(&format!(
        "{REGISTRY} WITH RECURSIVE s(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM s WHERE v < 3000)
         INSERT INTO records SELECT v, hex(randomblob(500)) FROM s;"
    ));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let made = bench.back_up(|request| request.compression = compression).unwrap();
        let scratch = std::env::temp_dir();
        let clock = at("2026-11-25T00:00:00Z");
        let found = verify(&made.path, false, &scratch, &clock, &Silent).unwrap();
        assert_eq!((found.record.verdict, found.has_sums), (Verdict::Verified, true));
        assert_eq!(found.record.sha256, made.record.sha256);
        let good = fs::read(&made.path).unwrap();
        let mut bad = good.clone();
        // The middle lies in the second or third of some four blocks.
        bad[good.len() / 2] ^= 64;
        fs::write(&made.path, &bad).unwrap();
        let (kind, text) = told(&bench, verify(&made.path, false, &scratch, &clock, &Silent));
        assert_eq!(kind, ErrorKind::Damaged);
        assert!(text.contains("is damaged: `r.sqlite`, bytes 1048576 to 2097151"), "{text}");
        let listed = list(&bench.path("out"), false).unwrap();
        let one = listed.iter().find(|one| one.path == made.path).unwrap();
        assert_eq!(one.standing, ArchiveState::Damaged);
        assert!(one.flaw.as_ref().unwrap().contains("bytes 1048576"), "{one:?}");
        // A repaired archive has to be read before it counts again.
        fs::write(&made.path, &good).unwrap();
        let standing =
            || list(&bench.path("out"), false).unwrap().iter().find(|one| one.path == made.path).unwrap().standing;
        assert_eq!(standing(), ArchiveState::Damaged);
        verify(&made.path, false, &scratch, &clock, &Silent).unwrap();
        assert_eq!(standing(), ArchiveState::Verified);
    }
}

#[test]
fn a_damaged_database_is_said_and_kept_raw_if_asked() {
    let bench = TestRegistry::with(&format!("PRAGMA page_size = 512; {REGISTRY}"));
    let mut bytes = fs::read(bench.db()).unwrap();
    let good = bytes.clone();
    // The root page of an index: its cells point into nowhere.
    bytes[512 * 2..512 * 3].fill(0xee);
    fs::write(bench.db(), &bytes).unwrap();
    let (kind, text) = told(&bench, bench.back_up(|_| ()));
    assert_eq!(kind, ErrorKind::Damaged, "{text}");
    assert_eq!(list(&bench.path("out"), false).unwrap(), []);
    let made = bench.back_up(|request| request.raw = true).unwrap();
    assert_eq!((made.record.verdict, made.record.sha256.is_some()), (Verdict::Unverified, true));
    assert_eq!(told(&bench, bench.restored(&made.path, "back", |_| ())).0, ErrorKind::Damaged);
    assert!(!bench.path("back").exists());
    fs::write(bench.db(), &good[..700]).unwrap();
    let (kind, text) = told(&bench, bench.back_up(|_| ()));
    assert_eq!((kind, text.contains("truncated")), (ErrorKind::Damaged, true), "{text}");
}

/// One entry of a tar: its header is given a type, a name, and a link.
fn entry(kind: tar::EntryType, name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    // Written by hand, since the library refuses bad names.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    if !kind.is_file() {
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    }
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(tar::EntryType::Regular, name, content)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn refusal(bench: &TestRegistry, bytes: &[u8]) -> String {
    let path = bench.path("hostile.tar.gz");
    fs::write(&path, bytes).unwrap();
    let before = bench.everything();
    let found = bench.restored(&path, "back", |_| ());
    let (kind, text) = told(bench, found);
    assert_eq!(kind, ErrorKind::Damaged, "{text}");
    assert_eq!(before, bench.everything(), "{text}");
    text.replace("DIR/hostile.tar.gz ", "")
}

/// The start of an archive that is good, but for its end.
fn good(db: &[u8]) -> Vec<u8> {
    [file("metadata.json", br#"{"files":{"database":"r.sqlite"}}"#), file("r.sqlite", db)].concat()
}

/// The same with something more in it.
fn with(db: &[u8], extra: &[u8]) -> Vec<u8> {
    gzip(&[good(db).as_slice(), extra, &[0; 1024]].concat())
}

#[test]
fn members_that_no_backup_has_are_refused() {
    let bench = small();
    let db = fs::read(bench.db()).unwrap();
    fs::write(bench.path("good.tar.gz"), with(&db, b"")).unwrap();
    bench.restored(&bench.path("good.tar.gz"), "good", |_| ()).unwrap();

    use tar::EntryType as Type;
    let mut lines = Vec::new();
    for (kind, name) in [
        (Type::Symlink, "link"),
        (Type::Link, "hard"),
        (Type::Char, "device"),
        (Type::Block, "disk"),
        (Type::Fifo, "pipe"),
        (Type::GNUSparse, "sparse"),
        (Type::Regular, "/etc/cron.d/x"),
        (Type::Regular, "../up"),
        (Type::Regular, "a/b/c"),
        (Type::Regular, "a/../../b"),
        (Type::Regular, "folder/x"),
        (Type::Regular, "con\u{7}trol"),
        (Type::Regular, "r.sqlite"),
        (Type::Regular, "surprise.sh"),
        (Type::Regular, "SHA256SUMS"),
    ] {
        lines.push(format!("{name:?}: {}", refusal(&bench, &with(&db, &entry(kind, name, b"x")))));
    }
    insta::assert_snapshot!(lines.join("\n"), @r###"
    "link": is not a valid backup archive: its member `link` is not a regular file
    "hard": is not a valid backup archive: its member `hard` is not a regular file
    "device": is not a valid backup archive: its member `device` is not a regular file
    "disk": is not a valid backup archive: its member `disk` is not a regular file
    "pipe": is not a valid backup archive: its member `pipe` is not a regular file
    "sparse": is not a valid backup archive: its tar structure is damaged: numeric field was not a number:  when getting real_size for :
    "/etc/cron.d/x": is not a valid backup archive: the name of its member `/etc/cron.d/x` is not safe
    "../up": is not a valid backup archive: the name of its member `../up` is not safe
    "a/b/c": is not a valid backup archive: its member `a/b/c` is in a folder inside a folder
    "a/../../b": is not a valid backup archive: the name of its member `a/../../b` is not safe
    "folder/x": is not a valid backup archive: its member `folder/x` is not in the same folder as the others
    "con\u{7}trol": is not a valid backup archive: the name of its member `con\u{7}trol` is not safe
    "r.sqlite": is not a valid backup archive: it contains `r.sqlite` twice
    "surprise.sh": is not a valid backup archive: its member `surprise.sh` does not belong in a backup
    "SHA256SUMS": is not a valid backup archive: its `SHA256SUMS` has a line that is not valid: `x`
    "###);
}

#[test]
fn archives_that_are_made_to_harm_are_refused() {
    let bench = small();
    let db = fs::read(bench.db()).unwrap();
    let meta = file("metadata.json", br#"{"files":{"database":"r.sqlite"}}"#);
    let mut lines = Vec::new();
    let tail = |extra: &[u8]| [with(&db, b""), extra.to_vec()].concat();
    lines.push(format!("garbage: {}", refusal(&bench, &tail(b"garbage"))));
    lines.push(format!("second member: {}", refusal(&bench, &tail(&gzip(&file("hidden", b"x"))))));
    let mut long = file("r.sqlite", &db);
    // A header that promises more than follows.
    let mut header = tar::Header::from_byte_slice(&long[..512]).clone();
    header.set_size(1 << 30);
    header.set_cksum();
    long[..512].copy_from_slice(header.as_bytes());
    let cut = [meta, long].concat();
    lines.push(format!("beyond the declared: {}", refusal(&bench, &gzip(&cut))));
    let extension = entry(tar::EntryType::GNULongName, "././@LongLink", &vec![b'a'; 200_000]);
    lines.push(format!("a long name: {}", refusal(&bench, &gzip(&[extension, good(&db)].concat()))));
    lines.push(format!("a large text: {}", refusal(&bench, &gzip(&file("metadata.json", &vec![b' '; 2 << 20])))));
    let many: Vec<u8> = (0..20).flat_map(|at| entry(tar::EntryType::Directory, &format!("d{at}/"), b"")).collect();
    lines.push(format!("many: {}", refusal(&bench, &with(&db, &many))));
    let last = with(&db, b"");
    let mut flipped = last.clone();
    let at = last.len() - 6;
    flipped[at] ^= 1;
    lines.push(format!("last checksum: {}", refusal(&bench, &flipped)));
    insta::assert_snapshot!(lines.join("\n"), @r###"
    garbage: is incomplete: it ends after 510 B, but more data must follow
    second member: is not a valid backup archive: more data follows after its end
    beyond the declared: is not a valid backup archive: its tar structure is damaged: unexpected EOF during skip
    a long name: is not a valid backup archive: one of its headers takes more than 65536 bytes
    a large text: is not a valid backup archive: its `metadata.json` has 2097152 bytes, but at most 1048576 are allowed
    many: is not a valid backup archive: its member `d0/` is not in the same folder as the others
    last checksum: is damaged from byte 4608 on: corrupt gzip stream does not have a matching checksum (counted in the unpacked archive)
    "###);
}

#[test]
fn archives_that_say_too_little_or_too_much() {
    let bench = small();
    let db = fs::read(bench.db()).unwrap();
    let end = vec![0; 1024];
    let of = |parts: &[(&str, &[u8])]| {
        let members: Vec<u8> = parts.iter().flat_map(|(name, content)| file(name, content)).collect();
        gzip(&[members, end.clone()].concat())
    };
    let old: &[u8] = b"{}";
    let mut lines = Vec::new();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"plain words, no archive".to_vec()),
        ("xz", b"\xfd7zXZ\0\0rest".to_vec()),
        ("a folder's worth of nothing", gzip(&end)),
        ("no metadata", of(&[("r.sqlite", &db)])),
        ("metadata only", of(&[("metadata.json", old)])),
        ("a version to come", of(&[("metadata.json", br#"{"formatVersion":9}"#), ("r.sqlite", &db)])),
        ("two databases", of(&[("metadata.json", old), ("a.db", &db), ("b.db", &db)])),
        ("no database", of(&[("metadata.json", old), ("a.db", b"no")])),
        ("a name that is not there", of(&[("metadata.json", br#"{"files":{"database":"x"}}"#), ("r.sqlite", &db)])),
        (
            "no sums",
            of(&[("metadata.json", br#"{"formatVersion":1,"files":{"database":"r.sqlite"}}"#), ("r.sqlite", &db)]),
        ),
        (
            "sums that differ",
            of(&[
                ("metadata.json", old),
                ("r.sqlite", &db),
                ("SHA256SUMS", format!("{}  r.sqlite\n", "0".repeat(64)).as_bytes()),
            ]),
        ),
        ("no SQLite inside", of(&[("metadata.json", br#"{"files":{"database":"r"}}"#), ("r", &[7; 5000])])),
        ("a cut database", of(&[("metadata.json", old), ("r.sqlite", &db[..1024])])),
    ] {
        lines.push(format!("{what}: {}", refusal(&bench, &bytes)));
    }
    insta::assert_snapshot!(lines.join("\n"), @r###"
    empty: is empty (0 bytes)
    text: is not a backup archive: it is not a tar file; the supported formats are .tar.gz, .tar.zst, .tar, and a SQLite database by itself
    xz: is not a backup archive: it is compressed with xz; the supported formats are .tar.gz, .tar.zst, .tar, and a SQLite database by itself
    a folder's worth of nothing: is not a valid backup archive: it contains no `metadata.json`
    no metadata: is not a valid backup archive: it contains no `metadata.json`
    metadata only: is not a valid backup archive: it contains no SQLite database
    a version to come: is not a valid backup archive: its `metadata.json` has formatVersion 9, but this version of Vitalsign supports 2 at most; use a newer version
    two databases: is not a valid backup archive: it contains two databases, `a.db` and `b.db`, and its `metadata.json` does not say which one was backed up
    no database: is not a valid backup archive: it contains no SQLite database
    a name that is not there: is not a valid backup archive: its `metadata.json` names `x`, but it contains no such member
    no sums: is not a valid backup archive: it contains no `SHA256SUMS`, which is written last, so it may be incomplete
    sums that differ: does not match its SHA256SUMS: `r.sqlite`, bytes 0 to 2047
    no SQLite inside: the database in is damaged: `r` is not a SQLite database
    a cut database: the database in is damaged: `r.sqlite` is corrupt: database disk image is malformed
    "###);
    let gone = bench.restored(Path::new("/nowhere/at/all.tar.gz"), "back", |_| ());
    assert!(matches!(&gone, Err(failure @ Error::Io { .. }) if failure.kind() == ErrorKind::Environment), "{gone:?}");
    assert_eq!(told(&bench, bench.restored(bench.folder.path(), "back", |_| ())).0, ErrorKind::Environment);
}

#[test]
fn older_archives_name_their_members_as_they_like() {
    let bench = small();
    let db = fs::read(bench.db()).unwrap();
    let of = |meta: &str, more: &[(&str, &[u8])]| {
        let members: Vec<u8> = more.iter().flat_map(|(name, content)| file(name, content)).collect();
        gzip(&[file("metadata.json", meta.as_bytes()), members, vec![0; 1024]].concat())
    };
    let good = of(
        r#"{"files":{"database":"r.db","provenance":"log.txt"}}"#,
        &[("r.db", &db), ("log.txt", b"{}\n"), ("r.db-shm", b"x")],
    );
    fs::write(bench.path("good.tar.gz"), good).unwrap();
    let done = bench.restored(&bench.path("good.tar.gz"), "back", |_| ()).unwrap();
    assert_eq!((bench.read("back"), bench.read("back.jsonl")), (db.clone(), b"{}\n".to_vec()));
    assert!(done.log.is_some());
    fs::remove_file(bench.path("back")).unwrap();
    fs::remove_file(bench.path("back.jsonl")).unwrap();
    for (meta, word) in [
        (r#"{"files":{"database":"r.db","provenance":"r.db"}}"#, "for two different members"),
        (r#"{"files":{"database":"r.db","wal":"metadata.json"}}"#, "for two different members"),
        (r#"{"files":{"database":"r.db"}}"#, "does not belong in a backup"),
    ] {
        let text = refusal(&bench, &of(meta, &[("r.db", &db), ("a.jsonl", b""), ("b.jsonl", b"")]));
        assert!(text.contains(word), "{text}");
    }
}

/// Nothing of a member is written that is larger than the metadata before it says.
#[test]
fn a_bomb_is_refused_before_it_is_written() {
    let bench = small();
    let meta = r#"{"formatVersion":1,"files":{"database":"r"},"sqlite":{"pageSize":512,"pageCount":4}}"#;
    let bomb = gzip(&[file("metadata.json", meta.as_bytes()), file("r", &vec![0; 8 << 20]), vec![0; 1024]].concat());
    assert!(bomb.len() < 20_000);
    let text = refusal(&bench, &bomb);
    assert_eq!(
        text,
        "is not a valid backup archive: its member `r` has 8388608 bytes, but its `metadata.json` says 2048"
    );
}
