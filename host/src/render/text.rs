//! The report for a person: the verdict first, then the worst, and under what is bad what to do now.
//!
//! Colour only repeats what the words say. Text from outside is made printable here once more; widths count characters.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use anstyle::{AnsiColor, Style};

use crate::{
    report::{Entry, Finding, Measure, Origin, Report, Severity, Status, Weight},
    value::{self, printable},
};

/// How the text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// The width of a line, in characters; a word that is longer stands alone on its line.
    pub width: usize,
    /// Whether to colour.
    pub colour: bool,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self { width: 100, colour: false }
    }
}

/// Narrower than this nothing is readable, so lines run over instead.
const MIN_WIDTH: usize = 40;
/// The longest text of a finding that is shown, in bytes; `json` has all of it.
const MAX_TEXT_BYTES: usize = 2000;
/// Findings of one check that are shown; `json` has them all.
const MAX_FINDINGS: usize = 10;
/// Names that the verdict lists before it only counts.
const MAX_NAMES: usize = 5;
/// Digits of a digest that are shown: enough to tell components apart.
const DIGEST_DIGITS: usize = 12;
/// The column at which everything below a status word starts.
const INDENT: &str = "         ";

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Writes the report as text.
#[must_use]
pub fn render(report: &Report, style: &TextStyle) -> String {
    let mut page = Page { out: String::new(), width: style.width.max(MIN_WIDTH), colour: style.colour };
    verdict(&mut page, report);
    page.out.push('\n');
    let shared = shared(report);
    let names = report.checks.iter().map(|entry| entry.name.as_str().len()).max().unwrap_or(0);
    let mut blocks: Vec<Block<'_>> = shared.iter().map(|(finding, entries)| Block::Shared(finding, entries)).collect();
    let alone = |entry: &&Entry| !worth_showing(entry).all(|finding| shared.contains_key(&Key::of(finding)));
    let rest = report.checks.iter().filter(|entry| worth_showing(entry).next().is_none() || alone(entry));
    blocks.extend(rest.map(Block::One));
    blocks.sort_by_key(Block::rank);
    for block in &blocks {
        match block {
            Block::Shared(key, entries) => several(&mut page, key, entries),
            Block::One(entry) => one(&mut page, entry, names, &shared),
        }
    }
    page.out.push('\n');
    footer(&mut page, report);
    page.out
}

/// What makes two findings of two checks the same for a reader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    message: &'a str,
    subject: Option<&'a str>,
    hint: Option<&'a str>,
}

impl<'a> Key<'a> {
    fn of(finding: &'a Finding) -> Self {
        Self { message: &finding.message, subject: unsaid(finding), hint: finding.hint.as_deref() }
    }
}

type Shared<'a> = BTreeMap<Key<'a>, Vec<&'a Entry>>;

/// One paragraph: a check, or a finding that several checks share.
enum Block<'a> {
    Shared(&'a Key<'a>, &'a [&'a Entry]),
    One(&'a Entry),
}

impl Block<'_> {
    /// The worst first, then by name.
    fn rank(&self) -> (Reverse<(Severity, Status)>, String) {
        let entries = match self {
            Self::Shared(_, entries) => entries,
            Self::One(entry) => std::slice::from_ref(entry),
        };
        let worst = entries.iter().map(|entry| (entry.severity(), entry.status)).max();
        let worst = worst.unwrap_or((Severity::Ok, Status::Ok));
        (Reverse(worst), entries.first().map(|entry| entry.name.to_string()).unwrap_or_default())
    }
}

/// The findings a person wants to see: all that are not `ok`, and what says that hysteresis hides something.
fn worth_showing(entry: &Entry) -> impl Iterator<Item = &Finding> {
    let held = entry.raw_status != entry.status;
    entry.findings.iter().filter(move |finding| finding.status != Status::Ok || held)
}

/// The findings that more than one check has, word for word: one missing file is one trouble, not seven.
fn shared(report: &Report) -> Shared<'_> {
    let mut all = Shared::new();
    for entry in report.checks.iter().filter(|entry| entry.severity() > Severity::Ok) {
        let own: BTreeSet<Key<'_>> = worth_showing(entry).map(Key::of).collect();
        for key in own {
            all.entry(key).or_default().push(entry);
        }
    }
    // "has not run yet" and its like have nothing in common but the words.
    all.retain(|key, entries| entries.len() > 1 && (key.hint.is_some() || key.subject.is_some()));
    all
}

