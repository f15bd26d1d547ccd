//! `vitalsign check`: every check once, one report, an exit code.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CommandFailure, Exit,
    args::{CheckArgs, Global},
    assemble::Assembly,
    print, print_error,
    timeout::{Backoff, with_timeout},
    width,
};
use crate::{
    config::EffectiveConfig,
    render::TextStyle,
    run::{Chosen, Selection},
};
use vitalsign_base::{clock::Deadline, files};
use vitalsign_check::report::{Entry, Report, Severity};

/// How long the file system of the database may take to tell that the report is not written over it.
const COMPARING_LIMIT: Duration = Duration::from_secs(3);

/// How long the file system of the report's file may take to write it.
const WRITING_LIMIT: Duration = Duration::from_secs(10);

/// The least that writing is given where the time limit for everything has been used up.
const LEAST_WRITING_LIMIT: Duration = Duration::from_millis(300);

/// Lines on standard error about a report that goes to a file, the first one included.
const MAX_LINES: usize = 5;

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Exit, CommandFailure> {
    let until = args.timeout.map(Deadline::after);
    let selection = Selection { only: args.only.clone(), group: args.group.clone(), ..Selection::default() };
    let choose =
        |app: &Assembly| app.runner.choose(&selection).map_err(|error| CommandFailure::of(Exit::Usage, &error));
    let (app, answers) = match Assembly::build_by(global, until) {
        Some(app) => (app?, true),
        // Not even the configuration could be read in time: the report says of each built-in check that it has no result.
        None => (Assembly::on_defaults(global)?, false),
    };
    let chosen = choose(&app)?;
    let may_write = args.output.as_deref().map_or(Ok(true), |output| may_be_written(output, &app.effective, until))?;
    let report = match args.timeout {
        Some(limit) if !answers => {
            app.runner.give_up(&chosen, limit);
            app.runner.report_of(&chosen)
        }
        _ => app.tasks.block_on(look(&app, &chosen, args, until)),
    };
    let is_unhealthy = report.status >= args.fail_on.severity();
    publish(&report, args, may_write, until)?;
    Ok(if is_unhealthy { Exit::Unhealthy } else { Exit::Done })
}

/// Refuses to write the report over what it is about; `false` when the file system does not say in time whether it would be.
fn may_be_written(output: &Path, effective: &EffectiveConfig, until: Option<Deadline>) -> Result<bool, CommandFailure> {
    // The checks come after this, and need most of the time.
    let limit = until.map_or(COMPARING_LIMIT, |until| (until.remaining() / 4).min(COMPARING_LIMIT));
    let (file, effective) = (output.to_owned(), effective.clone());
    match with_timeout(limit, move || what_it_is(&file, &effective)) {
        Some(None) => Ok(true),
        Some(Some(what)) => Err(CommandFailure::new(
            Exit::Refused,
            format!("--output {} {what}; nothing was run or changed", output.display()),
        )
        .hint("name another file with --output")),
        None => Ok(false),
    }
}

/// What the file is, if the report must not be written to it.
fn what_it_is(output: &Path, effective: &EffectiveConfig) -> Option<String> {
    if output.is_dir() {
        return Some("is a folder, and a report is a file".to_owned());
    }
    // SQLite puts its side files beside the database itself, not beside a link to it.
    let db = files::resolved(&effective.db).unwrap_or_else(|_| effective.db.clone());
    let mut kept = vec![(db.clone(), "the database"), (effective.lock_file.clone(), "the lock file")];
    kept.extend(["-wal", "-shm", "-journal"].map(|ending| (files::beside(&db, ending), "a part of the database")));
    kept.extend(effective.config_file.iter().map(|file| (file.clone(), "the configuration")));
    kept.extend(effective.plugins.iter().map(|plugin| (plugin.component.clone(), "a plugin's component")));
    let (_, what) = kept.iter().find(|(file, _)| files::is_same_file(file, output))?;
    Some(format!("is {what}"))
}

/// One round, or with `--wait` rounds until one is healthy or the time is up.
async fn look(app: &Assembly, chosen: &Chosen, args: &CheckArgs, until: Option<Deadline>) -> Report {
    let give_up = Deadline::after(args.wait.unwrap_or_default());
    let mut pauses = Backoff::default();
    loop {
        let report = match until {
            Some(until) => app.runner.round_within(chosen, until.remaining()).await,
            None => app.runner.round(chosen).await,
        };
        let is_over = give_up.has_passed() || until.is_some_and(Deadline::has_passed);
        if report.status < args.fail_on.severity() || is_over {
            return report;
        }
        let left = until.map_or(give_up, |until| until.min(give_up)).remaining();
        tokio::time::sleep(pauses.next().min(left)).await;
    }
}

fn publish(report: &Report, args: &CheckArgs, may_write: bool, until: Option<Deadline>) -> Result<(), CommandFailure> {
    let style = TextStyle { width: width(), colour: args.output.is_none() };
    let text = args.format().render(report, &style);
    let Some(path) = args.output.as_deref() else { return print(&text) };
    if !may_write {
        print(&text)?;
        let message = format!(
            "the report was not written to {}, because the file system does not say whether that is a part of the database; \
             it was printed instead",
            path.display()
        );
        let failure = CommandFailure::new(Exit::Environment, message);
        // The report itself says why, and decides on the exit code if it is bad.
        if report.status < args.fail_on.severity() {
            return Err(failure);
        }
        print_error(&failure.text());
        return Ok(());
    }
    write(path, text, until)?;
    if report.status >= args.fail_on.severity() {
        print_error(&reasons(report, args.fail_on.severity(), path));
    }
    Ok(())
}

/// Writes the report to its file, or gives up when the file system does not answer.
fn write(path: &Path, text: String, until: Option<Deadline>) -> Result<(), CommandFailure> {
    let limit = until.map_or(WRITING_LIMIT, |until| until.remaining().clamp(LEAST_WRITING_LIMIT, WRITING_LIMIT));
    let file: PathBuf = path.to_owned();
    match with_timeout(limit, move || files::write_atomically(&file, text.as_bytes())) {
        Some(written) => written.map_err(|error| CommandFailure::io("write the report to", path, &error)),
        None => {
            let message = format!("cannot write the report to {}: the file system does not answer", path.display());
            Err(CommandFailure::new(Exit::Environment, message)
                .hint("name a file on another file system with --output"))
        }
    }
}

/// What is wrong, in few lines: every check that is to blame by name, and the first reasons.
fn reasons(report: &Report, from: Severity, path: &Path) -> String {
    let bad: Vec<&Entry> = report.checks.iter().filter(|entry| entry.severity() >= from).collect();
    let names: Vec<_> = bad.iter().map(|entry| entry.name.as_str()).collect();
    let word = report.status.as_str();
    let mut lines =
        vec![format!("vitalsign: the status is {word} because of {}; see {}", names.join(", "), path.display())];
    let shown = bad.len().min(MAX_LINES - 1);
    lines.extend(bad.iter().take(shown).map(|entry| format!("    {}: {}", entry.name, entry.summary)));
    lines.join("\n") + "\n"
}
