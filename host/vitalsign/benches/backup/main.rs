//! Backup and restore against the programs that people use instead, on a registry of about 1 GB, turn about in one run.
//!
//! Needs `sqlite3`, GNU `tar`, `gzip`, `pigz`, `zstd` and GNU `time`; measures what it can without one, and fails in the end.
//! `VITALSIGN_BENCH_RUNS` is how often each side runs (5), `VITALSIGN_BENCH_ROWS` how many records there are, and
//! `VITALSIGN_BENCH_LARGE=1` adds the memory at 8 GiB, for which 20 GB of disk have to be free.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

mod bare;
mod registry;
mod writer;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;
use vitalsign_archive::Compression;

use writer::{Commit, Writer};

/// Some 1 GB.
const ROWS: u32 = 800_000;

/// The programs that are needed, which are also the names of their packages.
const PROGRAMS: [&str; 6] = ["sqlite3", "tar", "gzip", "pigz", "zstd", "time"];

/// The database's name, in its folder and in the peers' archives.
const DATABASE: &str = "registry.sqlite";

/// A way to make an archive of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// `vitalsign backup` with these words.
    Ours(&'static [&'static str]),
    /// `sqlite3 .backup`, then `tar` through this program.
    Peer(&'static str),
}

const OURS: Way = Way::Ours(&["--no-verify"]);
const OURS_ZSTD: Way = Way::Ours(&["--no-verify", "--compression", "zstd"]);
const OURS_PROVEN: Way = Way::Ours(&[]);
const GZIP: Way = Way::Peer("gzip");
const PIGZ: Way = Way::Peer("pigz -6");
const ZSTD: Way = Way::Peer("zstd -3 -T0");

/// The ways, ours and others' in turn.
const WAYS: [Way; 6] = [OURS, GZIP, OURS_ZSTD, ZSTD, OURS_PROVEN, PIGZ];

/// How many times as fast the first has to be as the second.
const RACES: [(Way, Way, &str); 4] =
    [(OURS, GZIP, "≥ 4.5"), (OURS, PIGZ, "≥ 2.2"), (OURS_ZSTD, ZSTD, "≥ 1"), (OURS_PROVEN, GZIP, "≥ 3")];

impl Way {
    fn name(self) -> String {
        match self {
            Self::Ours(words) => format!("`{}`", [&["backup"], words].concat().join(" ")),
            Self::Peer("gzip") => "`sqlite3 .backup`, `tar czf`".to_owned(),
            Self::Peer(packer) => format!("`sqlite3 .backup`, `tar -I '{packer}'`"),
        }
    }

    /// The flags of ours.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Ours(words) => words,
            Self::Peer(_) => &[],
        }
    }

    fn needs(self) -> Vec<&'static str> {
        match self {
            Self::Ours(_) => Vec::new(),
            Self::Peer(packer) => ["sqlite3", "tar"].into_iter().chain(packer.split(' ').take(1)).collect(),
        }
    }
}

/// An archive, how large it is, and how long it took to make.
struct Made {
    path: PathBuf,
    bytes: u64,
    took: Duration,
}

struct Bench {
    folder: TempDir,
    database: PathBuf,
    runs: usize,
    missing: Vec<&'static str>,
}

fn main() {
    // Where cargo builds is a disk; where temporary files go is often memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !is_there(program)).collect();
    for program in &missing {
        eprintln!("`{program}` is missing, and what needs it is not measured (Debian: apt-get install {program})");
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().unwrap());
    let runs = number("VITALSIGN_BENCH_RUNS").map_or(5, |runs| runs as usize);
    let bench = Bench { database: folder.path().join(DATABASE), folder, runs, missing };
    registry::make(&bench.database, number("VITALSIGN_BENCH_ROWS").unwrap_or(ROWS));
    let size = gigabytes(&bench.database);
    let last = bench.backups(&size);
    bench.restores(&last);
    bench.sizes(&last);
    bench.against_libraries(&size);
    bench.memory(&bench.database, &size);
    bench.under_load(&size);
    if std::env::var_os("VITALSIGN_BENCH_LARGE").is_some() {
        let large = bench.folder.path().join("large.sqlite");
        registry::make_large(&large);
        bench.memory(&large, &gigabytes(&large));
    }
    assert!(bench.missing.is_empty(), "not all was measured, for want of {}", bench.missing.join(", "));
}