fn verdict(page: &mut Page, report: &Report) {
    let of = |severity| names(report.checks.iter().filter(|entry| entry.severity() == severity));
    let count = |severity| report.checks.iter().filter(|entry| entry.severity() == severity).count();
    let (bad, odd, all) = (count(Severity::Error), count(Severity::Warn), counted(report.checks.len(), "check"));
    let text = match report.status {
        _ if report.checks.is_empty() => "no check was run".to_owned(),
        Severity::Ok => format!("healthy; {all}, nothing to complain of"),
        Severity::Warn => format!("healthy, but of {all} {} a look: {}", needs(odd), of(Severity::Warn)),
        Severity::Error if odd == 0 => format!("unhealthy; of {all} {bad} failed: {}", of(Severity::Error)),
        Severity::Error => {
            let (bad_names, odd_names) = (of(Severity::Error), of(Severity::Warn));
            format!("unhealthy; of {all} {bad} failed: {bad_names}; {} a look: {odd_names}", needs(odd))
        }
    };
    let (word, status) = match report.status {
        Severity::Ok => ("OK", Status::Ok),
        Severity::Warn => ("WARN", Status::Warn),
        Severity::Error => ("ERROR", Status::Error),
    };
    page.write(&format!("{word:<7}  "), colour(status), &text, BOLD);
}

fn one(page: &mut Page, entry: &Entry, names: usize, shared: &Shared<'_>) {
    let summary = printable(&entry.summary, MAX_TEXT_BYTES);
    let word = entry.status.as_str();
    // A long name must not push every summary to the edge.
    let lead = format!("{word:<7}  {:<width$}  ", entry.name.as_str(), width = names.min(24));
    page.write(&lead, colour(entry.status), &summary, PLAIN);
    match (entry.status, entry.weight) {
        (Status::Unknown, Weight::Ordinary) => page.write(INDENT, PLAIN, "not critical: counts as a warning", DIM),
        (Status::Error | Status::Unknown, Weight::Advisory) => {
            page.write(INDENT, PLAIN, "advisory: counts as a warning", DIM);
        }
        _ => {}
    }
    let own: Vec<&Finding> = worth_showing(entry).filter(|one| !shared.contains_key(&Key::of(one))).collect();
    for finding in own.iter().take(MAX_FINDINGS) {
        let message = if finding.message == entry.summary { "" } else { finding.message.as_str() };
        let word = if finding.status == entry.status { "" } else { finding.status.as_str() };
        details(page, word, message, unsaid(finding), finding.hint.as_deref());
    }
    if own.len() > MAX_FINDINGS {
        let more = value::grouped((own.len() - MAX_FINDINGS) as u64);
        page.write(INDENT, PLAIN, &format!("and {more} more; `--format json` shows them all"), DIM);
    }
    if entry.severity() > Severity::Ok {
        for measure in entry.measures.iter().filter(|one| one.warn.is_some() || one.error.is_some()) {
            page.write(INDENT, PLAIN, &measured(measure), DIM);
        }
    }
}

fn several(page: &mut Page, key: &Key<'_>, entries: &[&Entry]) {
    let worst = entries.iter().map(|entry| entry.status).max().unwrap_or(Status::Unknown);
    let all: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    page.write(&format!("{:<7}  ", worst.as_str()), colour(worst), &all.join(", "), BOLD);
    details(page, "", key.message, key.subject, key.hint);
}

/// What a finding is about, unless its message says so already.
fn unsaid(finding: &Finding) -> Option<&str> {
    finding.subject.as_deref().filter(|subject| !finding.message.contains(subject))
}

fn details(page: &mut Page, word: &str, message: &str, subject: Option<&str>, hint: Option<&str>) {
    let parts = [Some(word), subject, Some(message)];
    let said: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .map(|part| printable(part, MAX_TEXT_BYTES))
        .collect();
    if !message.is_empty() || subject.is_some() {
        page.write(INDENT, PLAIN, &said.join(": "), PLAIN);
    }
    if let Some(hint) = hint {
        page.write(&format!("{INDENT}→ "), colour(Status::Skipped), &printable(hint, MAX_TEXT_BYTES), PLAIN);
    }
}

fn measured(measure: &Measure) -> String {
    let number = |value: f64| amount(value, &measure.unit);
    let marks = [("warn", measure.warn), ("error", measure.error)];
    let marks: Vec<String> =
        marks.iter().filter_map(|(word, at)| at.map(|at| format!("{word} at {}", number(at)))).collect();
    format!("{}: {} ({})", printable(&measure.name, MAX_TEXT_BYTES), number(measure.value), marks.join(", "))
}

