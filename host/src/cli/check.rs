//! `vitalsign check`: every check once, one report, an exit code.

use std::time::Duration;

use super::{
    Exit, Failure,
    args::{CheckArgs, Global},
    assemble::House,
    print, width,
};
use crate::{
    clock::Deadline,
    files,
    render::TextStyle,
    report::Report,
    run::{Chosen, Selection},
};

/// The pause between two rounds of `--wait`.
const WAIT_STEP: Duration = Duration::from_secs(1);

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Exit, Failure> {
    let house = House::build(global, None)?;
    let selection = Selection { only: args.only.clone(), group: args.group.clone(), ..Selection::default() };
    let chosen = house.runner.choose(&selection).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let report = house.tasks.block_on(look(&house, &chosen, args));
    let ended = publish(&report, args);
    // A check that hangs in the system must not keep the answer waiting.
    house.tasks.shutdown_background();
    ended?;
    Ok(if unhealthy(&report, args) { Exit::Unhealthy } else { Exit::Done })
}

fn unhealthy(report: &Report, args: &CheckArgs) -> bool {
    report.status >= args.fail_on.severity()
}

/// One round, or with `--wait` rounds until one is healthy or the time is up.
async fn look(house: &House, chosen: &Chosen, args: &CheckArgs) -> Report {
    let deadline = Deadline::after(Duration::from_secs(args.wait.unwrap_or(0)));
    loop {
        let report = house.runner.round(chosen).await;
        if !unhealthy(&report, args) || deadline.has_passed() {
            return report;
        }
        tokio::time::sleep(WAIT_STEP.min(deadline.remaining())).await;
    }
}

fn publish(report: &Report, args: &CheckArgs) -> Result<(), Failure> {
    let style = TextStyle { width: width(), colour: args.output.is_none() };
    let text = args.format.render(report, &style);
    match &args.output {
        None => print(&text),
        Some(path) => {
            files::write_whole(path, text.as_bytes()).map_err(|error| Failure::io("write the report to", path, &error))
        }
    }
}
