//! A page's commands, run one after the other in a folder of their own, and what they print held against the page.
//!
//! In a `console` block a line that begins with `$ ` is a command; the lines up to the next one are what it prints, when
//! they are given. `# exit 3` after a command is its exit code. `…` stands for anything within a line, alone on a line for
//! any lines. Times, ages, free space, digests and the stamps in the names of archives may differ from what the page shows.
//! That a component is compiled is not compared: whether it still has to be depends on what ran before.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rusqlite::{Connection, types::Value as SqlValue};

use super::page::{Block, Page, root};
use crate::env::{GUESTS, TestEnv};

/// The address that pages show; the server under test listens on a port of its own.
const SHOWN: &str = "127.0.0.1:8080";

/// What the name of an archive begins with; the time of its making comes next, up to a `Z`.
const ARCHIVE: &str = "registry-backup-";

/// The configuration that `cargo xtask demo` writes.
const DEMO: &str = include_str!("../../xtask/src/demo.config.json");

/// What the line of progress says about a component that is not in the cache yet.
const COMPILING: &str = " INFO compiling the component of the plugin ";

/// Where pages build: kept between runs of the suite, since most of it is the same as last time.
const BUILT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/docs");

/// How often a check is tried whose answer differs from the page: on a busy machine one look in many runs out of its 50 ms.
const TRIES: usize = 5;

/// A page that is being run.
pub struct Session {
    place: TestEnv,
    server: Option<Server>,
    wrong: Vec<String>,
}

/// One command of a page.
struct Step<'a> {
    command: &'a str,
    code: i32,
    expected: Vec<&'a str>,
}

struct Server {
    child: Child,
    address: String,
}

/// Runs every command of a page; what differs from the page comes back, one text for each command.
pub fn run(page: &Page) -> Vec<String> {
    let blocks = page.blocks();
    if !blocks.iter().any(|block| block.language == "console") {
        return Vec::new();
    }
    let mut session = Session { place: prepared(), server: None, wrong: Vec::new() };
    for block in &blocks {
        if let Some(file) = &block.file {
            session.place.write(file, block.text.replace("../vitalsign", &root().display().to_string()));
        }
        if block.language == "console" {
            for step in steps(&page.name, block) {
                session.step(&step, &format!("{}:{}", page.name, block.line));
            }
        }
    }
    session.stop();
    session.wrong
}

/// A folder as a reader has it: a registry, the example plugins, and the demo where `cargo xtask demo` puts it.
fn prepared() -> TestEnv {
    let place = TestEnv::empty();
    for folder in [".", "target/demo"] {
        assert_eq!(place.run(["demo", "--dir", folder]).code, 0);
        fs::create_dir_all(place.path(folder).join("plugins")).unwrap();
        for plugin in ["growth.wasm", "provenance_chain.wasm", "sql_assert.wasm"] {
            fs::copy(GUESTS.join(plugin), place.path(folder).join("plugins").join(plugin)).unwrap();
        }
    }
    place.write("target/demo/registry.config.json", DEMO);
    assert_eq!(place.run(["plugin", "lock", "--root", "target/demo"]).code, 0);
    assert_eq!(place.run(["backup", "--tag", "drill", "--root", "target/demo"]).code, 0);
    fs::create_dir_all(BUILT).unwrap();
    symlink(Path::new(BUILT).join("wasm32-wasip2"), place.path("target/wasm32-wasip2")).unwrap();
    fs::create_dir(place.path("target/debug")).unwrap();
    symlink(env!("CARGO_BIN_EXE_vitalsign"), place.path("target/debug/vitalsign")).unwrap();
    fs::copy(root().join("Cargo.lock"), place.path("Cargo.lock")).unwrap();
    // The database of a stranger, which Vitalsign knows nothing of.
    let notes = "PRAGMA journal_mode = wal; CREATE TABLE notes(text); INSERT INTO notes VALUES ('one'), ('two')";
    Connection::open(place.path("app.db")).unwrap().execute_batch(notes).unwrap();
    // Stands in for whatever a reader starts behind the gate.
    place.write(".bin/node", "#!/bin/sh\necho \"$1 is started\"\n");
    fs::set_permissions(place.path(".bin/node"), fs::Permissions::from_mode(0o755)).unwrap();
    place
}

