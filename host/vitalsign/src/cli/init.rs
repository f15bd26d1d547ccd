//! `vitalsign init`: writes a configuration for the database in front of it.
//!
//! Everything that touches a file runs on a thread of its own: a file system that does not answer holds up that thread, and
//! never the command.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CommandFailure, Exit,
    args::{Global, InitArgs},
    assemble::{asked, misconfigured},
    print, print_error,
    timeout::with_timeout,
    within,
};
use crate::config::{self, ConfigRequest, DatabaseFacts};
use vitalsign_base::{clock::Deadline, files};
use vitalsign_sqlite::Database;

/// How long a database that is busy is waited for.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How long a file may hold up the command: the time of a look, and a moment to say how it ended.
const FILE_LIMIT: Duration = Duration::from_secs(6);

pub(super) fn run(global: &Global, args: &InitArgs) -> Result<Exit, CommandFailure> {
    let variable = env::var_os(config::VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (own, dry_run) = (global.clone(), args.dry_run);
    let place = within(global, Path::new("."));
    let (target, db) = bounded(&place, move || places(&own, variable.as_deref(), dry_run))?;
    let path = db.clone();
    let (schema_version, tables) = bounded(&db, move || look(&path))?;
    let root = global.root.as_deref().unwrap_or(Path::new("."));
    let db = db.strip_prefix(root).unwrap_or(&db).display().to_string();
    if schema_version == 0 {
        print_error(&format!(
            "vitalsign: `registry.expectedSchemaVersion` is left out, because the `user_version` of {db} is 0, as in a \
             database whose program never sets it\n"
        ));
    }
    let text = config::propose(&DatabaseFacts { db, schema_version, tables });
    if args.dry_run {
        print(&text)?;
        return Ok(Exit::Done);
    }
    let file = target.clone();
    bounded(&target, move || {
        files::write_new(&file, &text).map_err(|error| CommandFailure::io("write the configuration", &file, &error))
    })?;
    print(&format!("{}\n", target.display()))?;
    Ok(Exit::Done)
}

/// Does `work`, and gives up on it when `file`, which it works on, does not answer in time.
fn bounded<T: Send + 'static>(
    file: &Path,
    work: impl FnOnce() -> Result<T, CommandFailure> + Send + 'static,
) -> Result<T, CommandFailure> {
    with_timeout(FILE_LIMIT, work).unwrap_or_else(|| {
        let message = format!("{} did not answer within {} s", file.display(), FILE_LIMIT.as_secs());
        Err(CommandFailure::new(Exit::Environment, message).hint(
            "its file system may hang, or a pipe lies where the database or its `-wal` should be; look at it with `ls -l` and `mount`",
        ))
    })
}

/// The file to write, and the database to write it for.
fn places(global: &Global, variable: Option<&Path>, dry_run: bool) -> Result<(PathBuf, PathBuf), CommandFailure> {
    let asked = asked(global, None);
    let (target, existing) = target(global, variable);
    if let Some(existing) = existing.as_ref().filter(|_| !dry_run) {
        let message = format!("there is a configuration already: {}; nothing was changed", existing.display());
        return Err(
            CommandFailure::new(Exit::Refused, message).hint("`vitalsign init --dry-run` prints what would be written")
        );
    }
    // A configuration that is there already says where the database is, if it can be read; it decides nothing else.
    let db = match config::load(&ConfigRequest { config: existing.as_deref(), env: &|_| None, ..asked }) {
        Ok(effective) => effective.db,
        Err(error @ config::Error::Root { .. }) => return Err(misconfigured(&error)),
        Err(_) => within(global, asked.db.unwrap_or(Path::new(&usual_db()))),
    };
    Ok((target, db))
}

/// The database's schema version and the names of its tables.
fn look(db: &Path) -> Result<(i64, Vec<String>), CommandFailure> {
    Database::new(db.to_owned())
        .look(Deadline::after(LOOK_LIMIT), |snapshot| Ok((snapshot.user_version()?, snapshot.tables()?)))
        .map_err(|error| {
            let exit = if error.is_corrupt() { Exit::Damaged } else { Exit::Environment };
            CommandFailure::of(exit, &error).hint("name another database with --db PATH")
        })
}

/// The file to write, and the configuration that is there already: the same file, if one was named.
fn target(global: &Global, variable: Option<&Path>) -> (PathBuf, Option<PathBuf>) {
    let there = |file: PathBuf| std::fs::symlink_metadata(&file).is_ok().then_some(file);
    match global.config.as_deref().or(variable) {
        Some(named) => (within(global, named), there(within(global, named))),
        None => {
            let mut usual = config::CANDIDATES.iter().map(|candidate| within(global, Path::new(candidate)));
            (within(global, Path::new(config::INIT_FILE)), usual.find_map(there))
        }
    }
}

/// Where the database is when nobody says so, in the words of the format.
fn usual_db() -> String {
    config::schema().pointer("/properties/dbPath/default").and_then(|path| path.as_str()).unwrap_or_default().to_owned()
}
