//! `vitalsign guard -- CMD…`: the startup gate, then the command in this process's place.

use std::{os::unix::process::CommandExt, process::Command};

use super::{
    Exit, Failure,
    args::{Global, GuardArgs},
    assemble::House,
};

pub(super) fn run(global: &Global, args: &GuardArgs) -> Result<Exit, Failure> {
    let house = House::build(global, None)?;
    let gate = house.gate();
    house.tasks.shutdown_background();
    gate?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::new(Exit::Usage, "guard needs a command after `--`"));
    };
    // The command takes over this process: signals reach it and its exit code is ours, with nothing in between.
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::new(Exit::Environment, format!("cannot run {}: {error}", program.display())))
}
