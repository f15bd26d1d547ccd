//! What the parser of the command line has to say, in the form that all our messages have.
//!
//! Knows no command: the parser names what is wrong, and what was probably meant.

use clap::error::ErrorKind;

use super::{Exit, print_error};

/// Prints help, the version, or what is wrong with the command line.
pub(super) fn answer(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A reader that has gone away has read enough.
        let _ = error.print();
        return Exit::Done;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Without any command the whole help is what was asked for.
        let _ = error.print();
    } else {
        print_error(&in_our_form(&error.render().to_string()));
    }
    Exit::Usage
}

/// The message first, as `vitalsign: …`, then what to do now, each on a line with an arrow.
fn in_our_form(text: &str) -> String {
    let mut out = String::new();
    let text = text.replace("subcommand", "command");
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let line = match line.trim_start() {
            rest if out.is_empty() => format!("vitalsign: {}", rest.strip_prefix("error: ").unwrap_or(rest)),
            rest if rest.starts_with("tip: ") => format!("  → {}", &rest["tip: ".len()..]),
            rest if rest.starts_with("Usage: ") => format!("  → usage: {}", &rest["Usage: ".len()..]),
            // In our words.
            rest if rest.starts_with("For more information") => {
                "  → `vitalsign help` lists the commands, and `--help` after a command its flags".to_owned()
            }
            rest => format!("    {}", rest.trim_start_matches('[').trim_end_matches(']')),
        };
        out += &(line + "\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Cli;

    fn said(args: &[&str]) -> String {
        let error = Cli::try_parse_from(["vitalsign"].iter().chain(args)).unwrap_err();
        in_our_form(&error.render().to_string())
    }

    #[test]
    fn a_wrong_command_line_is_said_as_everything_else() {
        insta::assert_snapshot!(said(&["chek"]), @"
        vitalsign: unrecognized command 'chek'
          → a similar command exists: 'check'
          → usage: vitalsign [OPTIONS] <COMMAND>
          → `vitalsign help` lists the commands, and `--help` after a command its flags
        ");
        insta::assert_snapshot!(said(&["check", "--formt", "json"]), @"
        vitalsign: unexpected argument '--formt' found
          → a similar argument exists: '--format'
          → usage: vitalsign check --format <FORMAT>
          → `vitalsign help` lists the commands, and `--help` after a command its flags
        ");
        insta::assert_snapshot!(said(&["check", "--format", "yaml"]), @"
        vitalsign: invalid value 'yaml' for '--format <FORMAT>'
            possible values: text, json
          → `vitalsign help` lists the commands, and `--help` after a command its flags
        ");
        insta::assert_snapshot!(said(&["check", "--timeout", "0"]), @"
        vitalsign: invalid value '0' for '--timeout <SECONDS>': a number of seconds above 0 and up to 86400 is expected, such as 5 or 0.5
          → `vitalsign help` lists the commands, and `--help` after a command its flags
        ");
        insta::assert_snapshot!(said(&["guard"]), @"
        vitalsign: the following required arguments were not provided:
            <CMD>...
          → usage: vitalsign guard -- <CMD>...
          → `vitalsign help` lists the commands, and `--help` after a command its flags
        ");
    }
}
