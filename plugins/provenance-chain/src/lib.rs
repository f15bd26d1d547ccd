//! A check: every record has a provenance row, and the chain of digests over those rows is unbroken.
//!
//! Two walks in pages: first the provenance rows, which gives the chain and the set of records that have provenance; then
//! the records. It needs no index beyond the keys, and no query is long. Knows no other table.

mod chain;

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher as _},
};

use schemars::JsonSchema;
use serde::Deserialize;
use vitalsign_plugin::{
    Check, Failure, Grant, Report,
    budget::Budget,
    pages::{Pages, Scan},
    registry::{Value, identifier},
};

use crate::chain::{Chain, Link};

/// Where the rows are, and how far to go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Config {
    /// The table of records.
    records: String,
    /// The table of provenance rows.
    provenance: String,
    /// The columns of both.
    columns: Columns,
    /// Whether to compute each digest again: SHA-256, in hexadecimal, of the previous digest followed by the record's id.
    recompute: bool,
    /// How many findings of one kind are listed one by one; the rest is counted.
    max_findings: u32,
    /// The milliseconds after which the check ends by itself and says how far it got. Keep it below the plugin's `timeoutMs`.
    budget_ms: u64,
}

/// The names of the columns.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Columns {
    /// A record's key. Unique; the primary key or a column with an index.
    id: String,
    /// The order of the provenance rows. Unique; the primary key or a column with an index.
    seq: String,
    /// The record that a provenance row is about.
    record_id: String,
    /// A provenance row's digest.
    digest: String,
    /// The digest of the row before it; NULL or empty in the first.
    prev_digest: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            records: "records".to_owned(),
            provenance: "provenance".to_owned(),
            columns: Columns::default(),
            recompute: false,
            max_findings: 10,
            budget_ms: 1500,
        }
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            seq: "seq".to_owned(),
            record_id: "record_id".to_owned(),
            digest: "digest".to_owned(),
            prev_digest: "prev_digest".to_owned(),
        }
    }
}

/// The check.
pub struct ProvenanceChain;

impl Check for ProvenanceChain {
    type Config = Config;
    const NAME: &'static str = "provenance-chain";
    const SUMMARY: &'static str = "Every record has a provenance row, and the chain of digests is unbroken.";

    fn grants() -> Vec<Grant> {
        vec![Grant::Registry]
    }

    fn run(config: Config) -> Result<Report, Failure> {
        let budget = Budget::millis(config.budget_ms);
        let mut report = Report::new("");
        let (links, known) = walk_chain(&mut report, &config, &budget)?;
        let records = match known {
            Some(known) => Some(walk_records(&mut report, &config, &budget, &known)?),
            None => None,
        };
        report.summary = summary(&links, records.as_ref());
        Ok(report)
    }
}

/// How far a walk got and what it found.
struct Walked {
    rows: u64,
    bad: u64,
    finished: bool,
}

/// Follows the chain. Gives the records that have provenance, unless time ran out before all were seen.
fn walk_chain(report: &mut Report, config: &Config, budget: &Budget) -> Result<(Walked, Option<Known>), Failure> {
    let Columns { seq, record_id, digest, prev_digest, .. } = &config.columns;
    let mut pages = Pages::new(Scan {
        key: column(&config.provenance, seq),
        columns: [record_id, digest, prev_digest].map(|name| column(&config.provenance, name)).to_vec(),
        from: identifier(&config.provenance),
        filter: None,
    });
    let mut chain = Chain::new(config.recompute);
    let mut known = Known::default();
    let mut bad = Tally::new(config.max_findings);
    while !pages.finished() && !budget.spent() {
        let Some(page) = pages.next_page()? else { break };
        for row in page.iter() {
            let record = word(row.value(1)?);
            let link = Link { record: record.as_deref(), digest: word(row.value(2)?), before: word(row.value(3)?) };
            if let Some(fault) = chain.follow(&link)
                && bad.listed()
            {
                let at = format!("{seq} {}", word(row.value(0)?).unwrap_or_default());
                report.error("chain-broken", format!("the chain is broken at {at}: {fault}")).subject(at);
            }
            if let Some(record) = &record {
                known.insert(record);
            }
        }
    }
    let walked = Walked { rows: pages.seen(), bad: bad.count, finished: pages.finished() };
    if let Some(rest) = bad.rest() {
        report.error("chain-broken", format!("the chain is broken at {rest} more rows")).subject(&config.provenance);
    }
    if bad.count > 0
        && let Some(last) = report.findings.last_mut()
    {
        last.hint("restore a backup from before the first break, or find out who wrote around the registry");
    }
    if !walked.finished {
        let to = pages.last_key().and_then(word).unwrap_or_default();
        let rest = format!("the rows after {seq} {to}, and all records, were not looked at");
        unfinished(report, config, &format!("{} provenance rows", walked.rows), &rest);
    }
    report.measure("provenance_rows", walked.rows, "rows");
    report.measure("chain_breaks", walked.bad, "rows").error_from(1);
    let known = walked.finished.then(|| known.sorted());
    Ok((walked, known))
}

