//! `vitalsign prune`: shows which archives the retention rules keep, and removes the others with `--yes`.

use std::{env, path::Path};

use serde_json::json;

use super::{
    CommandFailure, Exit,
    args::{Global, KeepArgs, PruneArgs},
    assemble::load_config,
    print, print_error, print_json,
    timeout::tell_if_silent,
    within,
};
use crate::backup::{self, ArchiveState, CatalogEntry, Replaced, RetentionDecision, RetentionRules};
use vitalsign_base::{
    clock::{Clock as _, SystemClock},
    value::bytes,
};

pub(super) fn run(global: &Global, args: &PruneArgs) -> Result<Exit, CommandFailure> {
    let effective = load_config(global, None)?;
    if args.replaced {
        return replaced(&effective.db, args);
    }
    let keep = policy(args.keep).or(effective.backup.keep);
    if keep == Some(RetentionRules::default()) {
        return Err(CommandFailure::new(Exit::Refused, "this rule would keep no archive at all; nothing was removed")
            .hint("give a number above 0, for example `--last 7 --daily 30`"));
    }
    let folder = args.out.as_deref().map_or(effective.backup.dir, |out| within(global, out));
    let failed = |failure: backup::Error| CommandFailure::backup(&failure);
    tell_if_silent(vec![folder.clone()]);
    let listed = backup::list(&folder, true).map_err(failed)?;
    // A timer that runs `backup` and then this has nothing to do where nobody has said what may go: that is no failure.
    let plan = keep.map_or_else(|| all_stay(&listed), |keep| backup::plan(&listed, keep, SystemClock.now()));
    if keep.is_none() {
        print_error(
            "vitalsign: no rule says which archives to keep, so none is removed\n  \
             → set `backup.keep` in the configuration, or give for example `--last 7 --daily 30`\n",
        );
    }
    if args.yes {
        backup::prune(&plan, &SystemClock).map_err(failed)?;
    }
    let printed = match args.format.is_json() {
        true => print_json(&plan),
        false => print(&said(&plan, args.yes)),
    };
    printed.map_err(|failure| done_before(failure, args.yes))?;
    Ok(Exit::Done)
}

/// Says that the work is done, where only its result cannot be printed.
fn done_before(failure: CommandFailure, done: bool) -> CommandFailure {
    if done { failure.before("what no rule keeps was removed") } else { failure }
}

/// Shows what restores replaced, and removes all but the newest of it.
fn replaced(db: &Path, args: &PruneArgs) -> Result<Exit, CommandFailure> {
    /// What `restore --undo` brings back.
    const KEPT: u32 = 1;
    let failed = |failure: backup::Error| CommandFailure::backup(&failure);
    let kept = usize::try_from(args.keep.last.unwrap_or(KEPT)).unwrap_or(usize::MAX);
    let all = backup::replaced(db).map_err(failed)?;
    if args.yes {
        backup::prune_replaced(db, kept, &env::temp_dir()).map_err(failed)?;
    }
    if args.format.is_json() {
        let row = |(at, one): (usize, &Replaced)| json!({ "replaced": one, "kept": at < kept });
        let printed = print_json(&all.iter().enumerate().map(row).collect::<Vec<_>>());
        printed.map_err(|failure| done_before(failure, args.yes))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for (at, one) in all.iter().enumerate() {
        let word = if at < kept { "keep  " } else { "remove" };
        let when = one.at.as_deref().unwrap_or("an unknown time");
        let by = one.by.as_deref().unwrap_or("an unknown command");
        text.push_str(&format!("{word}  {}  ({}, replaced at {when} by {by})\n", one.path.display(), bytes(one.bytes)));
    }
    let gone = all.iter().skip(kept);
    text.push_str(&summed(all.len(), gone.clone().count(), gone.map(|one| one.bytes).sum(), args.yes));
    print(&text).map_err(|failure| done_before(failure, args.yes))?;
    Ok(Exit::Done)
}

/// Removes the archives in `folder` that the rule does not keep, after a backup that was verified.
pub(super) fn after_backup(folder: &Path, keep: RetentionRules) -> Result<(), backup::Error> {
    let listed = backup::list(folder, true)?;
    let mut plan = backup::plan(&listed, keep, SystemClock.now());
    // What has gone bad is not removed before somebody has seen it.
    for (one, planned) in listed.iter().zip(&mut plan) {
        planned.kept.extend(matches!(one.standing, ArchiveState::Damaged | ArchiveState::Changed).then_some("damaged"));
    }
    backup::prune(&plan, &SystemClock)
}

/// What becomes of the archives where there is no rule.
fn all_stay(listed: &[CatalogEntry]) -> Vec<RetentionDecision> {
    let stays = |one: &CatalogEntry| RetentionDecision {
        path: one.path.clone(),
        created_at: one.created_at,
        bytes: one.bytes,
        kept: vec!["no rule"],
    };
    listed.iter().map(stays).collect()
}

fn policy(args: KeepArgs) -> Option<RetentionRules> {
    let given = [args.last, args.hourly, args.daily, args.weekly, args.monthly, args.yearly];
    given.iter().any(Option::is_some).then(|| RetentionRules {
        last: args.last.unwrap_or(0),
        hourly: args.hourly.unwrap_or(0),
        daily: args.daily.unwrap_or(0),
        weekly: args.weekly.unwrap_or(0),
        monthly: args.monthly.unwrap_or(0),
        yearly: args.yearly.unwrap_or(0),
    })
}

fn said(plan: &[RetentionDecision], done: bool) -> String {
    let mut text = String::new();
    for one in plan {
        let line = match one.kept.as_slice() {
            [] => format!("remove  {}", one.path.display()),
            kept => format!("keep    {}  ({})", one.path.display(), kept.join(", ")),
        };
        text.push_str(&(line + "\n"));
    }
    let gone = plan.iter().filter(|one| one.kept.is_empty());
    text + &summed(plan.len(), gone.clone().count(), gone.map(|one| one.bytes).sum(), done)
}

/// The last line: how many of them go, and how much room that makes.
fn summed(all: usize, gone: usize, freed: u64, done: bool) -> String {
    let freed = bytes(freed);
    match (gone, done) {
        (0, _) => "nothing to remove\n".to_owned(),
        (gone, true) => format!("removed {gone} of {all}, {freed}\n"),
        (gone, false) => {
            format!("would remove {gone} of {all}, {freed}; nothing was removed yet: add --yes to remove them\n")
        }
    }
}