/// A number with its unit as people read it.
fn amount(number: f64, unit: &str) -> String {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = number.fract() == 0.0 && (0.0..EXACT).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, positive and below 2^53")]
    let count = whole.then_some(number as u64);
    match (count, unit) {
        (Some(count), "bytes") => value::bytes(count),
        (Some(count), "") => value::grouped(count),
        (None, "") => format!("{number}"),
        (Some(count), unit) => format!("{} {}", value::grouped(count), printable(unit, MAX_TEXT_BYTES)),
        (None, unit) => format!("{number} {}", printable(unit, MAX_TEXT_BYTES)),
    }
}

fn footer(page: &mut Page, report: &Report) {
    for entry in &report.checks {
        let Origin::Plugin { component, digest } = &entry.origin else { continue };
        let digest = match digest {
            Some(digest) => format!("sha256 {}…", digest.to_string().get(..DIGEST_DIGITS).unwrap_or_default()),
            None => "could not be read".to_owned(),
        };
        let text = format!("{}, {digest}", printable(component, MAX_TEXT_BYTES));
        page.write(&format!("plugin {}: ", entry.name), DIM, &text, DIM);
    }
    page.write("", PLAIN, &format!("looked at {:.0}", report.generated_at), DIM);
}

fn names<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let all: Vec<&str> = entries.map(|entry| entry.name.as_str()).collect();
    match all.split_at_checked(MAX_NAMES) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => all.join(", "),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", value::grouped(count as u64), if count == 1 { "" } else { "s" })
}

fn needs(count: usize) -> String {
    format!("{count} {}", if count == 1 { "needs" } else { "need" })
}

fn colour(status: Status) -> Style {
    let colour = match status {
        Status::Ok => AnsiColor::Green,
        Status::Warn => AnsiColor::Yellow,
        Status::Unknown => AnsiColor::Magenta,
        Status::Error => AnsiColor::Red,
        Status::Skipped => AnsiColor::Cyan,
    };
    colour.on_default().bold()
}

/// Lines of text, filled to a width.
struct Page {
    out: String,
    width: usize,
    colour: bool,
}

