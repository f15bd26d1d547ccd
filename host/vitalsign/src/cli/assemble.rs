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

use super::{CommandFailure, Exit, args::Global, timeout::with_timeout};
use crate::{
    backup::{self, BackupCheck, LastRun},
    checks,
    config::{self, ConfigRequest, EffectiveConfig, ServeFlags},
    run::{self, Runner},
};
use vitalsign_base::{
    clock::{Deadline, SystemClock},
    files, value,
};
use vitalsign_check::report;
use vitalsign_plugin_runtime::{LockFile, Plugins};

/// Where compiled plugins are kept, if not in the user's cache folder.
const CACHE_VARIABLE: &str = "VITALSIGN_CACHE_DIR";

/// The largest lock file: some thousand plugins.
const MAX_LOCK_BYTES: u64 = 1 << 20;

/// How long the file system of the configuration, of the lock file or of a token may take to answer.
const CONFIG_LIMIT: Duration = Duration::from_secs(10);

/// What a command that looks at the database works with.
pub(super) struct Assembly {
    pub(super) effective: EffectiveConfig,
    pub(super) runner: Arc<Runner>,
    /// The runtime that checks run on. It is never dropped, since that would wait for a check that hangs; and never shut
    /// down, since a plugin's run that is under way would panic then. It ends with the process.
    pub(super) tasks: ManuallyDrop<tokio::runtime::Runtime>,
    /// How the last scheduled backup ended, for the check on backups.
    pub(super) last_backup: LastRun,
}

impl Assembly {
    /// Builds everything that `global` describes. Nothing is looked at and no plugin is loaded yet.
    pub(super) fn build(global: &Global, serve: Option<ServeFlags>) -> Result<Self, CommandFailure> {
        let tasks = if serve.is_some() { run::server_runtime } else { run::runtime };
        Self::with(load_config(global, serve)?, tasks())
    }

    /// As [`Assembly::build`], for a command that does not serve; `None` when that is not done by the deadline.
    pub(super) fn build_by(global: &Global, until: Option<Deadline>) -> Option<Result<Self, CommandFailure>> {
        let Some(until) = until else { return Some(Self::build(global, None)) };
        let global = global.clone();
        with_timeout(until.remaining(), move || Self::build(&global, None))
    }

    /// Builds the built-in checks on the defaults and the command line. Reads no file.
    pub(super) fn on_defaults(global: &Global) -> Result<Self, CommandFailure> {
        Self::on(config::defaults(&asked(global, None)).map_err(|error| misconfigured(&error))?)
    }

    /// Builds everything on a configuration that is settled, for a command that does not serve.
    pub(super) fn on(effective: EffectiveConfig) -> Result<Self, CommandFailure> {
        Self::with(effective, run::runtime())
    }

    fn with(effective: EffectiveConfig, tasks: io::Result<tokio::runtime::Runtime>) -> Result<Self, CommandFailure> {
        let tasks = tasks
            .map_err(|error| CommandFailure::new(Exit::Environment, format!("the system gives no threads: {error}")))?;
        let registry = vitalsign_sqlite::Database::new(effective.db.clone());
        let mut checks = checks::build(&registry, &effective.checks);
        let last_backup = LastRun::default();
        let (backups, changes) = (effective.backup.clone(), &effective.backup_check);
        let check =
            BackupCheck::new(backups, effective.db.clone(), changes, Arc::new(SystemClock), last_backup.clone())
                .map_err(|error| CommandFailure::of(Exit::Bug, &error))?;
        checks.push(Arc::new(check));
        if !effective.plugins.is_empty() {
            let (plugins, lock) = plugins(registry, &effective)?;
            checks.extend(plugins.checks(&effective.plugins, lock.as_ref()));
        }
        let base = report::RegistrySection {
            expected_schema_version: effective.checks.expected_schema_version,
            min_free_bytes: effective.checks.min_free_bytes,
            ..report::RegistrySection::default()
        };
        let subject = report::Subject { database: effective.db.display().to_string(), host: files::host_name() };
        let runner = Runner::new(checks, subject, base, Arc::new(SystemClock));
        Ok(Self { effective, runner, tasks: ManuallyDrop::new(tasks), last_backup })
    }
}