fn steps<'a>(page: &str, block: &'a Block) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'a>> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(line), _) => {
                let (command, code) = line.split_once("# exit ").unwrap_or((line, "0"));
                steps.push(Step { command: command.trim(), code: code.trim().parse().unwrap(), expected: Vec::new() });
            }
            (None, Some(step)) => step.expected.push(line),
            (None, None) => panic!("{page}:{}: a console block begins with `$ `", block.line),
        }
    }
    steps
}

impl Session {
    fn step(&mut self, step: &Step<'_>, place: &str) {
        let tries = if step.command.contains("vitalsign check") { TRIES } else { 1 };
        let mut told = String::new();
        for _ in 0..tries {
            let (code, said) = self.outcome(step);
            let said = said.replace(&format!("{}/", self.place.folder().display()), "");
            let lines: Vec<&str> = said.trim_end().lines().filter(|line| !line.contains(COMPILING)).collect();
            if code == step.code && (step.expected.is_empty() || fits(&step.expected, &lines)) {
                return;
            }
            told = format!("{place}: `{}` ends with {code} and prints\n{}\n", step.command, lines.join("\n"));
        }
        self.wrong.push(told);
    }

    /// The exit code of a command and all it printed.
    fn outcome(&mut self, step: &Step<'_>) -> (i32, String) {
        let line = step.command;
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "#").collect();
        match words.as_slice() {
            ["cargo", "xtask", verb, ..] => {
                let help = include_str!("../../xtask/src/main.rs");
                assert!(help.contains(&format!("\ncargo xtask {verb} ")), "`cargo xtask {verb}` is no command");
                (0, String::new())
            }
            // The host is what this suite runs; the target is what its guests are built for.
            ["cargo", "build", "--release"] | ["rustup", "target", "add", "wasm32-wasip2"] => (0, String::new()),
            ["cargo", ..] => finish(self.cargo(line).output().unwrap()),
            ["sqlite3", file, ..] => {
                let sql = line.split('"').nth(1).expect("the statement stands in double quotes");
                (0, answer(&self.place.path(file), sql))
            }
            _ if words.contains(&"serve") && step.code == 0 => (0, self.serve(line)),
            _ => {
                let address = self.server.as_ref().map_or(SHOWN, |server| server.address.as_str());
                let (code, said) = finish(self.bash(&line.replace(SHOWN, address)).output().unwrap());
                (code, said.replace(address, SHOWN))
            }
        }
    }

    /// A line of shell in the page's folder, with the environment of every other end-to-end test.
    fn bash(&self, line: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", line]).current_dir(self.place.folder()).stdin(Stdio::null()).env_clear();
        for (name, value) in self.place.command([""]).get_envs() {
            bash.env(name, value.unwrap_or_default());
        }
        let built = Path::new(env!("CARGO_BIN_EXE_vitalsign")).parent().unwrap();
        let stand_ins = self.place.path(".bin");
        bash.env("PATH", format!("{}:{}:{}", stand_ins.display(), built.display(), std::env::var("PATH").unwrap()));
        bash
    }

    /// Cargo in the page's folder, with the packages that are here already.
    fn cargo(&self, line: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", line]).current_dir(self.place.folder()).stdin(Stdio::null());
        bash.env("CARGO_TARGET_DIR", BUILT).env("CARGO_NET_OFFLINE", "true").env("CARGO_TERM_QUIET", "true");
        bash
    }

    /// Starts a server in place of the one before it, and waits until each check has run: a reader takes longer than that.
    fn serve(&mut self, line: &str) -> String {
        self.stop();
        let mut bash = self.bash(&format!("exec env {} --listen 127.0.0.1:0", line.trim_end_matches('&')));
        let mut child = bash.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("`{line}` ended: {said}"));
            said += &format!("{line}\n");
            if let Some((_, url)) = line.split_once("http://") {
                break url.split('/').next().unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let settled = (0..100_000).any(|_| !get(&address).contains("\"checked_at\":null"));
        assert!(settled, "every check runs");
        let said = said.replace(&address, SHOWN);
        self.server = Some(Server { child, address });
        said
    }

    /// Ends the server as Ctrl-C does.
    fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "the server ends well");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rows of one statement, as the `sqlite3` tool prints them; a machine need not have that tool.
