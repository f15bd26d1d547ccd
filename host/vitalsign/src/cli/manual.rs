//! `vitalsign completions` and `vitalsign man`: what a shell and `man` need to know of the command line.
//!
//! Both are made from the definition in `args`. Knows no command's work.

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{
    CommandFailure, Exit,
    args::{Cli, CompletionsArgs, ManArgs},
    print,
};
use vitalsign_base::value::{nearest, printable};

/// The longest part of an unknown word that a message repeats, in bytes.
const MAX_SHOWN_BYTES: usize = 80;

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, CommandFailure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vitalsign", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, CommandFailure> {
    let mut cli = Cli::command();
    // Gives every command its full name, such as `vitalsign-backup`, and the flags that all commands take.
    cli.build();
    let mut command = &cli;
    for word in &args.command {
        command = command.find_subcommand(word).ok_or_else(|| unknown(command, word))?;
    }
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).map_err(|error| CommandFailure::of(Exit::Bug, &error))?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}

fn unknown(command: &Command, word: &str) -> CommandFailure {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let hint = match nearest(word, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => format!("`{}` has no commands below it", command.get_name()),
        None => format!("the commands are {}", names.join(", ")),
    };
    CommandFailure::new(Exit::Usage, format!("there is no command `{}`", printable(word, MAX_SHOWN_BYTES))).hint(hint)
}
