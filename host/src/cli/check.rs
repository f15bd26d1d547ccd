//! `vitalsign check`: every check once, one report, an exit code.

use std::{path::Path, time::Duration};

use super::{
    Exit, Failure,
    args::{CheckArgs, Global},
    assemble::{House, settle},
    print, width,
};
use crate::{
    clock::Deadline,
    config::Settled,
    files,
    render::TextStyle,
    report::Report,
    run::{Chosen, Selection},
};

/// The pause between two rounds of `--wait`.
const WAIT_STEP: Duration = Duration::from_secs(1);

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Exit, Failure> {
    let settled = settle(global, None)?;
    if let Some(output) = &args.output {
        may_be_written(output, &settled)?;
    }
    let house = House::on(settled)?;
    let selection = Selection { only: args.only.clone(), group: args.group.clone(), ..Selection::default() };
    let chosen = house.runner.choose(&selection).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let report = house.tasks.block_on(look(&house, &chosen, args));
    let ended = publish(&report, args);
    // A check that hangs in the system must not keep the answer waiting.
    house.tasks.shutdown_background();
    ended?;
    Ok(if unhealthy(&report, args) { Exit::Unhealthy } else { Exit::Done })
}

/// Refuses to write the report over what it is about.
fn may_be_written(output: &Path, settled: &Settled) -> Result<(), Failure> {
    let refused = |what: String| {
        Failure::new(Exit::Refused, format!("--output {} {what}; nothing was run or changed", output.display()))
            .hint("name another file with --output")
    };
    if output.is_dir() {
        return Err(refused("is a folder, and a report is a file".to_owned()));
    }
    // SQLite puts its side files beside the database itself, not beside a link to it.
    let db = files::resolved(&settled.db).unwrap_or_else(|_| settled.db.clone());
    let mut kept = vec![(db.clone(), "the database"), (settled.lock_file.clone(), "the lock file")];
    kept.extend(["-wal", "-shm", "-journal"].map(|ending| (files::beside(&db, ending), "a part of the database")));
    kept.extend(settled.config_file.iter().map(|file| (file.clone(), "the configuration")));
    kept.extend(settled.plugins.iter().map(|plugin| (plugin.component.clone(), "a plugin's component")));
    match kept.iter().find(|(file, _)| files::are_same(file, output)) {
        Some((_, what)) => Err(refused(format!("is {what}"))),
        None => Ok(()),
    }
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
