//! What a restore says before it changes anything, and what it refuses to replace.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{ErrorKind, MustMatch, REGISTRY, TestRegistry, told};
use crate::{
    backup::restore::preflight::{ExistingDatabase, require_same_database},
    testing::Scene,
};
use vitalsign_archive::Metadata;

#[test]
fn the_archive_and_what_it_replaces_are_told_before_the_swap() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = bench.back_up(|_| ()).unwrap().path;
    bench.sql("INSERT INTO records VALUES ('later', ''); PRAGMA user_version = 8");
    let before = bench.everything();
    let expected = bench.restored(&archive, "r.sqlite", |request| request.dry_run = true).unwrap();
    let rows = |content: &crate::backup::DatabaseSummary| content.records.map(|count| (count.rows, count.exact));
    assert_eq!((expected.content.schema_version, rows(&expected.content)), (7, Some((2, true))));
    let present = expected.present.unwrap();
    let content = present.content.unwrap();
    assert_eq!((content.schema_version, rows(&content)), (8, Some((3, true))));
    assert_eq!(present.bytes, fs::metadata(bench.db()).unwrap().len());
    assert_eq!(before, bench.everything());
    assert_eq!(bench.restored(&archive, "new", |request| request.dry_run = true).unwrap().present, None);
    // One that cannot be read is no obstacle: it is what a restore is for.
    fs::write(bench.path("bad"), [7; 5000]).unwrap();
    let done = bench.restored(&archive, "bad", |request| request.force = true).unwrap();
    assert!(done.present.unwrap().content.is_err_and(|why| why.contains("is not a SQLite database")));
}

#[test]
fn an_archive_of_another_database_replaces_nothing_unless_asked() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = bench.back_up(|_| ()).unwrap().path;
    let sql = |name: &str, sql: &str| Connection::open(bench.path(name)).unwrap().execute_batch(sql).unwrap();
    sql("shop", "CREATE TABLE orders(id)");
    sql("app", "PRAGMA application_id = 3; CREATE TABLE records(id)");
    sql("copy", "CREATE TABLE Records(id)");
    sql("empty", "PRAGMA user_version = 1");
    let before = bench.everything();
    let try_to = |name: &str, must: MustMatch| {
        bench.restored(&archive, name, |request| (request.force, request.must_match) = (true, must))
    };
    for (name, must, says) in [
        ("shop", MustMatch::Content, "the two databases have no table in common"),
        ("app", MustMatch::Content, "the archive's database has the application id 1234567, and the present one 3"),
    ] {
        let (kind, text) = told(&bench, try_to(name, must));
        assert_eq!(kind, ErrorKind::Refused);
        let begin = format!("DIR/{name}: {says}");
        assert!(text.contains("is an archive of another database than") && text.contains(&begin), "{text}");
    }
    assert_eq!(before, bench.everything());
    for (name, must) in [
        ("shop", MustMatch::Nothing),
        ("copy", MustMatch::Database),
        ("empty", MustMatch::Content),
        ("r.sqlite", MustMatch::Database),
    ] {
        try_to(name, must).unwrap();
    }
    // The file is another one now, but its path and the host are the same.
    try_to("r.sqlite", MustMatch::Database).unwrap();
}

#[test]
fn an_archive_of_another_host_is_of_another_database_unless_the_file_is_the_same() {
    /// What tells a file, and is no name.
    const OTHER: &str = "00000000000000000000000000000001";
    let bench = TestRegistry::with(REGISTRY);
    let real = fs::canonicalize(bench.db()).unwrap();
    let present = ExistingDatabase::at(&real, &vitalsign_base::files::stat(&real).unwrap().unwrap(), super::TABLES);
    let content = present.content.clone().unwrap();
    let judge = |must, source: &Path, host: &str, identity: &str| {
        let text = |text: &str| Some(text.to_owned());
        let metadata = Metadata {
            source: Some(source.display().to_string()),
            host: text(host),
            identity: text(identity),
            ..Metadata::default()
        };
        require_same_database(must, Path::new("a.tar"), &metadata, &content, Some(&present), &real, Some("payments"))
            .err()
            .map(|failure| failure.to_string())
    };
    let own = vitalsign_base::files::identity(&real).unwrap();
    let (here, elsewhere) = (vitalsign_base::files::host_name(), "elsewhere");
    for must in [MustMatch::Content, MustMatch::Database] {
        let text = judge(must, &real, elsewhere, OTHER).unwrap();
        assert!(text.contains("on the host elsewhere, and this is the host"), "{text}");
        assert_eq!(judge(must, &real, elsewhere, &own), None, "a container that has another name now");
        assert_eq!(judge(must, &real, elsewhere, "payments"), None, "the operator calls it that");
        assert_eq!(judge(must, &real, &here, OTHER), None, "a file that a restore has put there");
    }
    assert_eq!(judge(MustMatch::Content, Path::new("/srv/live"), elsewhere, OTHER), None, "a rehearsal");
    assert!(judge(MustMatch::Database, Path::new("/srv/live"), elsewhere, OTHER).is_some());
    assert_eq!(judge(MustMatch::Nothing, &real, elsewhere, OTHER), None);
}