impl Page {
    /// Writes `lead` and `text`, whose further lines start below its first one.
    fn write(&mut self, lead: &str, lead_style: Style, text: &str, style: Style) {
        let indent = lead.chars().count();
        self.paint(lead, lead_style);
        let mut line = String::new();
        let mut length = 0;
        for word in text.split(' ') {
            let more = word.chars().count();
            if length > 0 && indent + length + 1 + more > self.width {
                self.paint(line.trim_end(), style);
                self.out.push('\n');
                self.out.extend(std::iter::repeat_n(' ', indent));
                line.clear();
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += more;
        }
        self.paint(line.trim_end(), style);
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.out.push('\n');
    }

    fn paint(&mut self, text: &str, style: Style) {
        if self.colour && !style.is_plain() && !text.trim().is_empty() {
            // White space stays outside, so that a line never ends in styled blanks.
            let end = text.trim_end().len();
            let (ink, blank) = text.split_at(end);
            self.out.push_str(&format!("{style}{ink}{style:#}{blank}"));
        } else {
            self.out.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn plain(report: &Report) -> String {
        render(report, &TextStyle::default())
    }

    #[test]
    fn healthy() {
        insta::assert_snapshot!(plain(&samples::healthy()), @r#"
    OK       healthy; 3 checks, nothing to complain of

    ok       disk    12.3 GiB free, 256.0 MiB wanted
    ok       wal     journal mode is WAL
    skipped  schema  user_version is 3; nothing to compare it with
             no expected schema version is configured
             → Set registry.expectedSchemaVersion, or run `vitalsign init`.

    looked at 2025-10-27T16:43:49Z
    "#);
    }

    #[test]
    fn mixed_with_the_worst_first() {
        insta::assert_snapshot!(plain(&samples::mixed()), @r#"
    ERROR    unhealthy; of 5 checks 2 failed: disk, provenance-chain; 2 need a look: growth, wal

    error    disk              100.0 MiB free
             /srv/registry: only 100.0 MiB are free on the database's file system, 256.0 MiB are wanted
             → Free space there, or lower health.minFreeBytes.
             free_bytes: 100.0 MiB (error at 256.0 MiB)
    error    provenance-chain  1 of 900,000 records is broken
             record 17: the chain of digests is broken
    unknown  growth            gave no answer within 2 s (timeoutMs)
             not critical: counts as a warning
             → Find out what it waits for, or raise its timeoutMs.
    warn     wal               the WAL is big
             registry.sqlite-wal: 12 pages are not yet checkpointed
             wal_pages: 12 pages (warn at 10 pages, error at 1,000 pages)
    ok       schema            user_version is 3, as expected

    plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
    plugin provenance-chain: plugins/provenance_chain.wasm, could not be read
    looked at 2025-10-27T16:43:49Z
    "#);
    }

    #[test]
    fn one_missing_database_is_told_once() {
        insta::assert_snapshot!(plain(&samples::missing()), @r#"
    ERROR    unhealthy; of 5 checks 4 failed: foreign-keys, records, schema, wal

    unknown  foreign-keys, records, schema, wal
             there is no database at /srv/registry/registry.sqlite
             → Give the right path with --db or dbPath.
    ok       disk          12.3 GiB free

    looked at 2025-10-27T16:43:49Z
    "#);
    }

    #[test]
    fn hysteresis_and_staleness_are_explained() {
        insta::assert_snapshot!(plain(&samples::held()), @r#"
    ERROR    unhealthy; of 3 checks 2 failed: disk, schema

    error    disk    12.3 GiB free
             still counts as error: 1 of 3 better results in a row
    unknown  schema  no fresh result
             the last result is 13 h old; it said ok: fine
    ok       wal     the WAL is big
             still counts as ok: 1 of 2 worse results in a row
             warn: 1 page is not yet checkpointed

    looked at 2025-10-27T16:43:49Z
    "#);
    }

    #[test]
    fn long_text_is_wrapped_and_long_words_stay_whole() {
        let text = render(&samples::long(), &TextStyle { width: 72, colour: false });
        insta::assert_snapshot!(text, @r#"
    ERROR    unhealthy; of 1 check 1 failed: wal

    error    wal  a sentence that goes on and on, past the edge of every
                  terminal that anybody has ever had, and names
                  /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
                  on its way
             x
             → a sentence that goes on and on, past the edge of every
               terminal that anybody has ever had, and names
               /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
               on its way

    looked at 2025-10-27T16:43:49Z
    "#);
    }

    #[test]
    fn nothing_was_run() {
        insta::assert_snapshot!(plain(&samples::report(Vec::new())), @"
        ERROR    no check was run


        looked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        for report in [samples::healthy(), samples::mixed(), samples::missing(), samples::held(), samples::long()] {
            for width in [1, 40, 72, 200] {
                let coloured = render(&report, &TextStyle { width, colour: true });
                assert!(coloured.contains("\x1b["));
                assert_eq!(
                    anstream::adapter::strip_str(&coloured).to_string(),
                    render(&report, &TextStyle { width, colour: false })
                );
            }
        }
        let coloured = render(&samples::report(Vec::new()), &TextStyle { width: 80, colour: true });
        insta::assert_snapshot!(coloured.escape_debug(), @r"\u{1b}[1m\u{1b}[31mERROR\u{1b}[0m    \u{1b}[1mno check was run\u{1b}[0m\n\n\n\u{1b}[2mlooked at 2025-10-27T16:43:49Z\u{1b}[0m\n");
    }

    #[test]
    fn hostile_text_cannot_write_to_the_terminal() {
        let text = plain(&samples::hostile());
        assert!(!text.chars().any(|ch| ch.is_control() && ch != '\n' || ch == '\u{202e}'), "{text:?}");
        assert_eq!(text.matches("plugin evil").count(), 1);
    }

    #[test]
    fn many_findings_are_cut_and_counted() {
        let findings = (0..1500).map(|at| Finding::new(Status::Warn, "x", format!("row {at}"))).collect();
        let text = plain(&samples::report(vec![samples::entry("rows", Status::Warn, "many", findings)]));
        assert!(text.contains("row 9\n") && !text.contains("row 10\n"));
        assert!(text.contains("and 1,490 more; `--format json` shows them all"));
    }

    #[test]
    fn numbers_read_well() {
        let said = [(1_048_576.0, "bytes"), (0.5, "bytes"), (-1.0, "rows"), (1e300, ""), (2.0, "ms"), (f64::NAN, "x")];
        let said = said.map(|(number, unit)| amount(number, unit));
        assert_eq!(said[..3], ["1.0 MiB", "0.5 bytes", "-1 rows"]);
        assert_eq!(said[4..], ["2 ms", "NaN x"]);
    }
}
