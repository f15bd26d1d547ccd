//! Backups and restores of real databases, good, odd and damaged, through the room's own functions.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests make, damage and list their own files, and say what they skip"
)]

mod archives;
mod attempts;
mod catalog;
mod check;
mod damage;
mod destinations;
mod include;
mod interrupted;
mod kinds;
mod meddled;
mod owners;
mod preflight;
mod reverify;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    CreatedBackup, Error, ErrorKind, IncludeDestination, MustMatch, Progress, Request, RestoreRequest, Restored,
    Silent, TableNames, UndoRequest, Undone, create, prepare, undo,
};
use vitalsign_archive::Compression;
use vitalsign_base::clock::{FixedClock, Timestamp};
use vitalsign_sqlite::TransactionLimits;

/// Whether everything is tried, or a share of it that takes seconds.
pub(super) fn is_long() -> bool {
    std::env::var_os("VITALSIGN_TORTURE").is_some_and(|value| value == "long")
}

pub(super) fn at(text: &str) -> FixedClock {
    FixedClock(text.parse::<Timestamp>().unwrap())
}

/// A folder with a registry at `r.sqlite` and archives in `out`.
pub(super) struct TestRegistry {
    pub(super) folder: TempDir,
}

/// The tables of [`REGISTRY`].
pub(super) const TABLES: TableNames<'static> = TableNames { records: "records", provenance: "provenance" };

/// Restores, or rehearses it.
pub(super) fn restore(
    request: &RestoreRequest<'_>,
    clock: &FixedClock,
    progress: &dyn Progress,
) -> Result<Restored, Error> {
    let prepared = prepare(request, progress)?;
    if request.dry_run { Ok(prepared.expected().clone()) } else { prepared.complete(clock) }
}

/// A small registry with a row of everything.
pub(super) const REGISTRY: &str = "
    CREATE TABLE records(id TEXT PRIMARY KEY, payload TEXT);
    CREATE TABLE provenance(seq INTEGER PRIMARY KEY, record_id TEXT, b BLOB, n INTEGER, r REAL);
    PRAGMA user_version = 7; PRAGMA application_id = 1234567;
    INSERT INTO records VALUES ('a', '{}'), ('b', 'x');
    INSERT INTO provenance VALUES (1, 'a', x'00ff', 9223372036854775807, 0.1),
                                  (5, 'b', NULL, -9223372036854775808, 9e999),
                                  (6, CAST(x'ff' AS TEXT), zeroblob(3), 0, -0.0);";

impl TestRegistry {
    pub(super) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A registry that `sql` made, cleanly closed.
    pub(super) fn with(sql: &str) -> Self {
        let bench = Self::empty();
        bench.sql(sql);
        bench
    }

