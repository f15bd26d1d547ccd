//! Uses the tarball as a stranger would, in a root that holds nothing else: no Rust, no C library, no shell.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use crate::{
    Result,
    tool::{at, output, run, say},
};

/// Unpacks the tarball into an empty root, and there checks, backs up and restores a database that it has never seen.
pub(super) fn empty_root(out: &Path) -> Result<()> {
    let start = Instant::now();
    let work = out.join("work/test");
    if work.exists() {
        at(&work, fs::remove_dir_all(&work))?;
    }
    let root = work.join("root");
    for folder in ["data", "tmp"] {
        at(&root, fs::create_dir_all(root.join(folder)))?;
    }
    run(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(out))?;
    run(Command::new("tar").arg("-xzf").arg(tarball(out)?).args(["--strip-components=1", "-C"]).arg(&root))?;
    let sql = "PRAGMA journal_mode = wal; CREATE TABLE notes(text); INSERT INTO notes VALUES ('one'), ('two');";
    output(Command::new("sqlite3").arg(root.join("data/app.db")).arg(sql))
        .map_err(|error| format!("{error}. Install it: `apt-get install sqlite3`"))?;

    let report = inside(&root, &["check", "--db", "/data/app.db"])?;
    let seconds = start.elapsed().as_secs_f64();
    let archive = inside(&root, &["backup", "--db", "/data/app.db", "--out", "/data/backups"])?;
    inside(&root, &["verify", archive.trim()])?;
    inside(&root, &["restore", archive.trim(), "--db", "/data/new.db", "--log", "/data/new.jsonl"])?;
    let rows = output(Command::new("sqlite3").arg(root.join("data/new.db")).arg("SELECT count(*) FROM notes"))?;
    if rows.trim() != "2" || !report.starts_with("OK") {
        return Err(format!("in an empty root, {} rows of 2 came back, and the report is:\n{report}", rows.trim()));
    }
    say(&format!("from the tarball to the first report in an empty root: {seconds:.1} s"));
    Ok(())
}

/// Runs the binary in the root, which holds nothing else that could run.
fn inside(root: &Path, words: &[&str]) -> Result<String> {
    output(Command::new("unshare").args(["--map-root-user", "chroot"]).arg(root).arg("/vitalsign").args(words))
}

fn tarball(out: &Path) -> Result<PathBuf> {
    let mut names = at(out, fs::read_dir(out))?.filter_map(std::result::Result::ok).map(|entry| entry.path());
    let is_tarball = |path: &PathBuf| path.to_string_lossy().ends_with("x86_64-unknown-linux-musl.tar.gz");
    names.find(is_tarball).ok_or_else(|| format!("no tarball in {}; run `cargo xtask dist`", out.display()))
}
