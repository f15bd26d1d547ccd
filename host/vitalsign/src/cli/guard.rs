//! `vitalsign guard -- CMD…`: the start-up gate, a backup where it is asked for, then the command in this process's place.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use super::{
    Exit, Failure,
    args::{Global, GuardArgs},
    assemble::{App, backup_request, settle},
    backup::caution,
    complain,
    gate::Gate,
    interrupt,
    progress::Bar,
    signals,
};
use crate::{backup, config::Settled};
use vitalsign_base::{clock::SystemClock, files};
use vitalsign_sqlite::Trouble;

pub(super) fn run(global: &Global, args: &GuardArgs) -> Result<Exit, Failure> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::new(Exit::Usage, "guard needs a command after `--`"));
    };
    let mut settled = settle(global, None)?;
    let allow_missing = args.allow_missing || settled.guard.allow_missing;
    settled.checks.schema_policy = args.schema.unwrap_or(settled.guard.schema_policy);
    let app = App::on(settled)?;
    let wait = args.wait.unwrap_or_default();
    let how_to_allow = "pass `--allow-missing`, or set `guard.allowMissing` to true in the configuration";
    let gate = Gate { app: &app, what: "the command", allow_missing, how_to_allow, wait };
    let noted = app.tasks.block_on(gate.pass())?;
    if !noted.is_empty() {
        let findings = noted.join("\n    ");
        complain(&format!("vitalsign: the command is started, and has to resolve this itself:\n    {findings}\n"));
    }
    if args.backup {
        back_up(&app.settled)?;
    }
    if interrupt::came().is_some() {
        return Err(Failure::new(Exit::Environment, "interrupted; the command was not started"));
    }
    // The command takes over this process: signals reach it and its exit code is ours, with nothing in between.
    let mut command = Command::new(program);
    signals::hand_on(command.args(arguments));
    let error = command.exec();
    Err(Failure::new(Exit::Environment, format!("cannot run {}: {error}", program.display())))
}

/// One archive, verified. A database that only its own program can read is repaired first, as that program would do it.
fn back_up(settled: &Settled) -> Result<(), Failure> {
    let scratch = env::temp_dir();
    let request = backup_request(settled, &scratch);
    let failed = |failure: backup::Failure| Failure::backup(&failure).before("the command was not started");
    let create = || backup::create(&request, &SystemClock, &Bar::new());
    let made = match create() {
        Err(backup::Failure::Database(Trouble::Missing(_) | Trouble::Empty(_))) => {
            complain("vitalsign: there is no database yet, so no backup was made\n");
            return Ok(());
        }
        Err(backup::Failure::Database(
            trouble @ (Trouble::HotJournal(_) | Trouble::WalWithoutShm(_) | Trouble::WalIndex(_)),
        )) => {
            let real = files::resolved(&settled.db).map_err(|error| Failure::io("find", &settled.db, &error))?;
            vitalsign_sqlite::settle(&real).map_err(|error| {
                let failure =
                    Failure::of(Exit::Refused, &error).before("the command was not started: no backup can be made");
                failure.hint("start the command once without --backup, so that it repairs its database")
            })?;
            complain(&format!("vitalsign: repaired before the backup: {trouble}\n"));
            create().map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    complain(&format!("vitalsign: backup written to {}\n", made.path.display()));
    if let Some(caution) = caution(&made) {
        complain(&caution.text());
    }
    Ok(())
}
