//! `vitalsign backup`: one archive, verified; prints its path.

use std::{env, path::Path};

use super::{
    CommandFailure, Exit,
    args::{BackupArgs, Global},
    assemble::{backup_request, load_config},
    print, print_error, print_json,
    progress::{self, Bar},
    prune, stream,
    timeout::tell_if_silent,
    within,
};
use crate::backup::{self, CreatedBackup, RetentionRules, Structure, Verdict};
use vitalsign_base::{
    clock::{Stopwatch, SystemClock},
    value::{bytes, grouped, span},
};

/// What to do about faults in the database of an archive.
pub(super) const FAULTS_HINT: &str = "no row is lost: correct the faults in the registry as `vitalsign check --only integrity` says, then \
     make a new backup; `vitalsign restore --despite-faults` restores this one";

/// What to do about faults in what is included.
pub(super) const INCLUDE_HINT: &str = "everything else is in it: correct each of them, or `backup.include`, then make a new backup; `vitalsign restore --despite-faults` restores this one";

pub(super) fn run(global: &Global, args: &BackupArgs) -> Result<Exit, CommandFailure> {
    let effective = load_config(global, None)?;
    let scratch = env::temp_dir();
    let mut request = backup_request(&effective, &scratch);
    let passing = match args.out.as_deref() {
        Some(out) if stream::is_stream(out) => Some(passing(args)?),
        _ => None,
    };
    let out = match &passing {
        Some(folder) => Some(folder.path().to_owned()),
        None => args.out.as_deref().map(|out| within(global, out)),
    };
    request.out = out.as_deref().unwrap_or(request.out);
    let more = effective.backup.included().iter().map(|one| one.path.clone());
    tell_if_silent([effective.db.clone(), request.out.to_path_buf()].into_iter().chain(more).collect());
    request.tag.clone_from(&args.tag);
    if let Some(compression) = args.compression.filter(|compression| *compression != request.compression) {
        // A level that was meant for another method has no meaning here.
        (request.compression, request.level) = (compression, None);
    }
    request.level = args.level.or(request.level);
    if let Some(level) = args.level.filter(|level| *level > request.compression.highest_level()) {
        let why = match (request.compression.as_str(), request.compression.highest_level()) {
            (word, 0) => format!("--level {level} has no meaning with `--compression {word}`"),
            (word, most) => format!("--level {level} is too high: the highest level of {word} is {most}"),
        };
        return Err(CommandFailure::new(Exit::Usage, why));
    }
    (request.raw, request.verify) = (args.raw, !args.no_verify);
    if args.raw && !request.include.is_empty() {
        print_error(
            "vitalsign: with --raw the archive contains the database only, and not what `backup.include` names\n",
        );
    }
    request.despite_other_writers = args.despite_other_writers;
    request.accept_fewer_rows = args.accept_fewer_rows;
    request.wait = args.wait.unwrap_or_default();
    let watch = Stopwatch::start();
    let made =
        backup::create(&request, &SystemClock, &Bar::new()).map_err(|failure| CommandFailure::backup(&failure))?;
    let printed = match args.format.is_json() {
        _ if passing.is_some() => {
            stream::send(&made.path)?;
            Ok(())
        }
        true => print_json(&json(&made)),
        false => print(&format!("{}\n", made.path.display())),
    };
    // Nobody must believe that there is no archive.
    printed.map_err(|failure| failure.before(&format!("the archive {} was made", made.path.display())))?;
    if args.prune {
        pruned(&made, request.out, effective.backup.keep)?;
    }
    if progress::is_watched() {
        print_error(&format!("{} in {}\n", said(&made), span(watch.elapsed())));
    }
    match caution(&made) {
        None => Ok(Exit::Done),
        Some(caution) => {
            print_error(&caution.text());
            Ok(caution.exit)
        }
    }
}

