//! Registries to measure on: one of rows as they are in the field, and one that is only large.

use std::path::Path;

use rusqlite::{Connection, params};
use vitalsign_base::value::Digest;

/// JSON in both tables, and an index that lies apart from the rows.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -262144;
    PRAGMA user_version = 1;
    CREATE TABLE records (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT,
        payload TEXT NOT NULL, created_at TEXT NOT NULL
    );
    CREATE TABLE provenance (
        seq INTEGER PRIMARY KEY, record_id TEXT NOT NULL, action TEXT NOT NULL, actor TEXT NOT NULL,
        at TEXT NOT NULL, digest TEXT NOT NULL, prev_digest TEXT, details TEXT
    );
    CREATE INDEX provenance_record ON provenance (record_id);
";

/// How many rows go into a transaction while a registry is made.
const BATCH: u32 = 20_000;

/// Bytes that are the same in every run and compress no better than random ones.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() >> 32).unwrap() % bound
    }

    /// So many hexadecimal digits.
    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.roll()));
        }
        text.truncate(digits);
        text
    }

    fn pick<'a>(&mut self, words: &'a [String]) -> &'a str {
        &words[self.below(words.len())]
    }

    fn phrase(&mut self, words: &[String], count: usize) -> String {
        let picked: Vec<_> = (0..count).map(|_| self.pick(words)).collect();
        picked.join(" ")
    }
}

/// A record and its link in the chain.
pub(crate) struct Row {
    id: String,
    kind: &'static str,
    name: String,
    version: String,
    payload: String,
    at: String,
    digest: String,
    previous: Option<String>,
    details: String,
}

impl Row {
    /// Adds it to the transaction that is open.
    pub(crate) fn insert(&self, database: &Connection) -> rusqlite::Result<()> {
        let Self { id, kind, name, version, payload, at, digest, previous, details } = self;
        let mut record = database.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        record.execute(params![id, kind, name, version, payload, at])?;
        let mut link = database.prepare_cached("INSERT INTO provenance VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        link.execute(params![id, "publish", "ci@example.org", at, digest, previous, details])?;
        Ok(())
    }
}

/// Makes rows.
pub(crate) struct Rows {
    dice: Dice,
    words: Vec<String>,
    number: u32,
    previous: Option<String>,
}

impl Rows {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let words = (0..4000)
            .map(|_| {
                let length = 3 + dice.below(7);
                dice.hex(length)
            })
            .collect();
        Self { dice, words, number: 0, previous: None }
    }

    pub(crate) fn next(&mut self) -> Row {
        let Self { dice, words, number, previous } = self;
        let id = format!("urn:reg:{}", dice.hex(32));
        let tags: Vec<_> = (0..4).map(|_| format!("\"{}\"", dice.pick(words))).collect();
        let payload = format!(
            r#"{{"title": "{}", "tags": [{}], "digest": "{}", "description": "{}", "size": {}, "url": "https://example.org/artifacts/{}"}}"#,
            dice.phrase(words, 8),
            tags.join(", "),
            dice.hex(64),
            dice.phrase(words, 40),
            1 + dice.below(1 << 30),
            dice.hex(16),
        );
        let (day, hour, minute) = (1 + *number % 28, *number % 24, *number % 60);
        *number += 1;
        let digest = Digest::of(format!("{}{id}", previous.as_deref().unwrap_or_default()).as_bytes()).to_string();
        Row {
            kind: ["schema", "model", "asset"][dice.below(3)],
            name: dice.pick(words).to_owned(),
            version: format!("{}.{}.{}", dice.below(10), dice.below(21), dice.below(41)),
            payload,
            at: format!("2025-10-{day:02}T{hour:02}:{minute:02}:{minute:02}Z"),
            details: format!(r#"{{"commit": "{}"}}"#, dice.hex(40)),
            previous: previous.replace(digest.clone()),
            digest,
            id,
        }
    }
}

/// Makes a registry of so many records, checkpointed and closed.
pub(crate) fn make(path: &Path, rows: u32) {
    let database = Connection::open(path).unwrap();
    database.execute_batch(SCHEMA).unwrap();
    let mut source = Rows::new(7);
    for start in (0..rows).step_by(BATCH as usize) {
        database.execute_batch("BEGIN").unwrap();
        (start..rows.min(start + BATCH)).for_each(|_| source.next().insert(&database).unwrap());
        database.execute_batch("COMMIT").unwrap();
    }
    close(database);
}

/// Makes a database of 8 GiB: an eighth of it cannot be compressed, so that the archive is large too.
pub(crate) fn make_large(path: &Path) {
    let database = Connection::open(path).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF;
             PRAGMA user_version = 1;
             CREATE TABLE records (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
             INSERT INTO records
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 8192)
             SELECT n, CASE n % 8 WHEN 0 THEN randomblob(1048576) ELSE zeroblob(1048576) END FROM number;
             PRAGMA journal_mode = WAL;",
        )
        .unwrap();
    close(database);
}

/// Leaves one file, and all of it on disk.
fn close(database: Connection) {
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    database.close().unwrap();
    rustix::fs::sync();
}