/// What the configured plugins are loaded with, and the lock file that pins them, if there is one. Nothing is loaded yet.
pub(super) fn plugins(
    registry: vitalsign_sqlite::Database,
    effective: &EffectiveConfig,
) -> Result<(Arc<Plugins>, Option<LockFile>), CommandFailure> {
    let file = effective.lock_file.clone();
    let lock = read_with_timeout("the lock file", move || lock(&file))?;
    let cache = cache_folder();
    let mut notices = Vec::new();
    if lock.is_none() {
        let file = effective.lock_file.display();
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
pub(super) fn backup_request<'a>(effective: &'a EffectiveConfig, scratch: &'a Path) -> backup::Request<'a> {
    backup::Request {
        db: &effective.db,
        identity: effective.backup.identity.as_deref(),
        out: &effective.backup.dir,
        tag: None,
        compression: effective.backup.compression,
        level: effective.backup.level,
        raw: false,
        verify: true,
        despite_other_writers: false,
        accept_fewer_rows: false,
        wait: Duration::ZERO,
        limits: effective.backup.limits,
        records_table: &effective.checks.records_table.name,
        provenance_table: &effective.checks.provenance_table.name,
        include: effective.backup.included(),
        scratch,
    }
}

/// Finds, reads and settles the configuration, or gives up when its file system does not answer.
pub(super) fn load_config(global: &Global, serve: Option<ServeFlags>) -> Result<EffectiveConfig, CommandFailure> {
    let global = global.clone();
    let load = move || config::load(&asked(&global, serve.as_ref())).map_err(|error| misconfigured(&error));
    read_with_timeout("the configuration", load)
}

/// Reads a file that belongs to the configuration, or gives up when its file system does not answer.
pub(super) fn read_with_timeout<T: Send + 'static>(
    what: &str,
    read: impl FnOnce() -> Result<T, CommandFailure> + Send + 'static,
) -> Result<T, CommandFailure> {
    with_timeout(CONFIG_LIMIT, read).unwrap_or_else(|| {
        let message = format!("{what} could not be read within {}", value::span(CONFIG_LIMIT));
        Err(CommandFailure::new(Exit::Environment, message).hint("find out why its file system does not answer"))
    })
}

/// What the command line and the environment say about the configuration.
pub(super) fn asked<'a>(global: &'a Global, serve: Option<&'a ServeFlags>) -> ConfigRequest<'a> {
    ConfigRequest {
        root: global.root.as_deref().unwrap_or(Path::new(".")),
        config: global.config.as_deref(),
        db: global.db.as_deref(),
        serve,
        env: &|name| env::var_os(name),
    }
}

/// What is wrong with the configuration and what to do.
pub(super) fn misconfigured(error: &config::Error) -> CommandFailure {
    if let config::Error::Wrong(wrong) = error
        && let [mistake] = wrong.told()
        && mistake.key.starts_with("--")
    {
        // The command line is wrong, wherever the configuration lies; the message says what to do.
        return CommandFailure::new(Exit::Config, format!("{}: {}", mistake.key, mistake.message));
    }
    CommandFailure::of(Exit::Config, error).hint(error.hint().unwrap_or_default())
}

/// Reads the lock file, if there is one.
pub(super) fn lock(path: &Path) -> Result<Option<LockFile>, CommandFailure> {
    let text = match files::read_text(path, MAX_LOCK_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !files::is_link(path) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let error = CommandFailure::new(Exit::Config, "the lock file is a link that leads nowhere");
            return Err(error
                .about(path)
                .hint("restore what it leads to, or remove it and run `vitalsign plugin lock`"));
        }
        Err(error) => return Err(CommandFailure::io("read the lock file", path, &error)),
    };
    LockFile::parse(&text).map(Some).map_err(|error| {
        let error = CommandFailure::of(Exit::Config, &error);
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