/// The private folder of an archive that goes to standard output once it is verified.
fn passing(args: &BackupArgs) -> Result<tempfile::TempDir, CommandFailure> {
    let flags =
        [(args.format.is_json(), "--json"), (args.prune, "--prune"), (args.accept_fewer_rows, "--accept-fewer-rows")];
    let other = flags.into_iter().find(|(given, _)| *given);
    if let Some((_, flag)) = other {
        let what = format!("{flag} has no meaning with `--out -`, which writes the archive itself to standard output");
        return Err(CommandFailure::new(Exit::Usage, what));
    }
    stream::refuse_terminal()?;
    stream::private_folder()
}

/// What is said of an archive that was made, and yet is not what was wanted.
pub(super) fn caution(made: &CreatedBackup) -> Option<CommandFailure> {
    let flaw = made.record.flaw.as_ref()?;
    let has_faults = made.record.judged().faults().is_some();
    let exit = if has_faults || !made.record.include_faults.is_empty() { Exit::Damaged } else { Exit::Done };
    let (what, hint) = match made.record.verdict {
        Verdict::Incomplete => {
            ("the archive was made, but it is incomplete", "see to that process, then make a new backup")
        }
        _ if !has_faults => ("the archive was made, but what `backup.include` adds to it has faults", INCLUDE_HINT),
        _ => ("the archive was made, but the database in it has faults", FAULTS_HINT),
    };
    Some(CommandFailure::new(exit, format!("{what}: {flaw}")).hint(hint))
}

/// Removes what the rule does not keep. Nothing goes unless the new archive is proven.
fn pruned(made: &CreatedBackup, folder: &Path, keep: Option<RetentionRules>) -> Result<(), CommandFailure> {
    match keep {
        _ if made.record.verdict != Verdict::Verified => {
            print_error("vitalsign: the new archive is not verified, so no old one was removed\n");
            Ok(())
        }
        None => {
            print_error(
                "vitalsign: no rule says which archives to keep, so none was removed\n  \
                 → set `backup.keep` in the configuration\n",
            );
            Ok(())
        }
        Some(keep) => prune::after_backup(folder, keep).map_err(|failure| {
            let outcome = format!("{} was made, but old archives cannot be removed", made.path.display());
            CommandFailure::backup(&failure).before(&outcome)
        }),
    }
}

fn json(made: &CreatedBackup) -> serde_json::Value {
    let mut value = serde_json::to_value(&made.record).unwrap_or_default();
    value["path"] = made.path.display().to_string().into();
    value
}

/// One line for people who watch.
fn said(made: &CreatedBackup) -> String {
    let record = &made.record;
    let verdict = match (&record.verdict, &record.structure) {
        (Verdict::Verified, Structure::NotChecked(why)) => format!("checksums verified, structure not checked ({why})"),
        (Verdict::Unverified, _) => "not verified".to_owned(),
        (Verdict::Verified, _) => "verified".to_owned(),
        (Verdict::Flawed, _) => "verified, with faults".to_owned(),
        (Verdict::Incomplete, _) => "incomplete".to_owned(),
        (Verdict::Damaged, _) => "damaged".to_owned(),
    };
    let records = record.records.map(|count| format!("{} records, ", grouped(count))).unwrap_or_default();
    let (from, to) = (bytes(record.database_bytes), bytes(record.bytes));
    let include = included(record).map(|more| format!("{more}, ")).unwrap_or_default();
    format!("{records}{include}{from} in an archive of {to}, {verdict}")
}

/// What else is in an archive, in a few words.
pub(super) fn included(record: &backup::Manifest) -> Option<String> {
    match record.include.as_slice() {
        [] => None,
        [one] => Some(format!("with `{one}`")),
        more => Some(format!("with {} more paths", grouped(more.len() as u64))),
    }
}

/// A folder of archives: as the command line says, else as the configuration does.
pub(super) fn folder(global: &Global, out: Option<&Path>) -> Result<std::path::PathBuf, CommandFailure> {
    let folder = match out {
        Some(out) => within(global, out),
        None => load_config(global, None)?.backup.dir,
    };
    tell_if_silent(vec![folder.clone()]);
    Ok(folder)
}