impl Bench {
    fn has(&self, programs: &[&str]) -> bool {
        !programs.iter().any(|program| self.missing.contains(program))
    }

    /// An empty folder of this name; what was in it is gone.
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        // Nobody pays for what the one before has left to be written.
        rustix::fs::sync();
        path
    }

    /// The product, away from anybody's configuration.
    fn vitalsign(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitalsign"));
        command.current_dir(self.folder.path()).env_remove("VITALSIGN_CONFIG");
        command
    }

    fn backup(&self, database: &Path, out: &Path, words: &[&str]) -> Made {
        let mut command = self.vitalsign();
        command.args(["backup", "--db"]).arg(database).arg("--out").arg(out).args(words);
        let start = Instant::now();
        let path = PathBuf::from(output(&mut command).trim());
        Made { bytes: fs::metadata(&path).unwrap().len(), path, took: start.elapsed() }
    }

    fn make(&self, way: Way, out: &Path) -> Made {
        let packer = match way {
            Way::Ours(words) => return self.backup(&self.database, out, words),
            Way::Peer(packer) => packer,
        };
        let (copy, path) = (out.join(DATABASE), out.join("archive"));
        let start = Instant::now();
        output(Command::new("sqlite3").arg(&self.database).arg(format!(".backup '{}'", copy.display())));
        output(Command::new("tar").arg("-C").arg(out).args(["-I", packer, "-cf"]).arg(&path).arg(DATABASE));
        let took = start.elapsed();
        fs::remove_file(copy).unwrap();
        Made { bytes: fs::metadata(&path).unwrap().len(), path, took }
    }

    /// Every way to make an archive; gives the last of each.
    fn backups(&self, size: &str) -> BTreeMap<Way, Made> {
        let (mut last, mut times) = (BTreeMap::new(), BTreeMap::<Way, Vec<Duration>>::new());
        for _ in 0..self.runs {
            for (number, way) in WAYS.into_iter().enumerate().filter(|(_, way)| self.has(&way.needs())) {
                let made = self.make(way, &self.fresh(&format!("way-{number}")));
                times.entry(way).or_default().push(made.took);
                last.insert(way, made);
            }
        }
        let medians: BTreeMap<Way, f64> = times.into_iter().map(|(way, times)| (way, median(times))).collect();
        for way in WAYS {
            if let Some(took) = medians.get(&way) {
                figure(&format!("{}, {size}, median", way.name()), *took, "s", "");
            }
        }
        for (ours, peer, target) in RACES {
            if let (Some(ours_took), Some(peer_took)) = (medians.get(&ours), medians.get(&peer)) {
                let name = format!("{} against {}", ours.name(), peer.name());
                figure(&name, peer_took / ours_took, "times as fast", target);
            }
        }
        last
    }

    /// A restore, which proves what it restores, against unpacking and a look at the structure.
    fn restores(&self, archives: &BTreeMap<Way, Made>) {
        let Some(theirs) = archives.get(&GZIP) else { return };
        let (mut ours_took, mut peer_took) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let to = self.fresh("restored");
            let start = Instant::now();
            output(&mut self.restore(&archives[&OURS].path, &to));
            ours_took.push(start.elapsed());
            let to = self.fresh("unpacked");
            let start = Instant::now();
            output(Command::new("tar").arg("-xzf").arg(&theirs.path).arg("-C").arg(&to));
            let found = output(Command::new("sqlite3").arg(to.join(DATABASE)).arg("PRAGMA integrity_check"));
            peer_took.push(start.elapsed());
            assert_eq!(found, "ok\n");
        }
        for name in ["restored", "unpacked"] {
            self.fresh(name);
        }
        let (ours, peer) = (median(ours_took), median(peer_took));
        figure("`restore`, its proof included, median", ours, "s", "");
        figure("`tar xzf`, `PRAGMA integrity_check`, median", peer, "s", "");
        figure("`restore` against `tar xzf`, `PRAGMA integrity_check`", peer / ours, "times as fast", "≥ 3");
    }

    fn restore(&self, archive: &Path, to: &Path) -> Command {
        let mut command = self.vitalsign();
        command.arg("restore").arg("--archive").arg(archive).arg("--db").arg(to.join(DATABASE));
        command.arg("--log").arg(to.join("provenance.jsonl"));
        command
    }

    /// An archive of ours holds the export too, which the usual `tar czf` does not: both comparisons are told.
    fn sizes(&self, archives: &BTreeMap<Way, Made>) {
        let Some(theirs) = archives.get(&GZIP) else { return };
        let ours = &archives[&OURS];
        let bytes = |path: &Path| fs::metadata(path).unwrap().len();
        let share = |ours: u64, peer: u64| ours as f64 / peer as f64;
        figure(
            "archive, export included, against `tar czf` of the database",
            share(ours.bytes, theirs.bytes),
            "×",
            "≤ 1",
        );
        let both = self.fresh("both");
        output(Command::new("tar").arg("-xzf").arg(&ours.path).arg("-C").arg(&both));
        let packed = both.join("archive");
        let mut tar = Command::new("tar");
        output(tar.arg("-C").arg(&both).arg("-czf").arg(&packed).args([DATABASE, "provenance.jsonl"]));
        figure("archive against `tar czf` of the same content", share(ours.bytes, bytes(&packed)), "×", "≤ 1");
        let config = self.fresh("both").join("config.json");
        fs::write(&config, json!({ "registry": { "provenanceTable": "no_such_table" } }).to_string()).unwrap();
        let words = ["--no-verify", "--config", config.to_str().unwrap()];
        let alone = self.backup(&self.database, &self.fresh("alone"), &words);
        figure(
            "archive without the export against `tar czf` of the database",
            share(alone.bytes, theirs.bytes),
            "×",
            "",
        );
    }

    /// A backup against the libraries that compress it, with the same bytes on the same cores.
    fn against_libraries(&self, size: &str) {
        let unpacked = self.fresh("both");
        let archive = self.backup(&self.database, &self.fresh("measured"), OURS.words()).path;
        output(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked));
        let (database, export) = (unpacked.join(DATABASE), unpacked.join("provenance.jsonl"));
        let content = [database.as_path(), export.as_path()];
        let [gzip_level, zstd_level] =
            [Compression::Gzip, Compression::Zstd].map(|compression| i32::from(compression.usual_level()));
        let (mut gzip, mut deflate, mut zstd, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            gzip.push(self.backup(&self.database, &self.fresh("measured"), OURS.words()).took);
            deflate.push(bare::libdeflate(&content, gzip_level));
            zstd.push(self.backup(&self.database, &self.fresh("measured"), OURS_ZSTD.words()).took);
            bare.push(bare::read_and_zstd(&content, zstd_level));
        }
        for name in ["measured", "both"] {
            self.fresh(name);
        }
        let (deflate, bare) = (median(deflate), median(bare));
        figure(&format!("libdeflate alone on the same bytes, all cores, {size}, median"), deflate, "s", "");
        figure("`backup --no-verify` against libdeflate alone", median(gzip) / deflate, "×", "≤ 1.15");
        figure(&format!("reading the same bytes and zstd, all cores, {size}, median"), bare, "s", "");
        figure("`backup --no-verify --compression zstd` against reading and zstd", median(zstd) / bare, "×", "≤ 1.3");
    }

    fn memory(&self, database: &Path, size: &str) {
        if !self.has(&["time"]) {
            return;
        }
        let backup = |name: &str, words: &[&str]| {
            let out = self.fresh("measured");
            let mut command = self.vitalsign();
            command.args(["backup", "--db"]).arg(database).arg("--out").arg(&out).args(words);
            let (peak, said) = self.peak(&command);
            figure(&format!("peak memory of {name}, {size}"), peak, "MiB", "≤ 64");
            PathBuf::from(said.trim())
        };
        backup("`backup --compression zstd`, proof included", &["--compression", "zstd"]);
        let archive = backup("`backup`, proof included", &[]);
        let (peak, _) = self.peak(&self.restore(&archive, &self.fresh("restored")));
        figure(&format!("peak memory of `restore`, {size}"), peak, "MiB", "≤ 64");
        for name in ["measured", "restored"] {
            self.fresh(name);
        }
    }

    /// The most memory that a command has at a time, in MiB, and what it prints.
    fn peak(&self, command: &Command) -> (f64, String) {
        let told = self.folder.path().join("peak");
        let mut time = Command::new("time");
        time.args(["-f", "%M", "-o"]).arg(&told).arg(command.get_program()).args(command.get_args());
        let said = output(time.current_dir(self.folder.path()).env_remove("VITALSIGN_CONFIG"));
        (fs::read_to_string(told).unwrap().trim().parse::<f64>().unwrap() / 1024.0, said)
    }

    /// What a backup and a writer do to each other, on a copy that may grow.
    fn under_load(&self, size: &str) {
        let database = self.fresh("load").join(DATABASE);
        fs::copy(&self.database, &database).unwrap();
        let (mut idle, mut loaded) = (Vec::new(), Vec::new());
        let (mut alone_p99, mut beside_p99, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let took = self.backup(&database, &self.fresh("measured"), &["--no-verify"]).took;
            idle.push(took);
            self.fresh("measured");
            let writer = Writer::start(&database);
            std::thread::sleep(took);
            alone_p99.push(p99(&writer.end()));
            let out = self.fresh("measured");
            let writer = Writer::start(&database);
            loaded.push(self.backup(&database, &out, &["--no-verify"]).took);
            let commits = writer.end();
            rates.push(commits.len() as f64 / commits.last().map_or(1.0, |last| last.at.as_secs_f64()));
            beside_p99.push(p99(&commits));
        }
        let (idle, loaded) = (median(idle), median(loaded));
        let (alone, beside) = (median(alone_p99), median(beside_p99));
        rates.sort_by(f64::total_cmp);
        let rate = rates[rates.len() / 2];
        figure(&format!("`backup --no-verify` beside a writer, {size}, median"), loaded, "s", "");
        figure("`backup --no-verify` beside a writer against no writer", loaded / idle, "×", "≤ 1.25");
        figure("commits beside a backup, median", rate, "a second", "");
        figure("p99 of a commit without a backup, median of the runs", alone * 1e3, "ms", "");
        figure("p99 of a commit beside a backup, median of the runs", beside * 1e3, "ms", "");
        figure("p99 of a commit beside a backup against no backup", beside / alone, "×", "≤ 1.1");
    }
}

fn figure(name: &str, value: f64, unit: &str, target: &str) {
    println!("BENCH {}", json!({ "name": name, "value": value, "unit": unit, "target": target }));
}

/// The median in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn p99(commits: &[Commit]) -> Duration {
    let mut took: Vec<_> = commits.iter().map(|commit| commit.took).collect();
    took.sort();
    took[(took.len() - 1) * 99 / 100]
}

fn gigabytes(path: &Path) -> String {
    format!("{:.1} GB", fs::metadata(path).unwrap().len() as f64 / 1e9)
}

/// Runs a command to its end and gives what it prints.
fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a program can be started.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
