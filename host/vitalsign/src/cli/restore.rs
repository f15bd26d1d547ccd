//! `vitalsign restore`: replaces the database by that of an archive, or with `--undo` by what the last restore replaced.

use std::{
    env,
    path::{self, Path, PathBuf},
};

use serde_json::json;

use super::{
    CommandFailure, Exit,
    args::{Global, RestoreArgs},
    assemble::load_config,
    print, print_json,
    progress::Bar,
    stream,
    timeout::tell_if_silent,
    within,
};
use crate::{
    backup::{
        self, DatabaseSummary, IncludeDestination, MustMatch, RestoreRequest, Restored, Structure, TableNames,
        UndoRequest, Undone,
    },
    config::EffectiveConfig,
};
use vitalsign_base::{
    clock::{Clock as _, SystemClock, Timestamp},
    files,
    value::{grouped, printable},
};
use vitalsign_sqlite::RowCount;

/// Where the export of the registry goes, seen from the root.
const LOG: &str = "var/registry-provenance.jsonl";

/// What the name of an export beside another database ends with.
const BESIDE: &str = ".provenance.jsonl";
/// The longest date or path out of an archive that is shown: the longest path that Linux takes.
const MAX_SHOWN_BYTES: usize = 4096;

pub(super) fn run(global: &Global, args: &RestoreArgs) -> Result<Exit, CommandFailure> {
    let effective = load_config(global, None)?;
    tell_if_silent(vec![effective.db.clone()]);
    let scratch = env::temp_dir();
    let (received, found) = (received(args)?, newest(args, &effective)?);
    let given = match &received {
        Some(received) => Some(received.path.clone()),
        None => args.archive().map(|archive| within(global, archive)),
    };
    let Some(archive) = found.or(given) else {
        return undo(global, args, &effective);
    };
    tell_if_silent(vec![archive.clone()]);
    let log = match &args.log {
        Some(log) => within(global, log),
        None => usual_log(global, &effective.db)?,
    };
    let request = RestoreRequest {
        archive: &archive,
        db: &effective.db,
        log: &log,
        force: args.force,
        schema_version: effective.checks.expected_schema_version.filter(|_| !args.any_schema),
        must_match: match (args.another_database, &global.db) {
            (true, _) => MustMatch::Nothing,
            (false, Some(_)) => MustMatch::Content,
            (false, None) => MustMatch::Database,
        },
        identity: effective.backup.identity.as_deref(),
        tables: TableNames {
            records: &effective.checks.records_table.name,
            provenance: &effective.checks.provenance_table.name,
        },
        dry_run: args.dry_run,
        despite_faults: args.despite_faults,
        include: effective.backup.include.as_deref().map_or(IncludeDestination::Beside, IncludeDestination::ByName),
        scratch: &scratch,
    };
    let failed = |failure: backup::Error| CommandFailure::backup(&failure);
    let bar = Bar::new();
    let prepared = backup::prepare(&request, &bar).map_err(failed)?;
    if !args.format.is_json() {
        print(&planned(prepared.expected(), &request, &plain_copy(&archive, received.is_some())))?;
    }
    let restored = match args.dry_run {
        true => prepared.expected().clone(),
        false => prepared.complete(&SystemClock).map_err(failed)?,
    };
    let printed = match (args.format.is_json(), args.dry_run) {
        (true, _) => print_json(&as_json(&restored, args.dry_run)),
        (false, true) => Ok(()),
        (false, false) => print(&said(&restored)),
    };
    match args.dry_run {
        true => printed?,
        false => printed.map_err(|failure| failure.before(&format!("{} was restored", effective.db.display())))?,
    }
    Ok(Exit::Done)
}

/// The archive on standard input, if that is the one.
fn received(args: &RestoreArgs) -> Result<Option<stream::Received>, CommandFailure> {
    match args.archive() {
        Some(archive) if stream::is_stream(archive) => stream::received().map(Some),
        _ => Ok(None),
    }
}

