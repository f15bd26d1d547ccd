//! Damage that a bad disk, a torn write or a faulty program leaves in a database: every kind is found by a plain `check`.
//!
//! Each kind is planted by code in its own copy of one registry of about 10 MB that has a table of every sort. The layout of
//! pages that the code relies on is SQLite's file format, <https://sqlite.org/fileformat2.html>.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf, sync::LazyLock};

use rusqlite::Connection;
use serde_json::Value;

use super::{
    env::{TestEnv, entry},
    other::OtherProcess,
};

const PAGE: usize = 4096;

/// The healthy registry, made once: with auto-vacuum or without.
fn healthy(auto_vacuum: bool) -> &'static [u8] {
    static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| make("none"));
    static VACUUMED: LazyLock<Vec<u8>> = LazyLock::new(|| make("full"));
    if auto_vacuum { &VACUUMED } else { &PLAIN }
}

fn make(auto_vacuum: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.sqlite");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = wal; PRAGMA foreign_keys = off;
         CREATE TABLE records(id TEXT PRIMARY KEY, kind TEXT NOT NULL, code INTEGER NOT NULL, payload TEXT);
         CREATE INDEX records_kind ON records(kind, code); CREATE UNIQUE INDEX records_code ON records(code);
         CREATE TABLE provenance(seq INTEGER PRIMARY KEY, record_id TEXT, body BLOB);
         CREATE TABLE keyed(id INTEGER PRIMARY KEY, body) WITHOUT ROWID;
         CREATE TABLE exact(a INTEGER, b TEXT) STRICT;
         CREATE TABLE scratch(body BLOB);
         CREATE VIRTUAL TABLE words USING fts5(body);
         CREATE TEMP TABLE n AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 8000) SELECT x FROM c;
         BEGIN;
         INSERT INTO records SELECT 'urn:' || hex(randomblob(16)), 'kind ' || (x % 7), x, hex(randomblob(300)) FROM n;
         INSERT INTO provenance SELECT x, x, CASE WHEN x % 500 = 0 THEN randomblob(20000) ELSE randomblob(300) END FROM n;
         INSERT INTO keyed SELECT x, randomblob(100) FROM n WHERE x <= 2000;
         INSERT INTO exact SELECT x, 'text' FROM n WHERE x <= 100;
         INSERT INTO words SELECT 'word ' || x FROM n WHERE x <= 500;
         INSERT INTO scratch SELECT randomblob(3000) FROM n WHERE x <= 100;
         DELETE FROM scratch WHERE rowid > 5;
         COMMIT;
         PRAGMA user_version = 1;"
    ))
    .unwrap();
    conn.close().unwrap();
    let bytes = fs::read(path).unwrap();
    assert!((9 << 20..12 << 20).contains(&bytes.len()), "about 10 MB: {}", bytes.len());
    bytes
}

/// A copy of the registry that is about to be damaged.
struct DamagedDatabase {
    place: TestEnv,
    path: PathBuf,
}

impl DamagedDatabase {
    fn new(auto_vacuum: bool) -> Self {
        let place = TestEnv::empty();
        place.configure(|_| ());
        place.write("registry.sqlite", healthy(auto_vacuum));
        Self { path: place.path("registry.sqlite"), place }
    }

    fn read(&self, page: usize) -> Vec<u8> {
        let mut bytes = vec![0; PAGE];
        fs::File::open(&self.path).unwrap().read_exact_at(&mut bytes, ((page - 1) * PAGE) as u64).unwrap();
        bytes
    }

