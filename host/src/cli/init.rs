//! `vitalsign init`: writes a configuration for the database in front of it.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Exit, Failure,
    args::{Global, InitArgs},
    assemble::{asked, misconfigured},
    print, within,
};
use crate::{
    clock::Deadline,
    config::{self, Asked, Found},
    files,
    sqlite::Registry,
};

/// How long a database that is busy is waited for.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn run(global: &Global, args: &InitArgs) -> Result<Exit, Failure> {
    let asked = asked(global, None);
    let (target, existing) = target(global);
    if let Some(existing) = existing.as_ref().filter(|_| !args.dry_run) {
        let message = format!("there is a configuration already: {}; nothing was changed", existing.display());
        return Err(
            Failure::new(Exit::Refused, message).hint("`vitalsign init --dry-run` prints what would be written")
        );
    }
    // A configuration that is there already says where the database is, if it can be read; it decides nothing else.
    let db = match config::load(&Asked { config: existing.as_deref(), env: &|_| None, ..asked }) {
        Ok(settled) => settled.db,
        Err(error @ config::Error::Root { .. }) => return Err(misconfigured(&error)),
        Err(_) => within(global, asked.db.unwrap_or(Path::new(&usual_db()))),
    };
    let registry = Registry::new(db.clone());
    let (schema_version, tables) = registry
        .look(Deadline::after(LOOK_LIMIT), |snapshot| Ok((snapshot.user_version()?, snapshot.tables()?)))
        .map_err(|trouble| {
            let exit = if trouble.is_corrupt() { Exit::Damaged } else { Exit::Environment };
            Failure::of(exit, &trouble).hint("name another database with --db PATH")
        })?;
    let db = db.strip_prefix(asked.root).unwrap_or(&db).display().to_string();
    let text = config::propose(&Found { db, schema_version, tables });
    if args.dry_run {
        print(&text)?;
        return Ok(Exit::Done);
    }
    files::write_new(&target, &text).map_err(|error| Failure::io("write the configuration", &target, &error))?;
    print(&format!("{}\n", target.display()))?;
    Ok(Exit::Done)
}

/// The file to write, and the configuration that is there already: the same file, if one was named.
fn target(global: &Global) -> (PathBuf, Option<PathBuf>) {
    let variable = env::var_os(config::VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let there = |file: PathBuf| std::fs::symlink_metadata(&file).is_ok().then_some(file);
    match global.config.as_ref().or(variable.as_ref()) {
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