/// The newest archive, or that of a time, if one of these was asked for.
fn newest(args: &RestoreArgs, effective: &EffectiveConfig) -> Result<Option<PathBuf>, CommandFailure> {
    if !args.latest && args.at.is_none() {
        return Ok(None);
    }
    let (dir, named) = (&effective.backup.dir, effective.backup.identity.as_deref());
    tell_if_silent(vec![dir.clone()]);
    let found = backup::newest_until(dir, &effective.db, named, args.at, SystemClock.now());
    Ok(Some(found.map_err(|failure| CommandFailure::backup(&failure))?.path))
}

/// Brings back what the last restore replaced.
fn undo(global: &Global, args: &RestoreArgs, effective: &EffectiveConfig) -> Result<Exit, CommandFailure> {
    let (db, scratch) = (effective.db.as_path(), env::temp_dir());
    let log = args.log.as_deref().map(|log| within(global, log));
    let include = effective.backup.included();
    let request = UndoRequest { db, log: log.as_deref(), include, scratch: &scratch };
    let undone = backup::undo(&request, &SystemClock).map_err(|failure| CommandFailure::backup(&failure))?;
    let kept = undone.replaced.as_deref().map(shown);
    let printed = match args.format.is_json() {
        true => print_json(&json!({ "database": shown(db), "replaced": kept, "interrupted": undone.interrupted })),
        false => print(&said_of_undo(db, &undone)),
    };
    // Nobody must believe that nothing has changed.
    printed.map_err(|failure| failure.before(&format!("{} was put back", db.display())))?;
    Ok(Exit::Done)
}

/// Where the export goes unless somebody says otherwise: what is restored elsewhere leaves the registry's own export alone.
fn usual_log(global: &Global, db: &Path) -> Result<PathBuf, CommandFailure> {
    let registry = load_config(&Global { db: None, ..global.clone() }, None)?.db;
    // Where neither is there yet, nor the folder of either, they are told by their names.
    let is_registry = files::is_same_file(&registry, db) || path::absolute(&registry).ok() == path::absolute(db).ok();
    Ok(match is_registry {
        true => within(global, Path::new(LOG)),
        false => files::beside(db, BESIDE),
    })
}

fn said_of_undo(db: &Path, undone: &Undone) -> String {
    let kept = match &undone.replaced {
        Some(kept) => format!("the files that were there are kept in {}\n", kept.display()),
        None => String::new(),
    };
    match undone.interrupted {
        true => format!("put back {}, where a restore or an undo had been interrupted\n", db.display()),
        false => format!("put back {}\n{kept}", db.display()),
    }
}

/// A path as text: it need not be UTF-8, and JSON has nothing else.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn as_json(restored: &Restored, dry_run: bool) -> serde_json::Value {
    let content = |content: &DatabaseSummary| {
        json!({
            "schemaVersion": content.schema_version,
            "records": content.records.map(|count| count.rows),
            "provenanceRows": content.provenance_rows.map(|count| count.rows),
        })
    };
    let mut text = json!({
        "database": shown(&restored.database),
        "log": restored.log.as_deref().map(shown),
        "replaced": restored.replaced.as_deref().map(shown),
        "createdAt": restored.created_at,
        "source": restored.source,
        "host": restored.host,
        "present": restored.present.as_ref().map(|present| json!({
            "modifiedAt": present.modified_at.map(|at| format!("{at:.0}")),
            "bytes": present.bytes,
            "content": present.content.as_ref().ok().map(content),
            "unreadable": present.content.as_ref().err(),
        })),
        "structure": restored.judged.structure,
        "checked": restored.judged.checked,
        "sums": restored.has_sums,
        "incomplete": restored.incomplete,
        "include": restored.include.iter().map(|put| json!({
            "name": put.name,
            "path": shown(&put.path),
            "replaces": put.replaces,
            "inArchive": put.is_there,
        })).collect::<Vec<_>>(),
        "notIncluded": restored.not_included,
        "dryRun": dry_run,
    });
    if let (Some(text), serde_json::Value::Object(content)) = (text.as_object_mut(), content(&restored.content)) {
        text.extend(content);
    }
    text
}

