//! Puts the modules together: configuration, database, built-in checks, plugins and the runner that runs them.
//!
//! The one file that knows every module, and the one that asks for the working directory, the environment and the binary.

use std::{
    env, io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Exit, Failure, args::Global, waiting::in_time};
use crate::{
    backup::{self, BackupCheck, LastRun},
    checks,
    config::{self, Asked, ServeFlags, Settled},
    run::{self, Runner},
};
use vitalsign_base::{
    clock::{Deadline, SystemClock},
    files, value,
};
use vitalsign_check::report;
use vitalsign_plugin_runtime::{Lock, Plugins};

/// Where compiled plugins are kept, if not in the user's cache folder.
const CACHE_VARIABLE: &str = "VITALSIGN_CACHE_DIR";

/// The largest lock file: some thousand plugins.
const MAX_LOCK_BYTES: u64 = 1 << 20;

/// How long the file system of the configuration, of the lock file or of a token may take to answer.
const CONFIG_LIMIT: Duration = Duration::from_secs(10);

/// What a command that looks at the database works with.
pub(super) struct App {
    pub(super) settled: Settled,
    pub(super) runner: Arc<Runner>,
    /// The runtime that checks run on. It is never dropped, since that would wait for a check that hangs; and never shut
    /// down, since a plugin's run that is under way would panic then. It ends with the process.
    pub(super) tasks: ManuallyDrop<tokio::runtime::Runtime>,
    /// How the last scheduled backup ended, for the check on backups.
    pub(super) last_backup: LastRun,
}

impl App {
    /// Builds everything that `global` describes. Nothing is looked at and no plugin is loaded yet.
    pub(super) fn build(global: &Global, serve: Option<ServeFlags>) -> Result<Self, Failure> {
        let tasks = if serve.is_some() { run::server_runtime } else { run::runtime };
        Self::with(settle(global, serve)?, tasks())
    }

    /// As [`App::build`], for a command that does not serve; `None` when that is not done by the deadline.
    pub(super) fn build_by(global: &Global, until: Option<Deadline>) -> Option<Result<Self, Failure>> {
        let Some(until) = until else { return Some(Self::build(global, None)) };
        let global = global.clone();
        in_time(until.remaining(), move || Self::build(&global, None))
    }

    /// Builds the built-in checks on the defaults and the command line. Reads no file.
    pub(super) fn on_defaults(global: &Global) -> Result<Self, Failure> {
        Self::on(config::defaults(&asked(global, None)).map_err(|error| misconfigured(&error))?)
    }

    /// Builds everything on a configuration that is settled, for a command that does not serve.
    pub(super) fn on(settled: Settled) -> Result<Self, Failure> {
        Self::with(settled, run::runtime())
    }

    fn with(settled: Settled, tasks: io::Result<tokio::runtime::Runtime>) -> Result<Self, Failure> {
        let tasks =
            tasks.map_err(|error| Failure::new(Exit::Environment, format!("the system gives no threads: {error}")))?;
        let registry = vitalsign_sqlite::Registry::new(settled.db.clone());
        let mut checks = checks::build(&registry, &settled.checks);
        let last_backup = LastRun::default();
        let (backups, changes) = (settled.backup.clone(), &settled.backup_check);
        let check = BackupCheck::new(backups, settled.db.clone(), changes, Arc::new(SystemClock), last_backup.clone())
            .map_err(|error| Failure::of(Exit::Bug, &error))?;
        checks.push(Arc::new(check));
        if !settled.plugins.is_empty() {
            let (plugins, lock) = plugins(registry, &settled)?;
            checks.extend(plugins.checks(&settled.plugins, lock.as_ref()));
        }
        let base = report::Registry {
            expected_schema_version: settled.checks.expected_schema_version,
            min_free_bytes: settled.checks.min_free_bytes,
            ..report::Registry::default()
        };
        let subject = report::Subject { database: settled.db.display().to_string(), host: files::host_name() };
        let runner = Runner::new(checks, subject, base, Arc::new(SystemClock));
        Ok(Self { settled, runner, tasks: ManuallyDrop::new(tasks), last_backup })
    }
}

