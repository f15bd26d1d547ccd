//! `vitalsign init`: writes a configuration for the database in front of it.

use std::time::Duration;

use super::{
    Exit, Failure,
    args::{Global, InitArgs},
    assemble::settle,
    print,
};
use crate::{
    clock::Deadline,
    config::{self, Found, INIT_FILE},
    files,
    sqlite::{Registry, Trouble},
};

/// How long a database that is busy is waited for.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn run(global: &Global, args: &InitArgs) -> Result<Exit, Failure> {
    // Whatever configuration is there already neither decides nor disturbs what is proposed, except that it is kept.
    let settled = settle(global, None)?;
    let target = global.config.clone().unwrap_or_else(|| settled.root.join(INIT_FILE));
    if let Some(existing) = settled.config_file.filter(|_| !args.dry_run) {
        let message = format!("there is a configuration already: {}; nothing was changed", existing.display());
        return Err(
            Failure::new(Exit::Refused, message).hint("`vitalsign init --dry-run` prints what would be written")
        );
    }
    let registry = Registry::new(settled.db.clone());
    let (schema_version, tables) = registry
        .look(Deadline::after(LOOK_LIMIT), |snapshot| Ok((snapshot.user_version()?, snapshot.tables()?)))
        .map_err(|trouble| {
            let exit = if matches!(trouble, Trouble::Corrupt { .. }) { Exit::Damaged } else { Exit::Environment };
            Failure::of(exit, &trouble).hint("name another database with --db PATH")
        })?;
    let db = settled.db.strip_prefix(&settled.root).unwrap_or(&settled.db).display().to_string();
    let text = config::propose(&Found { db, schema_version, tables });
    if args.dry_run {
        print(&text)?;
        return Ok(Exit::Done);
    }
    files::write_new(&target, &text).map_err(|error| Failure::io("write the configuration", &target, &error))?;
    print(&format!("{}\n", target.display()))?;
    Ok(Exit::Done)
}