#[test]
fn an_archive_with_another_name_is_of_another_database_also_where_none_is_left() {
    let bench = TestRegistry::with(REGISTRY);
    let archive = bench.back_up(|request| request.identity = Some("orders")).unwrap().path;
    let unnamed = bench.back_up(|_| ()).unwrap().path;
    let before = bench.everything();
    let try_to = |archive: &Path, name: &str, must: MustMatch, identity: Option<&'static str>| {
        bench.restored(archive, name, |request| {
            (request.force, request.dry_run, request.must_match, request.identity) = (true, true, must, identity);
        })
    };
    for name in ["r.sqlite", "lost.sqlite"] {
        let (kind, text) = told(&bench, try_to(&archive, name, MustMatch::Database, Some("payments")));
        assert_eq!(kind, ErrorKind::Refused);
        let says = format!("DIR/{name}: it is of `orders`, and `backup.identity` is `payments`; nothing was changed");
        assert!(text.contains(&says), "{text}");
        for (must, identity) in
            [(MustMatch::Database, Some("orders")), (MustMatch::Database, None), (MustMatch::Nothing, Some("payments"))]
        {
            try_to(&archive, name, must, identity).unwrap();
        }
        // From before the database had a name.
        try_to(&unnamed, name, MustMatch::Database, Some("payments")).unwrap();
    }
    // Somebody names another path, such as one to try things out.
    try_to(&archive, "lost.sqlite", MustMatch::Content, Some("payments")).unwrap();
    assert_eq!(before, bench.everything());
}

#[test]
fn plain_copies_are_restored_with_what_lies_beside_them() {
    let bench = TestRegistry::with(REGISTRY);
    let whole = bench.read("r.sqlite");
    let gzip = {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packer, &whole).unwrap();
        packer.finish().unwrap()
    };
    let zstd = zstd::encode_all(whole.as_slice(), 3).unwrap();
    for (name, bytes) in [("copy.db", &whole), ("copy.db.gz", &gzip), ("copy.db.zst", &zstd)] {
        fs::write(bench.path(name), bytes).unwrap();
        let done = bench.restored(&bench.path(name), &format!("{name}.new"), |_| ()).unwrap();
        assert_eq!(bench.read(&format!("{name}.new")), whole);
        assert_eq!((done.is_plain, done.log, done.content.records.map(|count| count.rows)), (true, None, Some(2)));
    }
    // A compressed one that is cut off or flipped is noticed, and so is one with a page that is not.
    for (name, bytes) in [("cut.gz", &gzip[..gzip.len() - 9]), ("cut.zst", &zstd[..zstd.len() - 1])] {
        fs::write(bench.path(name), bytes).unwrap();
        let (kind, text) = told(&bench, bench.restored(&bench.path(name), "cut", |_| ()));
        assert_eq!((kind, text.contains("is incomplete")), (ErrorKind::Damaged, true), "{text}");
    }
    let mut flipped = gzip;
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    fs::write(bench.path("flipped.gz"), &flipped).unwrap();
    assert_eq!(told(&bench, bench.restored(&bench.path("flipped.gz"), "flip", |_| ())).0, ErrorKind::Damaged);
    fs::write(bench.path("short.db"), &whole[..4096]).unwrap();
    let short = bench.restored(&bench.path("short.db"), "short", |_| ()).unwrap_err();
    assert_eq!((short.kind(), short.hint().contains("`tar`")), (ErrorKind::Damaged, false), "{}", short.hint());
    for name in ["cut", "flip", "short"] {
        assert!(!bench.path(name).exists());
    }
}

#[test]
fn a_plain_copy_with_a_log_has_what_the_log_has_and_one_in_use_is_refused() {
    let scene = Scene::with(&format!("PRAGMA journal_mode = wal; {REGISTRY}"));
    let bench = TestRegistry::empty();
    let mut other = scene.other_process("PRAGMA wal_autocheckpoint = 0; INSERT INTO records VALUES ('in the log', '')");
    let (kind, text) = told(&bench, bench.restored(&scene.path(), "new", |_| ()));
    assert_eq!((kind, text.contains("is open in")), (ErrorKind::Refused, true), "{text}");
    other.sql("SELECT 1");
    other.kill();
    let before = scene.listing();
    let done = bench.restored(&scene.path(), "new", |_| ()).unwrap();
    assert_eq!(done.content.records.map(|count| count.rows), Some(3));
    assert_eq!(before, scene.listing(), "the copy and its log stay as they are");
    assert!(super::content(&bench.path("new")).contains("in the log"));
}

/// SQLite does not look there, so the second of two copies in one file would be lost without a word.
#[test]
fn what_follows_after_the_last_page_of_a_plain_copy_is_refused() {
    let bench = TestRegistry::with(REGISTRY);
    let whole = bench.read("r.sqlite");
    let restore = |tail: &[u8]| {
        fs::write(bench.path("copy"), [whole.as_slice(), tail].concat()).unwrap();
        bench.restored(&bench.path("copy"), "again.sqlite", |request| request.force = true)
    };
    for tail in [whole.as_slice(), b"junk", &[[0; 9000].as_slice(), b"x"].concat()] {
        let (kind, text) = told(&bench, restore(tail));
        assert_eq!(kind, ErrorKind::Damaged);
        assert!(text.contains("more data follows after the last page"), "{text}");
    }
    // As programs have it that let a database grow by more than is needed.
    for tail in [b"".as_slice(), &[0; 8192]] {
        restore(tail).unwrap();
    }
}