/// What the configured plugins are loaded with, and the lock file that pins them, if there is one. Nothing is loaded yet.
pub(super) fn plugins(
    registry: vitalsign_sqlite::Registry,
    settled: &Settled,
) -> Result<(Arc<Plugins>, Option<Lock>), Failure> {
    let file = settled.lock_file.clone();
    let lock = answered("the lock file", move || lock(&file))?;
    let cache = cache_folder();
    let mut notices = Vec::new();
    if lock.is_none() {
        let file = settled.lock_file.display();
        notices.push(format!("the plugins are not pinned, because there is no {file}; run `vitalsign plugin lock`"));
    }
    if cache.is_none() {
        notices.push(format!(
            "plugins are compiled at every start, because there is no folder to keep the result in; name one with {CACHE_VARIABLE}"
        ));
    }
    Ok((Plugins::new(registry, this_binary(), cache, notices), lock))
}

/// This same binary, also after its file was replaced or removed, as an upgrade does.
fn this_binary() -> PathBuf {
    const SAME_PROCESS: &str = "/proc/self/exe";
    env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| SAME_PROCESS.into())
}

/// What the configuration asks of a backup.
pub(super) fn backup_request<'a>(settled: &'a Settled, scratch: &'a Path) -> backup::Request<'a> {
    backup::Request {
        db: &settled.db,
        identity: settled.backup.identity.as_deref(),
        out: &settled.backup.dir,
        tag: None,
        compression: settled.backup.compression,
        level: settled.backup.level,
        raw: false,
        verify: true,
        despite_other_writers: false,
        accept_fewer_rows: false,
        wait: Duration::ZERO,
        limits: settled.backup.limits,
        records_table: &settled.checks.records_table.name,
        provenance_table: &settled.checks.provenance_table.name,
        include: settled.backup.included(),
        scratch,
    }
}

/// Finds, reads and settles the configuration, or gives up when its file system does not answer.
pub(super) fn settle(global: &Global, serve: Option<ServeFlags>) -> Result<Settled, Failure> {
    let global = global.clone();
    let load = move || config::load(&asked(&global, serve.as_ref())).map_err(|error| misconfigured(&error));
    answered("the configuration", load)
}

/// Reads a file that belongs to the configuration, or gives up when its file system does not answer.
pub(super) fn answered<T: Send + 'static>(
    what: &str,
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    in_time(CONFIG_LIMIT, read).unwrap_or_else(|| {
        let message = format!("{what} could not be read within {}", value::span(CONFIG_LIMIT));
        Err(Failure::new(Exit::Environment, message).hint("find out why its file system does not answer"))
    })
}

/// What the command line and the environment say about the configuration.
pub(super) fn asked<'a>(global: &'a Global, serve: Option<&'a ServeFlags>) -> Asked<'a> {
    Asked {
        root: global.root.as_deref().unwrap_or(Path::new(".")),
        config: global.config.as_deref(),
        db: global.db.as_deref(),
        serve,
        env: &|name| env::var_os(name),
    }
}

/// What is wrong with the configuration and what to do.
pub(super) fn misconfigured(error: &config::Error) -> Failure {
    if let config::Error::Wrong(wrong) = error
        && let [mistake] = wrong.told()
        && mistake.key.starts_with("--")
    {
        // The command line is wrong, wherever the configuration lies; the message says what to do.
        return Failure::new(Exit::Config, format!("{}: {}", mistake.key, mistake.message));
    }
    Failure::of(Exit::Config, error).hint(error.hint().unwrap_or_default())
}

/// Reads the lock file, if there is one.
pub(super) fn lock(path: &Path) -> Result<Option<Lock>, Failure> {
    let text = match files::read_text(path, MAX_LOCK_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !files::is_link(path) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let error = Failure::new(Exit::Config, "the lock file is a link that leads nowhere");
            return Err(error
                .about(path)
                .hint("restore what it leads to, or remove it and run `vitalsign plugin lock`"));
        }
        Err(error) => return Err(Failure::io("read the lock file", path, &error)),
    };
    Lock::parse(&text).map(Some).map_err(|error| {
        let error = Failure::of(Exit::Config, &error);
        error.about(path).hint("restore it from version control, or write it again with `vitalsign plugin lock`")
    })
}

/// The environment variable's value, for secrets that the configuration names.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn cache_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(CACHE_VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("vitalsign")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/vitalsign")))
}
