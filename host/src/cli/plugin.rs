//! `vitalsign plugin lock`: pins each configured plugin to the component that is there now.

use std::collections::BTreeMap;

use super::{
    Exit, Failure,
    args::{Global, PluginVerb},
    assemble::{lock, settle},
    print,
};
use crate::{
    files,
    plugin::{Lock, digest_of},
};

pub(super) fn run(global: &Global, verb: &PluginVerb) -> Result<Exit, Failure> {
    match verb {
        PluginVerb::Lock { check } => pin(global, *check),
    }
}

fn pin(global: &Global, only_compare: bool) -> Result<Exit, Failure> {
    let settled = settle(global, None)?;
    let mut digests = BTreeMap::new();
    for plugin in &settled.plugins {
        let digest = digest_of(plugin).map_err(|error| Failure::of(Exit::Environment, &error).hint(error.hint()))?;
        digests.insert(plugin.name.clone(), digest);
    }
    let wanted = Lock::new(digests);
    let path = &settled.lock_file;
    if only_compare {
        if lock(path)?.as_ref() == Some(&wanted) {
            print(&format!("{} is as it should be\n", path.display()))?;
            return Ok(Exit::Done);
        }
        let message = format!("{} does not pin the components that are there now", path.display());
        return Err(Failure::new(Exit::Unhealthy, message).hint("if the change is yours, run `vitalsign plugin lock`"));
    }
    files::write_whole(path, wanted.render().as_bytes())
        .map_err(|error| Failure::io("write the lock file", path, &error))?;
    print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}
