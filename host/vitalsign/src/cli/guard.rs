//! `vitalsign guard -- CMD…`: the start-up gate, a backup where it is asked for, then the command in this process's place.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use super::{
    CommandFailure, Exit,
    args::{Global, GuardArgs},
    assemble::{Assembly, backup_request, load_config},
    backup::caution,
    gate::StartGate,
    interrupt, print_error,
    progress::Bar,
    signals,
};
use crate::{backup, config::EffectiveConfig};
use vitalsign_base::{clock::SystemClock, files};

pub(super) fn run(global: &Global, args: &GuardArgs) -> Result<Exit, CommandFailure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(CommandFailure::new(Exit::Usage, "guard needs a command after `--`"));
    };
    let mut effective = load_config(global, None)?;
    let allow_missing = args.allow_missing || effective.guard.allow_missing;
    effective.checks.schema_policy = args.schema.unwrap_or(effective.guard.schema_policy);
    let app = Assembly::on(effective)?;
    let wait = args.wait.unwrap_or_default();
    let how_to_allow = "pass `--allow-missing`, or set `guard.allowMissing` to true in the configuration";
    let gate = StartGate { app: &app, what: "the command", allow_missing, how_to_allow, wait };
    let noted = app.tasks.block_on(gate.pass())?;
    if !noted.is_empty() {
        let findings = noted.join("\n    ");
        print_error(&format!("vitalsign: the command is started, and has to resolve this itself:\n    {findings}\n"));
    }
    if args.backup {
        back_up(&app.effective)?;
    }
    if interrupt::received_signal().is_some() {
        return Err(CommandFailure::new(Exit::Environment, "interrupted; the command was not started"));
    }
    // The command takes over this process: signals reach it and its exit code is ours, with nothing in between.
    let mut command = Command::new(program);
    signals::inherit_signals(command.args(arguments));
    let error = command.exec();
    Err(CommandFailure::new(Exit::Environment, format!("cannot run {}: {error}", program.display())))
}

/// One archive, verified. A database that only its own program can read is repaired first, as that program would do it.
fn back_up(effective: &EffectiveConfig) -> Result<(), CommandFailure> {
    let scratch = env::temp_dir();
    let request = backup_request(effective, &scratch);
    let failed = |failure: backup::Error| CommandFailure::backup(&failure).before("the command was not started");
    let create = || backup::create(&request, &SystemClock, &Bar::new());
    let made = match create() {
        Err(backup::Error::Database(vitalsign_sqlite::Error::Missing(_) | vitalsign_sqlite::Error::Empty(_))) => {
            print_error("vitalsign: there is no database yet, so no backup was made\n");
            return Ok(());
        }
        Err(backup::Error::Database(
            error @ (vitalsign_sqlite::Error::HotJournal(_)
            | vitalsign_sqlite::Error::WalWithoutShm(_)
            | vitalsign_sqlite::Error::WalIndex(_)),
        )) => {
            let real =
                files::resolved(&effective.db).map_err(|error| CommandFailure::io("find", &effective.db, &error))?;
            vitalsign_sqlite::checkpoint(&real).map_err(|error| {
                let failure = CommandFailure::of(Exit::Refused, &error)
                    .before("the command was not started: no backup can be made");
                failure.hint("start the command once without --backup, so that it repairs its database")
            })?;
            print_error(&format!("vitalsign: repaired before the backup: {error}\n"));
            create().map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    print_error(&format!("vitalsign: backup written to {}\n", made.path.display()));
    if let Some(caution) = caution(&made) {
        print_error(&caution.text());
    }
    Ok(())
}
