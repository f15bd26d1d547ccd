//! Scenes for tests: a folder with a database in it, other processes that use it, and a witness that nothing changed.
//!
//! The other process is this test binary again: locks, logs and hot journals only behave as they do in the field when
//! they belong to another process.

#![allow(clippy::disallowed_methods, reason = "tests make, damage and list their own files")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::Registry;
use crate::clock::Deadline;

const PATH_VARIABLE: &str = "VITALSIGN_TEST_OTHER_PROCESS";
const DONE: &str = "@done";

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

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(self.path())
    }

    /// Runs `sql` as another program would, and closes the database.
    pub(crate) fn sql(&self, sql: &str) {
        let conn = Connection::open(self.path()).unwrap();
        conn.execute_batch(sql).unwrap();
        conn.close().unwrap();
    }

    /// Another process with the database open, which has run `sql`.
    pub(crate) fn other_process(&self, sql: &str) -> OtherProcess {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::testing::other_process", "--ignored", "--nocapture"])
            .env(PATH_VARIABLE, self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut other = OtherProcess { child, stdin: Some(stdin), stdout };
        other.sql(sql);
        other
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
    pub(crate) fn unchanged<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        let before = self.listing();
        let registry = self.registry();
        let found = look(&registry);
        registry.pool.close_idle();
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

/// Another process that has the database open.
pub(crate) struct OtherProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl OtherProcess {
    /// Has it run `sql` (on one line), and waits until it has.
    pub(crate) fn sql(&mut self, sql: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{}", sql.replace('\n', " ")).unwrap();
        let mut line = String::new();
        while !line.ends_with(&format!("{DONE}\n")) {
            line.clear();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the other process ended");
        }
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it close the database and end.
    pub(crate) fn close(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
#[ignore = "not a test: the other process of those that need one"]
#[allow(clippy::print_stdout, reason = "it answers over its standard output")]
fn other_process() {
    let Some(path) = std::env::var_os(PATH_VARIABLE) else { return };
    let conn = Connection::open(path).unwrap();
    for line in std::io::stdin().lines() {
        conn.execute_batch(&line.unwrap()).unwrap();
        println!("{DONE}");
    }
    conn.close().unwrap();
}