    fn write(&self, page: usize, at: usize, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, ((page - 1) * PAGE + at) as u64).unwrap();
    }

    fn pages(&self) -> usize {
        usize::try_from(fs::metadata(&self.path).unwrap().len()).unwrap() / PAGE
    }

    fn root(&self, name: &str) -> usize {
        let conn = Connection::open(&self.path).unwrap();
        let root =
            conn.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [name], |row| row.get::<_, u32>(0));
        conn.close().unwrap();
        root.unwrap() as usize
    }

    /// The leaves below a page, from left to right.
    fn leaves_below(&self, page: usize) -> Vec<usize> {
        let bytes = self.read(page);
        if matches!(bytes[0], 10 | 13) {
            return vec![page];
        }
        children(&bytes).into_iter().flat_map(|child| self.leaves_below(child)).collect()
    }

    fn leaves(&self, name: &str) -> Vec<usize> {
        self.leaves_below(self.root(name))
    }

    /// A leaf from the middle.
    fn leaf(&self, name: &str) -> usize {
        let leaves = self.leaves(name);
        leaves[leaves.len() / 2]
    }

    /// The first page of some overflow chain of `provenance`, and the place of the number that leads there.
    fn overflow(&self) -> usize {
        for leaf in self.leaves("provenance") {
            let bytes = self.read(leaf);
            for cell in 0..usize::from(u16_at(&bytes, 3)) {
                let at = usize::from(u16_at(&bytes, 8 + 2 * cell));
                // A payload of 16,384 bytes and more has a length of three bytes; the row number takes two here.
                if bytes[at] & 0x80 != 0 && bytes[at + 1] & 0x80 != 0 {
                    let payload = usize::from(bytes[at] & 0x7f) << 14
                        | usize::from(bytes[at + 1] & 0x7f) << 7
                        | usize::from(bytes[at + 2]);
                    let least = (PAGE - 12) * 32 / 255 - 23;
                    let fits = least + (payload - least) % (PAGE - 4);
                    let local = if fits <= PAGE - 35 { fits } else { least };
                    return u32_at(&bytes, at + 5 + local) as usize;
                }
            }
        }
        panic!("no row of provenance is that long");
    }

    /// Runs SQL as a faulty program would that may change the schema's own table.
    fn sql(&self, sql: &str) {
        let conn = Connection::open(&self.path).unwrap();
        conn.execute_batch(&format!("PRAGMA foreign_keys = off; PRAGMA writable_schema = on; {sql}")).unwrap();
        conn.close().unwrap();
    }

    /// Runs SQL while the schema says something else of one table or index.
    fn misled(&self, name: &str, from: &str, to: &str, sql: &str) {
        let change = |from: &str, to: &str| {
            format!("UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = '{name}';")
        };
        self.sql(&change(from, to));
        self.sql(sql);
        self.sql(&change(to, from));
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The children of an interior page.
fn children(page: &[u8]) -> Vec<usize> {
    let cell = |cell: usize| u32_at(page, usize::from(u16_at(page, 12 + 2 * cell))) as usize;
    (0..usize::from(u16_at(page, 3))).map(cell).chain([u32_at(page, 8) as usize]).collect()
}

/// Bytes in no order, the same each time.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    std::iter::repeat_with(next).take(PAGE).collect()
}

/// A kind of damage: its name, the code that the report has for it, and how it comes about.
type DamageKind = (&'static str, &'static str, fn(&DamagedDatabase));

