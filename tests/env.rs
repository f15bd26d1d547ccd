//! What every end-to-end test works with: a folder of its own, a registry, a configuration, and the binary with nothing
//! inherited from the developer's environment.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{LazyLock, OnceLock},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use vitalsign_sqlite::sample;

/// The folder with every guest component, built once for the whole suite.
pub static GUESTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for packages in [
        ["-p", "provenance-chain", "-p", "sql-assert", "-p", "growth", "-p", "hostile"].as_slice(),
        &["-p", "bad-describe", "--examples"],
    ] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&root).args(["build", "--quiet", "--profile", "guest", "--target", "wasm32-wasip2"]);
        assert!(cargo.args(packages).status().unwrap().success(), "the guests build: `cargo xtask guests` says more");
    }
    target_folder().join("wasm32-wasip2/guest")
});

/// Says loudly that something could not be tried here, where a user may lack it. CI does not let it.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}, and CI must not skip");
    eprintln!("SKIPPED: {why}");
}

/// Where cargo puts what it builds: the binary under test lies in `target/<profile>/`.
fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_vitalsign")).ancestors().nth(2).unwrap().to_owned()
}

/// Compiled guests are kept for the length of the suite: compiling is what takes long.
fn cache() -> &'static Path {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    CACHE.get_or_init(|| target_folder().join("e2e-cache"))
}

/// What one run of the binary gave.
pub struct RunOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl RunOutput {
    /// The report that was printed as JSON.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

/// The entry of one check in a report.
pub fn entry<'a>(report: &'a Value, name: &str) -> &'a Value {
    let entries = report["checks"].as_array().unwrap();
    entries.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no entry {name} in {report:#}"))
}

/// A folder with what one test needs.
pub struct TestEnv {
    folder: TempDir,
}

impl TestEnv {
    /// An empty folder.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a registry of so many records at `registry.sqlite`.
    pub fn with_registry(records: u32) -> Self {
        let place = Self::empty();
        sample::create(&place.path("registry.sqlite"), records, sample::Keys::Declared).unwrap();
        place
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a configuration that the sample registry is healthy under, changed by `change`.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) {
        let mut config = json!({
            "dbPath": "registry.sqlite",
            "registry": { "expectedSchemaVersion": 1 },
            "health": { "minFreeBytes": 1 },
        });
        change(&mut config);
        self.write("registry.config.json", config.to_string());
    }

    /// The binary, in this folder, with a cleared environment.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitalsign"));
        command
            .args(args)
            .current_dir(self.folder())
            .env_clear()
            .env("HOME", self.folder().join("home"))
            .env("VITALSIGN_CACHE_DIR", cache())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> RunOutput {
        self.finish(self.command(args).output().unwrap())
    }

    /// What came out, with this test's own paths replaced.
    pub fn finish(&self, output: Output) -> RunOutput {
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(self.folder().to_str().unwrap(), "[folder]");
        RunOutput { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The report of one `check`.
    pub fn check(&self) -> Value {
        self.run(["check", "--format", "json"]).report()
    }

    /// Every file below the folder with what `stat` tells of it, to show that nothing was changed.
    pub fn listing(&self) -> Vec<String> {
        use std::os::unix::fs::MetadataExt;
        let mut out = Vec::new();
        let mut folders = vec![self.folder().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let facts = fs::symlink_metadata(&path).unwrap();
                out.push(format!(
                    "{} inode {} mode {:o} size {} modified {}.{}",
                    path.display(),
                    facts.ino(),
                    facts.mode(),
                    facts.size(),
                    facts.mtime(),
                    facts.mtime_nsec()
                ));
                if facts.is_dir() {
                    folders.push(path);
                }
            }
        }
        out.sort();
        out
    }
}