fn answer(database: &Path, sql: &str) -> String {
    let database = Connection::open(database).unwrap();
    let mut statement = database.prepare(sql).unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut said = String::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |column: usize| match row.get::<_, SqlValue>(column).unwrap() {
            SqlValue::Null => String::new(),
            SqlValue::Integer(number) => number.to_string(),
            SqlValue::Real(number) => number.to_string(),
            SqlValue::Text(text) => text,
            SqlValue::Blob(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        said += &(0..columns).map(cell).collect::<Vec<_>>().join("|");
        said.push('\n');
    }
    said
}

fn finish(output: Output) -> (i32, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout) + &text(output.stderr))
}

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Whether lines are as the page shows them.
fn fits(expected: &[&str], said: &[&str]) -> bool {
    match expected {
        [] => said.is_empty(),
        // The empty line between a command's output and the next command belongs to the page.
        [""] => said.is_empty(),
        [line, rest @ ..] if line.trim() == "…" => (0..=said.len()).any(|skipped| fits(rest, &said[skipped..])),
        [line, rest @ ..] => said
            .split_first()
            .is_some_and(|(first, others)| line_fits(&steady(line), &steady(first)) && fits(rest, others)),
    }
}

fn line_fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|head| line.strip_prefix(head)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(tail) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(tail)
}

/// A line without what differs from run to run and from machine to machine.
fn steady(line: &str) -> String {
    // A list of archives begins with their ages, set to the right of a column that is as wide as the longest.
    let is_list = line.contains(ARCHIVE) || line.trim_start().starts_with("AGE ");
    let line = if is_list { line.trim() } else { line.trim_end() };
    let words: Vec<&str> = line.split(' ').collect();
    let at = |index: usize| words.get(index).copied().unwrap_or_default();
    let shown = words.iter().enumerate().map(|(index, word)| {
        let before = if index > 0 { at(index - 1) } else { "" };
        let is_time = word.len() >= 20 && word.contains('T') && word.ends_with('Z');
        let is_number = word.parse::<f64>().is_ok();
        let is_free = |index| at(index).starts_with("free");
        let is_size = (is_number && is_free(index + 2)) || is_free(index + 1);
        let is_version = before == "SQLite" && word.starts_with("3.");
        let is_unit = |word: &str| matches!(word, "ms" | "s");
        let is_duration = (is_number && is_unit(at(index + 1))) || (is_unit(word) && before.parse::<f64>().is_ok());
        if is_time || is_size || is_version || is_duration || before == "sha256" {
            "…".to_owned()
        } else {
            unstamped(word)
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A word without the time in the name of an archive.
fn unstamped(word: &str) -> String {
    let parts = word.split_once(ARCHIVE).and_then(|(before, rest)| Some((before, rest.split_once('Z')?.1)));
    parts.map_or_else(|| word.to_owned(), |(before, after)| format!("{before}{ARCHIVE}…Z{after}"))
}

#[test]
fn pages_are_compared_line_by_line() {
    assert!(fits(&["a … c", "…", "z"], &["a b c", "1", "2", "z"]));
    assert!(fits(&["72 GiB free, since 2026-01-01T00:00:00Z", ""], &["9.5 TiB free, since 2027-01-01T00:00:00Z"]));
    let shown = "  8.2 s  1.9 MiB  out/registry-backup-2026-11-24T19-15-56Z-a.tar.gz";
    assert!(fits(&[shown], &["31 ms  1.9 MiB  out/registry-backup-2027-01-01T00-00-00-2Z-a.tar.gz"]));
    assert!(!fits(&[shown], &["31 ms  1.9 MiB  out/registry-backup-2027-01-01T00-00-00Z-b.tar.gz"]));
    assert!(!fits(&["a … c"], &["a b d"]));
    assert!(!fits(&["a"], &["a", "b"]));
    assert!(!fits(&["a", "b"], &["a"]));
}