const KINDS: [DamageKind; 33] = [
    ("noise over a leaf of a table", "corrupt", |one| one.write(one.leaf("records"), 0, &noise())),
    ("noise over an interior page of a table", "corrupt", |one| one.write(one.root("records"), 0, &noise())),
    ("noise over a leaf of an index", "corrupt", |one| one.write(one.leaf("records_kind"), 0, &noise())),
    ("noise over an interior page of an index", "corrupt", |one| one.write(one.root("records_kind"), 0, &noise())),
    ("noise over a table without rowids", "corrupt", |one| one.write(one.leaf("keyed"), 0, &noise())),
    ("a page of zeros", "corrupt", |one| one.write(one.leaf("records"), 0, &[0; PAGE])),
    ("a range of zeros at the end of the file", "corrupt", |one| {
        one.sql("INSERT INTO scratch SELECT randomblob(3900) FROM provenance LIMIT 200");
        for page in one.pages() - 3..=one.pages() {
            one.write(page, 0, &[0; PAGE]);
        }
    }),
    ("the second half of a page torn off", "corrupt", |one| {
        one.write(one.leaf("provenance"), PAGE / 2, &[0; PAGE / 2])
    }),
    ("two pages that changed places", "corrupt", |one| {
        let leaves = one.leaves("provenance");
        let (first, second) = (one.read(leaves[3]), one.read(leaves[9]));
        one.write(leaves[3], 0, &second);
        one.write(leaves[9], 0, &first);
    }),
    ("a page over another of the same table", "corrupt", |one| {
        let leaves = one.leaves("provenance");
        one.write(leaves[9], 0, &one.read(leaves[3]));
    }),
    ("a page of an index over one of its table", "corrupt", |one| {
        one.write(one.leaf("records"), 0, &one.read(one.leaf("records_kind")))
    }),
    ("more cells than there are", "corrupt", |one| one.write(one.leaf("records"), 3, &900_u16.to_be_bytes())),
    ("a cell beyond its page", "corrupt", |one| one.write(one.leaf("records"), 8, &0xfff0_u16.to_be_bytes())),
    ("rows in the wrong order", "corrupt", |one| {
        let leaf = one.leaf("provenance");
        let page = one.read(leaf);
        one.write(leaf, 8, &[page[10], page[11], page[8], page[9]]);
    }),
    ("keys in the wrong order", "corrupt", |one| {
        let leaf = one.leaf("keyed");
        let page = one.read(leaf);
        one.write(leaf, 8, &[page[10], page[11], page[8], page[9]]);
    }),
    ("a list of free bytes that leads nowhere", "corrupt", |one| {
        one.write(one.leaf("records"), 1, &5_u16.to_be_bytes())
    }),
    ("a child that belongs to another table", "corrupt", |one| {
        let stranger = u32::try_from(one.leaf("provenance")).unwrap();
        one.write(one.root("records"), 8, &stranger.to_be_bytes());
    }),
    ("a child beyond the end of the file", "corrupt", |one| {
        one.write(one.root("records"), 8, &0x00ff_ffff_u32.to_be_bytes())
    }),
    ("an overflow chain that ends early", "corrupt", |one| one.write(one.overflow(), 0, &[0; 4])),
    ("an overflow chain that goes in a circle", "corrupt", |one| {
        let first = one.overflow();
        one.write(first, 0, &u32::try_from(first).unwrap().to_be_bytes());
    }),
    ("noise over the list of free pages", "corrupt", |one| one.write(u32_at(&one.read(1), 32) as usize, 0, &noise())),
    ("a wrong count of free pages", "corrupt", |one| {
        let count = u32_at(&one.read(1), 36);
        one.write(1, 36, &(count + 3).to_be_bytes());
    }),
    ("a list of free pages that was lost", "corrupt", |one| one.write(1, 32, &[0; 8])),
    ("a header that counts too few pages", "corrupt", |one| {
        let pages = u32::try_from(one.pages()).unwrap();
        one.write(1, 28, &(pages - 9).to_be_bytes());
    }),
    ("a file that was cut off", "truncated", |one| {
        let file = fs::OpenOptions::new().write(true).open(&one.path).unwrap();
        file.set_len(((one.pages() - 9) * PAGE) as u64).unwrap();
    }),
    ("an index that begins on another's page", "corrupt", |one| {
        one.sql("UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'records_code') WHERE name = 'records_kind'");
    }),
    ("a schema that cannot be read", "corrupt", |one| {
        one.sql("UPDATE sqlite_schema SET sql = 'CREATE TALBE' WHERE name = 'exact'")
    }),
    ("rows that are missing from an index", "index-damaged", |one| {
        one.misled(
            "records_kind",
            "(kind, code)",
            "(kind, code) WHERE 0",
            "INSERT INTO records SELECT 'new' || code, kind, code + 90000, payload FROM records LIMIT 50",
        );
    }),
    ("an index with rows that are gone", "index-damaged", |one| {
        one.misled("records_kind", "(kind, code)", "(kind, code) WHERE 0", "DELETE FROM records WHERE rowid = 4711");
    }),
    ("two rows with one unique value", "index-damaged", |one| {
        one.misled(
            "records_code",
            "CREATE UNIQUE",
            "CREATE",
            "INSERT INTO records VALUES ('twin', 'kind 1', 17, NULL)",
        );
    }),
    ("NULL where it is not allowed", "constraint-violated", |one| {
        one.misled("records", "kind TEXT NOT NULL", "kind TEXT", "UPDATE records SET kind = NULL WHERE code = 17");
    }),
    ("text in a column for numbers", "constraint-violated", |one| {
        one.misled("exact", "a INTEGER", "a TEXT", "UPDATE exact SET a = 'seventeen' WHERE rowid = 17");
    }),
    ("a full-text index that lacks a row", "virtual-table-damaged", |one| {
        one.sql("DELETE FROM words_content WHERE id = 17")
    }),
];

