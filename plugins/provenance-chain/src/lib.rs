//! A check: every record has a provenance row, and the chain of digests over those rows is unbroken.
//!
//! Two walks in pages, so that no query is long: the provenance rows, each against the one before it, then the records.
//! Knows no other table.

mod chain;
mod orphans;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use vitalsign_plugin::{
    Check, Failure, Grant, Report,
    budget::Budget,
    pages::{Pages, Scan, Search},
    registry::{Row, Value, identifier},
};

use crate::chain::{Fault, Link};

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
        let run = Run { budget: Budget::millis(config.budget_ms), config };
        let mut report = Report::new("");
        let links = run.chain(&mut report)?;
        let records = orphans::look(&run, &mut report)?;
        report.summary = summary(&links, &records);
        Ok(report)
    }
}

/// One run: what it was told, and the time it has.
struct Run {
    config: Config,
    budget: Budget,
}

/// How far a walk got and what it found.
#[derive(Debug, Default)]
struct Walked {
    rows: u64,
    bad: u64,
    finished: bool,
    last: Option<Value>,
}

macro_rules! walked {
    ($walk:expr, $bad:expr) => {
        $crate::Walked { rows: $walk.seen(), bad: $bad, finished: $walk.finished(), last: $walk.last_key().cloned() }
    };
}
use walked;

impl Run {
    /// Follows the chain.
    fn chain(&self, report: &mut Report) -> Result<Walked, Failure> {
        let walked = if self.config.recompute { self.every_link(report) } else { self.broken_links(report) }?;
        let Config { provenance, columns, max_findings, .. } = &self.config;
        if let Some(rest) = walked.bad.checked_sub(u64::from(*max_findings)).filter(|rest| *rest > 0) {
            let at = if *max_findings == 0 { format!("{rest} rows") } else { format!("{rest} more rows") };
            report.error("chain-broken", format!("the chain is broken at {at}")).subject(provenance);
        }
        if let Some(last) = report.findings.last_mut() {
            last.hint("restore a backup from before the first break, or find out who wrote around the registry");
        }
        if !walked.finished {
            self.unfinished(report, &walked, "provenance rows", &format!("after {}", columns.seq));
        }
        report.measure("provenance_rows", walked.rows, "rows");
        report.measure("chain_breaks", walked.bad, "rows").error_from(1);
        Ok(walked)
    }

    /// Lets SQLite compare each row with the one before it: only the breaks come over.
    fn broken_links(&self, report: &mut Report) -> Result<Walked, Failure> {
        let Columns { digest, prev_digest, .. } = &self.config.columns;
        let empty = |name: &str| format!("coalesce({}, '')", column("p", name));
        // NULL, that is a row before it without digest, is not unequal to anything.
        let broken = format!("{} = '' OR {} <> {}", empty(digest), empty(prev_digest), self.before());
        let mut search = Search::new(self.links(), broken, self.config.max_findings);
        while !search.finished() && !self.budget.spent() {
            let Some(page) = search.next_page()? else { break };
            for row in page.iter() {
                let link = read(&row)?;
                // What SQLite calls unequal may read the same: a text and the bytes of it.
                let fault = link.fault(false).unwrap_or_else(|| link.unlinked());
                self.broken(report, &row, &fault)?;
            }
        }
        Ok(walked!(search, search.found()))
    }

    /// Reads every row, to compute its digest again.
    fn every_link(&self, report: &mut Report) -> Result<Walked, Failure> {
        let mut pages = Pages::new(self.links());
        let mut bad = 0;
        while !pages.finished() && !self.budget.spent() {
            let Some(page) = pages.next_page()? else { break };
            for row in page.iter() {
                let Some(fault) = read(&row)?.fault(true) else { continue };
                bad += 1;
                if bad <= u64::from(self.config.max_findings) {
                    self.broken(report, &row, &fault)?;
                }
            }
        }
        Ok(walked!(pages, bad))
    }

    /// The provenance rows, each with what [`read`] reads.
    fn links(&self) -> Scan {
        let Columns { seq, record_id, digest, prev_digest, .. } = &self.config.columns;
        let mut columns = [record_id, digest, prev_digest].map(|name| column("p", name)).to_vec();
        columns.push(self.before());
        Scan {
            key: column("p", seq),
            columns,
            from: format!("{} AS p", identifier(&self.config.provenance)),
            filter: None,
        }
    }

    /// The digest of the row before: empty for the first row, NULL when that row has none.
    fn before(&self) -> String {
        let Columns { seq, digest, .. } = &self.config.columns;
        let [digest, q_seq, p_seq] = [column("q", digest), column("q", seq), column("p", seq)];
        let table = identifier(&self.config.provenance);
        // A byte of zero stands for "has none" until it is known whether there is a row at all.
        format!(
            "nullif(coalesce((SELECT coalesce(nullif({digest}, ''), x'00') FROM {table} AS q \
             WHERE {q_seq} < {p_seq} ORDER BY {q_seq} DESC LIMIT 1), ''), x'00')"
        )
    }

    fn broken(&self, report: &mut Report, row: &Row<'_>, fault: &Fault) -> Result<(), Failure> {
        let at = format!("{} {}", self.config.columns.seq, word(row.value(0)?).unwrap_or_default());
        report.error("chain-broken", format!("the chain is broken at {at}: {fault}")).subject(at);
        Ok(())
    }

    /// Says how far a walk got that time did not suffice for. `behind` says behind what the rest lies.
    fn unfinished(&self, report: &mut Report, walked: &Walked, what: &str, behind: &str) {
        let rest = walked.last.as_ref().and_then(word).map(|last| format!(" those {behind} {last}"));
        let message = format!(
            "in {} ms, {} {what} were looked at;{} were not",
            self.config.budget_ms,
            walked.rows,
            rest.unwrap_or_else(|| " the others".to_owned())
        );
        report
            .unknown("unfinished", message)
            .hint("raise `budgetMs` in the plugin's config, and its `timeoutMs` above that");
    }
}

fn read<'a>(row: &Row<'a>) -> Result<Link<'a>, Failure> {
    let [record, digest, named, before] = [1, 2, 3, 4].map(|column| row.value(column).map(word));
    Ok(Link { record: record?, digest: digest?, named: named?, before: before? })
}

fn summary(links: &Walked, records: &Walked) -> String {
    let of = |walked: &Walked, what: &str, good: &str, bad: &str| match walked {
        Walked { rows, bad: 0, finished: true, .. } => format!("{rows} {what}, {good}"),
        Walked { rows, bad: 0, .. } => format!("{rows} {what} looked at, {good} so far"),
        Walked { rows, bad: count, .. } => format!("{rows} {what}, {bad} {count}"),
    };
    let records = of(records, "records", "all with provenance", "without provenance:");
    let links = of(links, "provenance rows", "the chain unbroken", "breaks in the chain:");
    format!("{records}; {links}")
}

/// A column with its table: alone, a quoted name that is no column is a text to SQLite, and no error.
fn column(table: &str, name: &str) -> String {
    format!("{table}.{}", identifier(name))
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

vitalsign_plugin::export!(ProvenanceChain);

#[cfg(test)]
mod tests;
