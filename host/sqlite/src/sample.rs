//! Makes a registry with sample rows: what `vitalsign demo` shows, and what tests and benchmarks look at.
//!
//! The one place in this crate that writes a database, and only a new one. The rows are the same for the same number.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use vitalsign_base::value::Digest;

/// The tables of a registry in the default shape.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA user_version = 1;
    CREATE TABLE records (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        payload TEXT NOT NULL, created_at TEXT NOT NULL
    );
    CREATE TABLE provenance (
        seq INTEGER PRIMARY KEY, record_id TEXT NOT NULL REFERENCES records (id), action TEXT NOT NULL,
        actor TEXT NOT NULL, at TEXT NOT NULL, digest TEXT NOT NULL, prev_digest TEXT
    );
    CREATE INDEX provenance_record ON provenance (record_id);
";

/// How the schema says that each provenance row belongs to a record.
const REFERENCE: &str = " REFERENCES records (id)";

/// Whether the sample declares its foreign key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// As in the demo.
    Declared,
    /// As in registries that keep to it without saying so.
    None,
}

const KINDS: [&str; 3] = ["schema", "model", "asset"];
const NAMES: [&str; 8] =
    ["invoice", "customer-profile", "churn-model", "price-list", "logo", "address", "fraud-score", "delivery-note"];
const TEAMS: [&str; 4] = ["billing", "growth", "risk", "logistics"];

/// Makes a registry of `records` records, each with a link in the chain of provenance, in a new file.
///
/// # Errors
/// What SQLite says, as a sentence; also when the file exists.
pub fn create(path: &Path, records: u32, keys: Keys) -> Result<(), String> {
    if path.exists() {
        return Err(format!("{} exists already", path.display()));
    }
    fill(path, records, keys).map_err(|error| format!("cannot make {}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "a new database that nobody else has open")]
fn fill(path: &Path, records: u32, keys: Keys) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut database = Connection::open_with_flags(path, flags)?;
    database.execute_batch(&match keys {
        Keys::Declared => SCHEMA.to_owned(),
        Keys::None => SCHEMA.replace(REFERENCE, ""),
    })?;
    let transaction = database.transaction()?;
    {
        let mut record = transaction.prepare("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut link = transaction.prepare(
            "INSERT INTO provenance (record_id, action, actor, at, digest, prev_digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut previous: Option<String> = None;
        for number in 0..records {
            let pick = |words: &[&'static str]| words[number as usize % words.len()];
            let content = Digest::of(&number.to_le_bytes());
            let id = format!("urn:registry:{:.16}", content.to_string());
            let at = format!(
                "2026-{:02}-{:02}T{:02}:{:02}:00Z",
                1 + number / 28 % 12,
                1 + number % 28,
                number % 24,
                number % 60
            );
            let (name, team) = (pick(&NAMES), pick(&TEAMS));
            let payload = format!(
                r#"{{"title":"{name}","owner":"{team}","sha256":"{content}","bytes":{},"tags":["{team}","v{}"],"about":"{}"}}"#,
                u64::from(number) * 977 % 1_000_003,
                number % 9,
                prose(number),
            );
            let version = format!("{}.{}.{}", number % 4, number % 10, number % 7);
            record.execute(params![id, pick(&KINDS), name, version, payload, at])?;
            let digest = Digest::of(format!("{}{id}", previous.as_deref().unwrap_or_default()).as_bytes()).to_string();
            let actor = format!("{team}@example.org");
            link.execute(params![id, "publish", actor, at, digest, previous])?;
            previous = Some(digest);
        }
    }
    transaction.commit()?;
    database.close().map_err(|(_, error)| error)
}

/// Some 550 bytes of words in an order of their own, so that rows compress like text and not like copies of each other.
fn prose(number: u32) -> String {
    const WORDS: [&str; 16] = [
        "the",
        "ledger",
        "of",
        "every",
        "published",
        "asset",
        "names",
        "its",
        "owner",
        "and",
        "digest",
        "before",
        "release",
        "to",
        "production",
        "systems",
    ];
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut words = Vec::with_capacity(96);
    for _ in 0..96 {
        // Xorshift: any sequence does that differs from row to row.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words.push(WORDS[(state >> 32) as usize % WORDS.len()]);
    }
    words.join(" ")
}