/// A copy that does not say itself when it was made and of what.
fn plain_copy(path: &Path, is_received: bool) -> String {
    if is_received {
        return "standard input is a plain copy of a database".to_owned();
    }
    let written = files::stat(path).ok().flatten().and_then(|found| Timestamp::from_nanosecond(found.modified_ns).ok());
    let written = written.map(|at| format!(", last written at {at:.0}")).unwrap_or_default();
    format!("{} is a plain copy of a database{written}", path.display())
}

/// What a restore is about to do, before it changes anything. `plain_copy` is what is said of one.
fn planned(restored: &Restored, request: &RestoreRequest<'_>, plain_copy: &str) -> String {
    let mut text = match request.dry_run {
        true => format!("can be restored: {}\n", restored.database.display()),
        false => format!("restoring {}\n", restored.database.display()),
    };
    let mut say = |line: String| text.push_str(&format!("  {line}\n"));
    let outside = |text: &Option<String>| text.as_deref().map(|text| printable(text, MAX_SHOWN_BYTES));
    let made = outside(&restored.created_at).unwrap_or_else(|| "an unknown time".to_owned());
    let source = outside(&restored.source).map(|source| format!(" from {source}")).unwrap_or_default();
    let host = outside(&restored.host).map(|host| format!(" on the host {host}")).unwrap_or_default();
    let holds_now = holds(&restored.content);
    say(match restored.is_plain {
        true => format!("{plain_copy}: {holds_now}"),
        false => format!("the archive was made at {made}{source}{host}: {holds_now}"),
    });
    let judged = restored.judged.said("the database");
    say(match (&restored.judged.structure, restored.has_sums) {
        (Structure::NotChecked(_), _) => judged,
        (_, true) => format!("every checksum matches, and {judged}"),
        (_, false) if restored.is_plain => judged,
        (_, false) => format!("the archive has no checksums to compare with; {judged}"),
    });
    if let Some(why) = &restored.incomplete {
        say(format!("rows that were committed before the backup are missing: {why}"));
    }
    if let Some(log) = &restored.log {
        say(format!("the provenance export goes to {}", log.display()));
    }
    for put in &restored.include {
        let (name, path) = (printable(&put.name, MAX_SHOWN_BYTES), put.path.display());
        say(match (put.is_there, put.replaces) {
            (false, _) => format!("`{name}` was not there when the archive was made; {path} stays as it is"),
            (true, false) => format!("`{name}` goes to {path}"),
            (true, true) => format!("`{name}` replaces {path}"),
        });
    }
    for name in &restored.not_included {
        say(format!("the archive does not contain `{name}`, which `backup.include` names; it stays as it is"));
    }
    let Some(present) = &restored.present else {
        say("there is no database at the destination yet".to_owned());
        if request.dry_run {
            say("nothing was changed (--dry-run)".to_owned());
        }
        return text;
    };
    let written = present.modified_at.map(|at| format!(", last written at {at:.0}")).unwrap_or_default();
    say(match &present.content {
        Ok(content) => format!("it replaces the present database{written}: {}", holds(content)),
        Err(why) => format!("it replaces the present database{written}, which cannot be read: {why}"),
    });
    if request.dry_run {
        let force = if request.force { "" } else { "; the restore itself needs --force to replace the database" };
        say(format!("nothing was changed (--dry-run){force}"));
    }
    text
}

/// What a database holds, in one line.
fn holds(content: &DatabaseSummary) -> String {
    let rows = |count: Option<RowCount>, of: &str| {
        count.map(|RowCount { rows, exact }| {
            let about = if exact { "" } else { "about " };
            format!(", {about}{} {of}", grouped(rows))
        })
    };
    let records = rows(content.records, "records").unwrap_or_default();
    let provenance = rows(content.provenance_rows, "provenance rows").unwrap_or_default();
    format!("schema version {}{records}{provenance}", content.schema_version)
}

/// What a restore has done.
fn said(restored: &Restored) -> String {
    let mut text = format!("restored {}\n", restored.database.display());
    if let Some(replaced) = &restored.replaced {
        text.push_str(&format!(
            "  the files that were there are kept in {}; `vitalsign restore --undo` puts them back\n",
            replaced.display()
        ));
    }
    text
}
