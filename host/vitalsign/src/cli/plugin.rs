//! `vitalsign plugin lock`: pins each configured plugin to the component that is there now.

use std::collections::BTreeMap;

use super::{
    CommandFailure, Exit,
    args::{Global, PluginCommand},
    assemble::{load_config, lock},
    print,
};
use vitalsign_base::files;
use vitalsign_plugin_runtime::{LockFile, digest_of};

pub(super) fn run(global: &Global, command: &PluginCommand) -> Result<Exit, CommandFailure> {
    match command {
        PluginCommand::Lock { check } => pin(global, *check),
    }
}

fn pin(global: &Global, only_compare: bool) -> Result<Exit, CommandFailure> {
    let effective = load_config(global, None)?;
    let mut digests = BTreeMap::new();
    for plugin in &effective.plugins {
        let digest = digest_of(plugin, &effective.db)
            .map_err(|error| CommandFailure::of(Exit::Environment, &error).hint(error.hint(&plugin.name)))?;
        digests.insert(plugin.name.clone(), digest);
    }
    let wanted = LockFile::new(digests);
    let path = &effective.lock_file;
    if only_compare {
        let locked = lock(path)?;
        if locked.is_none() && effective.plugins.is_empty() {
            print("no plugins are configured, so there is nothing to pin\n")?;
            return Ok(Exit::Done);
        }
        if locked.as_ref() == Some(&wanted) {
            print(&format!("{} pins the components that are there now\n", path.display()))?;
            return Ok(Exit::Done);
        }
        let message = match locked {
            Some(_) => format!("{} does not pin the components that are there now", path.display()),
            None => format!("there is no {} that pins the configured plugins", path.display()),
        };
        return Err(
            CommandFailure::new(Exit::Unhealthy, message).hint("if this is as intended, run `vitalsign plugin lock`")
        );
    }
    files::write_atomically(path, wanted.render().as_bytes())
        .map_err(|error| CommandFailure::io("write the lock file", path, &error))?;
    print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}