/// Looks for records without provenance.
fn walk_records(report: &mut Report, config: &Config, budget: &Budget, known: &Known) -> Result<Walked, Failure> {
    let id = &config.columns.id;
    let mut pages =
        Pages::new(Scan { key: identifier(id), columns: Vec::new(), from: identifier(&config.records), filter: None });
    let mut bad = Tally::new(config.max_findings);
    while !pages.finished() && !budget.spent() {
        let Some(page) = pages.next_page()? else { break };
        for row in page.iter() {
            let record = word(row.value(0)?).unwrap_or_default();
            if !known.has(&record) && bad.listed() {
                report.error("no-provenance", format!("record {record} has no provenance row")).subject(record);
            }
        }
    }
    let walked = Walked { rows: pages.seen(), bad: bad.count, finished: pages.finished() };
    if let Some(rest) = bad.rest() {
        report.error("no-provenance", format!("{rest} more records have no provenance row")).subject(&config.records);
    }
    if bad.count > 0
        && let Some(last) = report.findings.last_mut()
    {
        last.hint("find out what wrote them: every write to the registry has to leave a provenance row");
    }
    if !walked.finished {
        let to = pages.last_key().and_then(word).unwrap_or_default();
        unfinished(
            report,
            config,
            &format!("{} records", walked.rows),
            &format!("those after {to} were not looked at"),
        );
    }
    report.measure("records", walked.rows, "rows");
    report.measure("orphans", walked.bad, "rows").error_from(1);
    Ok(walked)
}

/// A column with its table: alone, a quoted name that is no column is a text to SQLite, and no error.
fn column(table: &str, name: &str) -> String {
    format!("{}.{}", identifier(table), identifier(name))
}

fn unfinished(report: &mut Report, config: &Config, done: &str, rest: &str) {
    let message = format!("after {} ms, {done} were looked at; {rest}", config.budget_ms);
    report
        .unknown("unfinished", message)
        .hint("raise `budgetMs` in the plugin's config, and its `timeoutMs` above that");
}

fn summary(links: &Walked, records: Option<&Walked>) -> String {
    let rows = links.rows;
    let chain = match (links.bad, links.finished) {
        (0, true) => format!("{rows} provenance rows in an unbroken chain"),
        (0, false) => format!("{rows} provenance rows looked at, unbroken so far"),
        (bad, _) => format!("{rows} provenance rows, the chain is broken at {bad}"),
    };
    let records = match records {
        None => "records not looked at".to_owned(),
        Some(Walked { rows, bad: 0, finished: true }) => format!("{rows} records, all with provenance"),
        Some(Walked { rows, bad: 0, .. }) => format!("{rows} records looked at, all with provenance so far"),
        Some(Walked { rows, bad, .. }) => format!("{rows} records, {bad} without provenance"),
    };
    format!("{records}; {chain}")
}

/// A value as a word to compare: `None` for NULL, bytes in hexadecimal.
fn word(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Integer(number) => Some(Cow::Owned(number.to_string())),
        Value::Real(number) => Some(Cow::Owned(number.to_string())),
        Value::Blob(bytes) => Some(Cow::Owned(chain::hex(bytes))),
    }
}

/// Counts what is bad, and says which of it is to be listed.
struct Tally {
    most: u64,
    count: u64,
}

impl Tally {
    fn new(most: u32) -> Self {
        Self { most: most.into(), count: 0 }
    }

    /// Counts one more; true while it is to be listed.
    fn listed(&mut self) -> bool {
        self.count += 1;
        self.count <= self.most
    }

    /// How many were counted beyond those listed.
    fn rest(&self) -> Option<u64> {
        self.count.checked_sub(self.most).filter(|rest| *rest > 0)
    }
}

/// The records that have provenance, as 64-bit hashes: 8 bytes a row where the ids themselves would fill the memory.
///
/// Two ids with one hash could hide a missing row; among a million records the odds of that are below one in ten million.
#[derive(Default)]
struct Known(Vec<u64>);

impl Known {
    fn insert(&mut self, id: &str) {
        self.0.push(hash(id));
    }

    fn sorted(mut self) -> Self {
        self.0.sort_unstable();
        self
    }

    fn has(&self, id: &str) -> bool {
        self.0.binary_search(&hash(id)).is_ok()
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id.as_bytes());
    hasher.finish()
}

vitalsign_plugin::export!(ProvenanceChain);

#[cfg(test)]
mod tests;
