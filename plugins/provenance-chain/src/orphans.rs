//! Records without provenance.
//!
//! With an index on the provenance rows' record, SQLite looks each record up. Without one that would read all provenance
//! for every record, so the ids are read instead and compared here.

use std::hash::{DefaultHasher, Hasher as _};

use vitalsign_plugin::{
    Failure, Report,
    pages::{Pages, Scan, Search},
    params,
    registry::{self, identifier},
};

use crate::{Columns, Config, Run, Walked, column, walked, word};

/// Looks for records without provenance.
pub(crate) fn look(run: &Run, report: &mut Report) -> Result<Walked, Failure> {
    let walked = if indexed(run) { search(run, report) } else { compare(run, report) }?;
    let Config { records, columns, max_findings, .. } = &run.config;
    if let Some(rest) = walked.bad.checked_sub(u64::from(*max_findings)).filter(|rest| *rest > 0) {
        let more = if *max_findings == 0 { "" } else { "more " };
        report.error("no-provenance", format!("{rest} {more}records have no provenance row")).subject(records);
    }
    if let Some(last) = report.findings.last_mut().filter(|last| last.code == "no-provenance") {
        last.hint("find out what wrote them: every write to the registry has to leave a provenance row");
    }
    if !walked.finished {
        run.unfinished(report, &walked, "records", &format!("after {}", columns.id));
    }
    report.measure("records", walked.rows, "rows");
    report.measure("orphans", walked.bad, "rows").error_from(1);
    Ok(walked)
}

/// Whether SQLite finds a record's provenance without reading all of it. When it does not say, it is taken not to.
fn indexed(run: &Run) -> bool {
    let Config { provenance, columns: Columns { record_id, .. }, .. } = &run.config;
    let (table, column) = (identifier(provenance), column("q", record_id));
    let plan =
        registry::query(&format!("EXPLAIN QUERY PLAN SELECT 1 FROM {table} AS q WHERE {column} = ?1"), params![""]);
    plan.is_ok_and(|plan| plan.iter().any(|row| row.text(3).is_ok_and(|detail| detail.starts_with("SEARCH"))))
}

/// Lets SQLite look each record up: only the orphans come over.
fn search(run: &Run, report: &mut Report) -> Result<Walked, Failure> {
    let Config { provenance, columns: Columns { id, record_id, .. }, max_findings, .. } = &run.config;
    let (provenance, record_id, id) = (identifier(provenance), column("q", record_id), column("r", id));
    let orphan = format!("NOT EXISTS (SELECT 1 FROM {provenance} AS q WHERE {record_id} = {id})");
    let mut search = Search::new(records(run), orphan, *max_findings);
    while !search.finished() && !run.budget.spent() {
        let Some(page) = search.next_page()? else { break };
        for row in page.iter() {
            tell(report, &word(row.value(0)?).unwrap_or_default());
        }
    }
    Ok(walked!(search, search.found()))
}

/// Reads the ids on both sides and compares them here.
fn compare(run: &Run, report: &mut Report) -> Result<Walked, Failure> {
    let Some(known) = known(run)? else { return Ok(Walked::default()) };
    let mut pages = Pages::new(records(run));
    let mut bad = 0;
    while !pages.finished() && !run.budget.spent() {
        let Some(page) = pages.next_page()? else { break };
        for row in page.iter() {
            let id = word(row.value(0)?).unwrap_or_default();
            if known.binary_search(&hash(&id)).is_ok() {
                continue;
            }
            bad += 1;
            if bad <= u64::from(run.config.max_findings) {
                tell(report, &id);
            }
        }
    }
    Ok(walked!(pages, bad))
}

/// The records that have provenance, sorted, as 64-bit hashes: 8 bytes a row where the ids would fill the memory. `None`
/// when time ran out.
///
/// Two ids with one hash could hide a missing row; among a million records the odds of that are below one in ten million.
fn known(run: &Run) -> Result<Option<Vec<u64>>, Failure> {
    let Config { provenance, columns: Columns { seq, record_id, .. }, .. } = &run.config;
    let mut pages = Pages::new(Scan {
        key: column("p", seq),
        columns: vec![column("p", record_id)],
        from: format!("{} AS p", identifier(provenance)),
        filter: None,
    });
    let mut known = Vec::new();
    while !pages.finished() {
        if run.budget.spent() {
            return Ok(None);
        }
        let Some(page) = pages.next_page()? else { break };
        for row in page.iter() {
            known.extend(word(row.value(1)?).map(|id| hash(&id)));
        }
    }
    known.sort_unstable();
    Ok(Some(known))
}

fn records(run: &Run) -> Scan {
    let Config { records, columns: Columns { id, .. }, .. } = &run.config;
    Scan { key: column("r", id), columns: Vec::new(), from: format!("{} AS r", identifier(records)), filter: None }
}

fn tell(report: &mut Report, id: &str) {
    report.error("no-provenance", format!("record {id} has no provenance row")).subject(id);
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id.as_bytes());
    hasher.finish()
}
