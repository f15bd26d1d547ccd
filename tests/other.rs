//! Another program that has a database open: this test program once more, as a process of its own.
//!
//! Locks, logs and hot journals only behave as they do in the field when they belong to another process. Used by the
//! end-to-end suite and by the tests of the `sqlite` room.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it opens the database itself and answers over its standard output; each suite uses its own part"
)]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Names the database to the other process.
const VARIABLE: &str = "VITALSIGN_TEST_OTHER_PROCESS";

/// What it answers once it has done something.
const DONE: &str = "@done";

/// Stands before SQL that it runs over and over, until it is killed.
const FOREVER: &str = "@forever ";

/// The other process.
pub(crate) struct OtherProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl OtherProcess {
    /// Starts it, has it open `database` and run `sql`.
    pub(crate) fn open(database: &Path, sql: &str) -> Self {
        let (_, place) = module_path!().split_once("::").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{place}::other_process"), "--nocapture"])
            .env(VARIABLE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut other = Self { child, stdin: Some(stdin), stdout };
        other.sql(sql);
        other
    }

    /// Has it run `sql`, and waits until it has.
    pub(crate) fn sql(&mut self, sql: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{}", sql.replace('\n', " ")).unwrap();
        let mut line = String::new();
        while !line.ends_with(&format!("{DONE}\n")) {
            line.clear();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the other process ended");
        }
    }

    /// Has it run `sql` over and over from now on; returns once it has run it for the first time. After that it can only be killed.
    pub(crate) fn forever(&mut self, sql: &str) {
        self.sql(&format!("{FOREVER}{sql}"));
    }

    /// Its number among the processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a crash would: nothing is checkpointed, nothing is cleaned up.
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

/// The body of the other process; as a test among others it does nothing.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let conn = rusqlite::Connection::open(path).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let repeated = line.strip_prefix(FOREVER);
        conn.execute_batch(repeated.unwrap_or(&line)).unwrap();
        println!("{DONE}");
        while let Some(sql) = repeated {
            conn.execute_batch(sql).unwrap();
        }
    }
    conn.close().unwrap();
}
