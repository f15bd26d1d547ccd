//! `vitalsign verify`: verifies archives, and says where one is damaged.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    CommandFailure, Exit,
    args::{Global, VerifyArgs},
    backup::{FAULTS_HINT, INCLUDE_HINT, folder, included},
    interrupt, print, print_error, print_json,
    progress::Bar,
    stream,
    timeout::tell_if_silent,
    within,
};
use crate::backup::{self, Manifest, Verdict, Verified};
use vitalsign_base::{
    clock::{Clock as _, Stopwatch, SystemClock},
    files,
    value::{bytes, grouped},
};

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, CommandFailure> {
    if let [archive] = args.archives.as_slice() {
        let received = if stream::is_stream(archive) { Some(stream::received()?) } else { None };
        let archive = received.as_ref().map_or_else(|| within(global, archive), |received| received.path.clone());
        tell_if_silent(vec![archive.clone()]);
        let (mut told, mut text) = (Vec::new(), String::new());
        let ended = one(&archive, args.full, args.format.is_json().then_some(&mut told), &mut text);
        let printed = told.first().map_or_else(|| print(&text), print_json);
        // What is wrong with the archive says more than that standard output is full.
        return ended.and_then(|exit| printed.map(|()| exit));
    }
    if args.archives.iter().any(|archive| stream::is_stream(archive)) {
        return Err(CommandFailure::new(
            Exit::Usage,
            "`-` means an archive on standard input, and must be the only one",
        ));
    }
    let archives = match args.archives.as_slice() {
        [] => listed(global, args)?,
        given => given.iter().map(|archive| within(global, archive)).collect(),
    };
    tell_if_silent(archives.clone());
    let watch = Stopwatch::start();
    let (mut seen, mut failed, mut told) = (0, Vec::new(), Vec::new());
    for archive in &archives {
        if args.budget.is_some_and(|budget| watch.elapsed() >= budget) {
            break;
        }
        seen += 1;
        let mut text = String::new();
        let ended = one(archive, args.full, args.format.is_json().then_some(&mut told), &mut text);
        print(&text)?;
        if let Err(failure) = ended {
            // Such as by a `prune` that runs at the same time.
            if args.archives.is_empty() && is_gone(archive) {
                seen -= 1;
                continue;
            }
            print_error(&failure.text());
            let path = archive.display().to_string();
            // One that can be read has its record there already.
            match told.last_mut().filter(|last| last["path"] == path.as_str()) {
                Some(last) => last["failed"] = failure.text().trim().into(),
                None => told.push(serde_json::json!({ "path": path, "failed": failure.text().trim() })),
            }
            failed.push(failure.exit);
        }
        if interrupt::received_signal().is_some() {
            return Err(CommandFailure::new(Exit::Environment, "the command was interrupted"));
        }
    }
    if args.format.is_json() {
        print_json(&told)?;
    }
    if args.budget.is_some() {
        print_error(&format!(
            "vitalsign: verified {seen} of {} archives, the longest unverified first\n",
            archives.len()
        ));
    }
    // That one is damaged says more than that another one could not be read.
    let Some(exit) = failed.iter().find(|exit| **exit == Exit::Damaged).or(failed.first()) else {
        return Ok(Exit::Done);
    };
    Err(CommandFailure::new(*exit, format!("{} of {seen} archives did not pass the verification", failed.len()))
        .hint("the lines above say what is wrong with each"))
}

/// The archives of the folder; those that were verified long ago, or never, come first.
fn listed(global: &Global, args: &VerifyArgs) -> Result<Vec<PathBuf>, CommandFailure> {
    let folder = folder(global, args.out.as_deref())?;
    let mut listed = backup::list(&folder, false).map_err(|failure| CommandFailure::backup(&failure))?;
    if listed.is_empty() {
        let what = format!("there are no archives in {}, so nothing was verified", folder.display());
        return Err(CommandFailure::new(Exit::Environment, what).hint("name the folder with --out"));
    }
    let now = SystemClock.now();
    listed.sort_by_key(|one| backup::proven_at(one, now));
    Ok(listed.into_iter().map(|one| one.path).collect())
}

/// Whether an archive that was in the folder is there no more.
fn is_gone(archive: &Path) -> bool {
    matches!(files::stat(archive), Ok(None)) && !files::is_link(archive)
}

/// Verifies an archive, and adds what is known of it to `told`, or else a line to `text`.
fn one(archive: &Path, full: bool, told: Option<&mut Vec<Value>>, text: &mut String) -> Result<Exit, CommandFailure> {
    let found = backup::verify(archive, full, &env::temp_dir(), &SystemClock, &Bar::new())
        .map_err(|failure| CommandFailure::backup(&failure))?;
    if let Some(told) = told {
        let mut value = serde_json::to_value(&found.record).unwrap_or_default();
        value["path"] = archive.display().to_string().into();
        value["sums"] = found.has_sums.into();
        told.push(value);
    } else {
        let word = if found.record.verdict == Verdict::Verified { " is intact" } else { "" };
        text.push_str(&format!("{}{word}: {}\n", archive.display(), said(&found)));
    }
    match &found.record {
        Manifest { verdict: Verdict::Flawed, flaw, .. } if found.record.judged().faults().is_none() => {
            let why = flaw.as_deref().unwrap_or_default();
            let what = format!("what is included in {} has faults: {why}", archive.display());
            Err(CommandFailure::new(Exit::Damaged, what).hint(INCLUDE_HINT))
        }
        Manifest { verdict: Verdict::Flawed, .. } => {
            let what = format!("the database in {} has faults", archive.display());
            Err(CommandFailure::new(Exit::Damaged, what).hint(FAULTS_HINT))
        }
        Manifest { verdict: Verdict::Incomplete, flaw, .. } => {
            let why = flaw.as_deref().unwrap_or_default();
            let what = format!("{} lacks rows that were committed before the backup: {why}", archive.display());
            Err(CommandFailure::new(Exit::Damaged, what).hint("restore it only where no better archive is left"))
        }
        _ => Ok(Exit::Done),
    }
}

fn said(found: &Verified) -> String {
    let record = &found.record;
    let sums = if found.has_sums { "every checksum matches" } else { "it has no checksums to compare with" };
    let judged = record.judged().said("its database");
    let rows = record.records.map(|count| format!(", {} records", grouped(count))).unwrap_or_default();
    let include = included(record).map(|more| format!(", {more}")).unwrap_or_default();
    format!("{sums}, and {judged}; {}{rows}{include}", bytes(record.database_bytes))
}