    pub(super) fn sql(&self, sql: &str) {
        let conn = Connection::open(self.db()).unwrap();
        conn.execute_batch(sql).unwrap();
        conn.close().unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn db(&self) -> PathBuf {
        self.path("r.sqlite")
    }

    pub(super) fn back_up(&self, change: impl FnOnce(&mut Request<'_>)) -> Result<CreatedBackup, Error> {
        self.back_up_of(&self.db(), &self.path("out"), change)
    }

    /// How many archives are in `out`, whatever else is there.
    pub(super) fn archives(&self) -> usize {
        super::list(&self.path("out"), false).unwrap().len()
    }

    /// Backs `db` up into `out`.
    pub(super) fn back_up_of(
        &self,
        db: &Path,
        out: &Path,
        change: impl FnOnce(&mut Request<'_>),
    ) -> Result<CreatedBackup, Error> {
        self.back_up_all((db, out), &Silent, change)
    }

    pub(super) fn back_up_with(
        &self,
        progress: &dyn Progress,
        change: impl FnOnce(&mut Request<'_>),
    ) -> Result<CreatedBackup, Error> {
        self.back_up_all((&self.db(), &self.path("out")), progress, change)
    }

    #[allow(clippy::unused_self, reason = "as its callers are called")]
    fn back_up_all(
        &self,
        (db, out): (&Path, &Path),
        progress: &dyn Progress,
        change: impl FnOnce(&mut Request<'_>),
    ) -> Result<CreatedBackup, Error> {
        let scratch = std::env::temp_dir();
        let mut request = Request {
            db,
            identity: None,
            out,
            tag: None,
            compression: Compression::Gzip,
            level: None,
            raw: false,
            verify: true,
            despite_other_writers: false,
            accept_fewer_rows: false,
            wait: Duration::ZERO,
            limits: TransactionLimits { time: Duration::from_secs(600), wal_growth: 1 << 30 },
            records_table: "records",
            provenance_table: "provenance",
            include: &[],
            scratch: &scratch,
        };
        change(&mut request);
        create(&request, &at("2026-11-24T12:00:00Z"), progress)
    }

    /// Restores to `name`, with the export beside it.
    pub(super) fn restored(
        &self,
        archive: &Path,
        name: &str,
        change: impl FnOnce(&mut RestoreRequest<'_>),
    ) -> Result<Restored, Error> {
        let (db, log, scratch) = (self.path(name), self.path(&format!("{name}.jsonl")), std::env::temp_dir());
        let mut request = RestoreRequest {
            archive,
            db: &db,
            log: &log,
            force: false,
            schema_version: None,
            must_match: MustMatch::Content,
            identity: None,
            tables: TABLES,
            dry_run: false,
            despite_faults: false,
            include: IncludeDestination::Beside,
            scratch: &scratch,
        };
        change(&mut request);
        restore(&request, &at("2026-11-24T13:00:00Z"), &Silent)
    }

    /// Brings back what the last restore to `name` replaced.
    pub(super) fn undone(&self, name: &str) -> Result<Undone, Error> {
        let (db, scratch) = (self.path(name), std::env::temp_dir());
        let request = UndoRequest { db: &db, log: None, include: &[], scratch: &scratch };
        undo(&request, &at("2026-11-24T14:00:00Z"))
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Every name below the folder with its content, to show that nothing has changed.
    pub(super) fn everything(&self) -> Vec<(PathBuf, Option<Vec<u8>>)> {
        let mut out = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if fs::symlink_metadata(&path).unwrap().is_dir() {
                    folders.push(path.clone());
                    out.push((path, None));
                } else {
                    out.push((path.clone(), fs::read(&path).ok()));
                }
            }
        }
        out.sort();
        out
    }
}

/// The whole content of a database as text, rowids and pragmas included.
pub(super) fn content(path: &Path) -> String {
    let conn = Connection::open(path).unwrap();
    let pragma = |name: &str| {
        let value: rusqlite::types::Value = conn.pragma_query_value(None, name, |row| row.get(0)).unwrap();
        format!("{name} {value:?}\n")
    };
    let names =
        ["user_version", "application_id", "encoding", "auto_vacuum", "page_size", "page_count", "journal_mode"];
    let mut text: String = names.map(pragma).concat();
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for table in tables {
        let mut rows = conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = rows.column_count();
        let lines = rows.query_map([], |row| {
            let shown = |at| match row.get_ref(at).unwrap() {
                rusqlite::types::ValueRef::Text(bytes) => format!("{:?} ", String::from_utf8_lossy(bytes)),
                other => format!("{other:?} "),
            };
            Ok((0..columns).map(shown).collect::<String>())
        });
        for line in lines.unwrap() {
            text += &format!("{table}: {}\n", line.unwrap());
        }
    }
    text
}

/// What the failure is and says, the folder's own name taken out.
pub(super) fn told<T: std::fmt::Debug>(bench: &TestRegistry, found: Result<T, Error>) -> (ErrorKind, String) {
    let failure = found.unwrap_err();
    let real = fs::canonicalize(bench.folder.path()).unwrap();
    let text = failure.to_string().replace(real.to_str().unwrap(), "DIR");
    (failure.kind(), text.replace(bench.folder.path().to_str().unwrap(), "DIR"))
}
