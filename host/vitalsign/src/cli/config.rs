//! `vitalsign config schema|check|show`.

use std::path::Path;

use super::{
    CommandFailure, Exit,
    args::{ConfigCheckArgs, ConfigCommand, Global},
    assemble::{load_config, misconfigured, plugins, read_with_timeout},
    print,
    serve::{access, serve_flags},
    statements, within,
};
use crate::{
    config::{self, CANDIDATES, EffectiveConfig},
    run,
};
use vitalsign_plugin_runtime::PluginSettings;
use vitalsign_sqlite::Database;

pub(super) fn run(global: &Global, command: &ConfigCommand) -> Result<Exit, CommandFailure> {
    match command {
        ConfigCommand::Schema => print(&format!("{:#}\n", config::schema()))?,
        ConfigCommand::Check(args) => check(global, args)?,
        ConfigCommand::Show { format } => {
            let effective = load_config(global, None)?;
            let rows = config::show(&effective);
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
fn check(global: &Global, args: &ConfigCheckArgs) -> Result<(), CommandFailure> {
    let flags = serve_flags(args.listen.as_ref(), args.allow_public_details);
    let effective = load_config(global, Some(flags))?;
    let details = effective.server.details.clone();
    read_with_timeout("the token file", move || access(&details))?;
    statements::accepted(&effective)?;
    review(&effective)?;
    match &effective.config_file {
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
fn review(effective: &EffectiveConfig) -> Result<(), CommandFailure> {
    let (plugins, lock) = plugins(Database::new(effective.db.clone()), effective)?;
    if effective.plugins.is_empty() {
        return Ok(());
    }
    let tasks = run::runtime()
        .map_err(|error| CommandFailure::new(Exit::Environment, format!("the system gives no threads: {error}")))?;
    let ask = |plugin: &PluginSettings| {
        let schema = tasks.block_on(plugins.config_schema(plugin, lock.as_ref()));
        schema.map_err(|error| format!("{error}. {}", error.hint(&plugin.name)))
    };
    let asked: Vec<_> = effective.plugins.iter().map(ask).collect();
    tasks.shutdown_background();
    config::review(effective, &asked).map_err(|error| misconfigured(&error))
}
