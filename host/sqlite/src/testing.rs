//! Scenes for tests: a folder with a database in it, other processes that use it, and a witness that nothing changed.

#![allow(clippy::disallowed_methods, reason = "tests make, damage and list their own files")]

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

#[path = "../../../tests/other.rs"]
mod other;

use other::OtherProcess;
use rusqlite::Connection;
use tempfile::TempDir;

use vitalsign_base::clock::Deadline;
use vitalsign_sqlite::Database;

/// A folder that holds `registry.db`.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a database that `sql` made, cleanly closed.
    pub(crate) fn with(sql: &str) -> Self {
        let scene = Self::empty();
        scene.sql(sql);
        scene
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("registry.db")
    }

    /// The path of the file beside the database under this suffix.
    pub(crate) fn side(&self, suffix: &str) -> PathBuf {
        self.folder().join(format!("registry.db{suffix}"))
    }

    pub(crate) fn registry(&self) -> Database {
        Database::new(self.path())
    }

    /// Runs `sql` as another program would, and closes the database.
    pub(crate) fn sql(&self, sql: &str) {
        let conn = Connection::open(self.path()).unwrap();
        conn.execute_batch(sql).unwrap();
        conn.close().unwrap();
    }

    /// Another process with the database open, which has run `sql`.
    pub(crate) fn other_process(&self, sql: &str) -> OtherProcess {
        Self::other_at(&self.path(), sql)
    }

    /// Another process that has opened the file at `path`, a second name of the database, and has run `sql`.
    pub(crate) fn other_at(path: &Path, sql: &str) -> OtherProcess {
        OtherProcess::open(path, sql)
    }

    /// Everything in the folder that a look could change, by name.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut lines: Vec<_> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                let stamp = (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.mode(), meta.uid());
                format!("{:?} {stamp:?}", entry.file_name())
            })
            .collect();
        lines.sort_unstable();
        lines
    }

    /// What `look` gives, having changed nothing in the folder.
    pub(crate) fn unchanged<T>(&self, look: impl FnOnce(&Database) -> T) -> T {
        let before = self.listing();
        let registry = self.registry();
        let found = look(&registry);
        registry.close_idle();
        drop(registry);
        assert_eq!(before, self.listing(), "a look changed the folder");
        found
    }

    /// `text` without the name of the folder, which differs from run to run.
    pub(crate) fn normal(&self, text: &str) -> String {
        let real = fs::canonicalize(self.folder()).unwrap();
        text.replace(real.to_str().unwrap(), "DIR").replace(self.folder().to_str().unwrap(), "DIR")
    }
}

/// A deadline that no test reaches.
pub(crate) fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}
