//! `vitalsign config schema|check|show`.

use super::{
    Exit, Failure,
    args::{ConfigVerb, Global},
    assemble::{lock, settle},
    print, statements,
};
use crate::config;

pub(super) fn run(global: &Global, verb: &ConfigVerb) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Schema => print(&format!("{:#}\n", config::schema()))?,
        ConfigVerb::Check => {
            let settled = settle(global, None)?;
            lock(&settled.lock_file)?;
            statements::accepted(&settled)?;
            match &settled.config_file {
                Some(file) => print(&format!("{} is valid\n", file.display()))?,
                None => print("there is no configuration file: the defaults hold, and they are valid\n")?,
            }
        }
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
