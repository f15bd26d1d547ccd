//! `vitalsign config schema|check|show`.

use std::path::Path;

use super::{
    Exit, Failure,
    args::{ConfigCheckArgs, ConfigVerb, Global},
    assemble::{answered, misconfigured, plugins, settle},
    print,
    serve::{access, serve_flags},
    statements, within,
};
use crate::{
    config::{self, CANDIDATES, Settled},
    run,
};
use vitalsign_plugin_runtime::PluginSettings;
use vitalsign_sqlite::Registry;

pub(super) fn run(global: &Global, verb: &ConfigVerb) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Schema => print(&format!("{:#}\n", config::schema()))?,
        ConfigVerb::Check(args) => check(global, args)?,
        ConfigVerb::Show { format } => {
            let settled = settle(global, None)?;
            let rows = config::show(&settled);
            let text = if format.is_json() {
                // Rows of text and JSON always serialise.
                serde_json::to_string_pretty(rows).unwrap_or_default() + "\n"
            } else {
                config::render_text(rows)
            };
            print(&text)?;
        }
    }
    Ok(Exit::Done)
}

/// Everything that would stop `serve` or one of its plugins, said without starting anything.
fn check(global: &Global, args: &ConfigCheckArgs) -> Result<(), Failure> {
    let flags = serve_flags(args.listen.as_ref(), args.allow_public_details);
    let settled = settle(global, Some(flags))?;
    let details = settled.server.details.clone();
    answered("the token file", move || access(&details))?;
    statements::accepted(&settled)?;
    review(&settled)?;
    match &settled.config_file {
        Some(file) => print(&format!("{} is valid\n", file.display())),
        None => {
            let places = CANDIDATES.map(|candidate| within(global, Path::new(candidate)).display().to_string());
            print(&format!(
                "there is no configuration file at {}, and none is named with --config or {}; the defaults are used, and \
                 they are valid\n",
                places.join(" or "),
                config::VARIABLE
            ))
        }
    }
}

/// Loads every plugin as `serve` would, and holds its configuration against the schema that it gives.
fn review(settled: &Settled) -> Result<(), Failure> {
    let (plugins, lock) = plugins(Registry::new(settled.db.clone()), settled)?;
    if settled.plugins.is_empty() {
        return Ok(());
    }
    let tasks = run::runtime()
        .map_err(|error| Failure::new(Exit::Environment, format!("the system gives no threads: {error}")))?;
    let ask = |plugin: &PluginSettings| {
        let schema = tasks.block_on(plugins.config_schema(plugin, lock.as_ref()));
        schema.map_err(|error| format!("{error}. {}", error.hint(&plugin.name)))
    };
    let asked: Vec<_> = settled.plugins.iter().map(ask).collect();
    tasks.shutdown_background();
    config::review(settled, &asked).map_err(|error| misconfigured(&error))
}
