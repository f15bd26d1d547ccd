//! `vitalsign list`: the archives of a folder, newest first.

use std::time::Duration;

use super::{
    CommandFailure, Exit,
    args::{Global, ListArgs},
    backup::folder,
    print, print_json,
};
use crate::backup::{self, CatalogEntry};
use vitalsign_base::{
    clock::{Clock, SystemClock, Timestamp},
    value::{bytes, grouped, span},
};

pub(super) fn run(global: &Global, args: &ListArgs) -> Result<Exit, CommandFailure> {
    let folder = folder(global, args.out.as_deref())?;
    let listed = backup::list(&folder, true).map_err(|failure| CommandFailure::backup(&failure))?;
    if args.format.is_json() {
        print_json(&listed)?;
    } else if listed.is_empty() {
        print(&format!("there are no archives in {}\n", folder.display()))?;
    } else {
        print(&table(&listed, SystemClock.now()))?;
    }
    Ok(Exit::Done)
}

/// One line an archive, in columns.
fn table(listed: &[CatalogEntry], now: Timestamp) -> String {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), grouped);
    let mut rows = vec![["AGE", "SIZE", "DATABASE", "RECORDS", "PROVENANCE", "PROOF", "ARCHIVE"].map(str::to_owned)];
    rows.extend(listed.iter().map(|one| {
        [
            age(one.created_at, now),
            bytes(one.bytes),
            one.database_bytes.map_or("-".to_owned(), bytes),
            count(one.records),
            count(one.provenance_rows),
            proof(one),
            one.path.display().to_string(),
        ]
    }));
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0..5 => format!("{cell:>width$}"),
            5 => format!("{cell:width$}"),
            _ => cell.clone(),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

fn proof(one: &CatalogEntry) -> String {
    let pinned = if one.pinned { ", pinned" } else { "" };
    let included = match one.include.len() {
        0 => String::new(),
        more => format!(", {} included", grouped(more as u64)),
    };
    format!("{}{included}{pinned}", one.standing.as_str())
}

fn age(at: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(now.duration_since(at)) {
        Ok(age) => span(age),
        Err(_) => "future".to_owned(),
    }
}