/// The codes of all findings that are errors.
fn errors(report: &Value) -> Vec<String> {
    let findings = report["checks"].as_array().unwrap().iter().flat_map(|check| check["findings"].as_array().unwrap());
    findings.filter(|one| one["status"] == "error").map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_kind_of_damage_is_found() {
    for auto_vacuum in [false, true] {
        let ran = DamagedDatabase::new(auto_vacuum).place.run(["check", "--format", "json"]);
        assert_eq!((ran.code, errors(&ran.report())), (0, Vec::new()), "the healthy registry: {}", ran.stdout);
    }
    let mut missed = Vec::new();
    let mut look = |name: &str, code: &str, patient: &DamagedDatabase| {
        assert_ne!(fs::read(&patient.path).unwrap(), healthy(false), "{name}: nothing was damaged");
        let ran = patient.place.run(["check", "--format", "json"]);
        let found = errors(&ran.report());
        if ran.code != 1 || !found.iter().any(|found| found == code) {
            missed.push(format!(
                "{name}: exit {}, {found:?}: {}",
                ran.code,
                entry(&ran.report(), "integrity")["summary"]
            ));
        }
    };
    for (name, code, damage) in KINDS {
        let patient = DamagedDatabase::new(false);
        damage(&patient);
        look(name, code, &patient);
    }
    // Page 2 of a database with auto-vacuum says to whom the pages after it belong.
    let patient = DamagedDatabase::new(true);
    patient.write(2, 40, &[9; 25]);
    look("a wrong map of pages", "corrupt", &patient);
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn a_gate_holds_back_a_damaged_registry() {
    let patient = DamagedDatabase::new(false);
    patient.write(patient.leaf("records_kind"), 0, &noise());
    let ran = patient.place.run(["guard", "--", "echo", "started"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
}

#[test]
fn a_damaged_log_is_found_before_it_is_recovered() {
    let patient = DamagedDatabase::new(false);
    let _registry = OtherProcess::open(
        &patient.path,
        "PRAGMA wal_autocheckpoint = 0; UPDATE provenance SET body = zeroblob(300) WHERE seq < 400",
    );
    let ran = patient.place.run(["check", "--format", "json"]);
    assert_eq!((ran.code, errors(&ran.report())), (0, Vec::new()), "{}", ran.stdout);
    // A bit of the text of a row: the structure holds, and nothing but the checksum tells.
    let log = patient.place.path("registry.sqlite-wal");
    let file = fs::OpenOptions::new().read(true).write(true).open(&log).unwrap();
    let at = 32 + 24 + PAGE as u64 - 8;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let ran = patient.place.run(["check", "--only", "integrity", "--format", "json"]);
    assert_eq!((ran.code, errors(&ran.report())), (1, vec!["wal-damaged".to_owned()]), "{}", ran.stdout);
}
