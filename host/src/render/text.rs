//! The report for a person: the verdict first, then the worst, and under what is bad what to do now.
//!
//! Colour only repeats what the words say. Text from outside is made printable here once more; widths count characters.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anstyle::{AnsiColor, Style};

use crate::{
    report::{Entry, Exactness, Finding, Measure, Origin, Report, Severity, Status, Weight},
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

/// Narrower than this no word fits, so lines run over instead.
const MIN_WIDTH: usize = 20;
/// A column of text that would be narrower than this is hard to read: the text then stands below what leads it in.
const MIN_COLUMN: usize = 30;
/// The longest text of a finding that is shown, in bytes; `json` has all of it.
const MAX_TEXT_BYTES: usize = 2000;
/// Findings of one check that are shown; `json` has them all.
const MAX_FINDINGS: usize = 10;
/// Names that the verdict lists before it only counts.
const MAX_NAMES: usize = 5;
/// Digits behind the point that are shown at most: a number that is still smaller is nothing.
const MAX_DECIMALS: i32 = 6;
/// Digits of a digest that are shown: enough to tell components apart.
const DIGEST_DIGITS: usize = 12;
/// What stands before everything below a status word.
const INDENT: &str = "         ";
/// The same where the terminal is narrow.
const NARROW_INDENT: &str = "  ";
/// The width of the column of names: a longer one must not push every summary to the edge.
const MAX_NAME_COLUMN: usize = 24;

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Writes the report as text.
#[must_use]
pub fn render(report: &Report, style: &TextStyle) -> String {
    let mut page = Page::new(style);
    page.paragraph(&format!("{:<7}  ", word(report.status)), colour(worst(report.status)), &verdict(report), BOLD);
    page.detail("", &about(report), DIM);
    page.out.push('\n');
    let shared = shared(report);
    let names = report.checks.iter().map(|entry| entry.name.as_str().len()).max().unwrap_or(0).min(MAX_NAME_COLUMN);
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
    of_database: bool,
}

impl<'a> Key<'a> {
    fn of(finding: &'a Finding) -> Self {
        let of_database = finding.bearing.of_database;
        Self { message: &finding.message, subject: unsaid(finding), hint: finding.hint.as_deref(), of_database }
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
    all.retain(|key, all| all.len() > 1 && (key.hint.is_some() || key.subject.is_some() || key.of_database));
    all
}

/// The verdict in one line: how many checks of how many, and which.
fn verdict(report: &Report) -> String {
    let all: Vec<&Entry> = report.checks.iter().collect();
    let those = |meant: &dyn Fn(&Entry) -> bool| all.iter().copied().filter(|entry| meant(entry)).collect::<Vec<_>>();
    let failed = those(&|entry| entry.status == Status::Error && entry.severity() == Severity::Error);
    let unknown = those(&|entry| entry.status == Status::Unknown);
    let warned = those(&|entry| entry.severity() == Severity::Warn && entry.status != Status::Unknown);
    let groups = [
        (failed, "failed", "failed"),
        (unknown, "gave no result", "gave no result"),
        (warned, "has a warning", "have a warning"),
    ];
    let mut said: Vec<String> = Vec::new();
    for (group, one, several) in groups.iter().filter(|(group, ..)| !group.is_empty()) {
        let count = value::grouped(group.len() as u64);
        let verb = if group.len() == 1 { one } else { several };
        said.push(match (all.as_slice(), said.is_empty()) {
            ([only], _) => format!("{} {one}", only.name),
            (all, true) => format!("{count} of {} checks {verb}: {}", value::grouped(all.len() as u64), names(group)),
            (_, false) => format!("{count} {verb}: {}", names(group)),
        });
    }
    if said.is_empty() {
        let skipped = those(&|entry| entry.status == Status::Skipped);
        let passed = all.len() - skipped.len();
        said.extend((passed > 0).then(|| format!("{} passed", counted(passed, "check"))));
        if !skipped.is_empty() {
            let count =
                if passed == 0 { counted(skipped.len(), "check") } else { value::grouped(skipped.len() as u64) };
            let verb = if skipped.len() == 1 { "was" } else { "were" };
            said.push(format!("{count} {verb} skipped: {}", names(&skipped)));
        }
    }
    if all.is_empty() { "no check was run".to_owned() } else { said.join("; ") }
}

/// Which registry this is about, and on which machine.
fn about(report: &Report) -> String {
    let printed = |text: &str| printable(text, MAX_TEXT_BYTES);
    format!("{} on {}", printed(&report.database), printed(&report.host))
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "OK",
        Severity::Warn => "WARN",
        Severity::Error => "ERROR",
    }
}

/// The status that a whole report of this severity looks like.
fn worst(severity: Severity) -> Status {
    match severity {
        Severity::Ok => Status::Ok,
        Severity::Warn => Status::Warn,
        Severity::Error => Status::Error,
    }
}

fn one(page: &mut Page, entry: &Entry, names: usize, shared: &Shared<'_>) {
    let summary = printable(&entry.summary, MAX_TEXT_BYTES);
    let word = entry.status.as_str();
    let lead = format!("{word:<7}  {:<names$}  ", entry.name.as_str());
    page.paragraph(&lead, colour(entry.status), &summary, PLAIN);
    if entry.status == Status::Error && entry.weight == Weight::Advisory {
        page.detail("", "advisory: counts as a warning at most", DIM);
    }
    let own: Vec<&Finding> = worth_showing(entry).filter(|one| !shared.contains_key(&Key::of(one))).collect();
    let shown = own.get(..MAX_FINDINGS).unwrap_or(&own);
    for (at, finding) in shown.iter().enumerate() {
        let message = if finding.message == entry.summary { "" } else { finding.message.as_str() };
        let word = if finding.status == entry.status { "" } else { finding.status.as_str() };
        said(page, word, message, unsaid(finding));
        // What several findings ask for is said once, below the last of them.
        let again = shown.iter().skip(at + 1).any(|later| later.hint == finding.hint);
        if let Some(hint) = finding.hint.as_deref().filter(|_| !again) {
            page.hint(hint, entry.name.as_str());
        }
    }
    if own.len() > shown.len() {
        let more = value::grouped((own.len() - shown.len()) as u64);
        page.detail("", &format!("and {more} more; `--format json` shows them all"), DIM);
    }
    if entry.severity() > Severity::Ok {
        for measure in entry.measures.iter().filter(|one| one.warn.is_some() || one.error.is_some()) {
            page.detail("", &measured(measure), DIM);
        }
    }
}

fn several(page: &mut Page, key: &Key<'_>, entries: &[&Entry]) {
    let worst = entries.iter().map(|entry| entry.status).max().unwrap_or(Status::Unknown);
    let all: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    page.paragraph(&format!("{:<7}  ", worst.as_str()), colour(worst), &all.join(", "), BOLD);
    said(page, "", key.message, key.subject);
    if let (Some(hint), Some(first)) = (key.hint, all.first()) {
        page.hint(hint, first);
    }
}

/// What a finding is about, unless its message says so already.
fn unsaid(finding: &Finding) -> Option<&str> {
    finding.subject.as_deref().filter(|subject| !finding.message.contains(subject))
}

fn said(page: &mut Page, word: &str, message: &str, subject: Option<&str>) {
    if message.is_empty() && subject.is_none() {
        return;
    }
    let parts = [Some(word), subject, Some(message)].into_iter().flatten().filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(|part| printable(part, MAX_TEXT_BYTES)).collect();
    page.detail("", &parts.join(": "), PLAIN);
}

fn measured(measure: &Measure) -> String {
    let number = |value: f64| amount(value, &measure.unit);
    let marks = [("a warning", measure.warn), ("an error", measure.error)];
    let marks: Vec<String> =
        marks.iter().filter_map(|(word, at)| at.map(|at| format!("{word} from {}", number(at)))).collect();
    let exactness = match measure.exactness {
        Exactness::Exact => "",
        Exactness::Estimated => "about ",
        Exactness::Bound => "at most ",
    };
    let name = printable(&measure.name, MAX_TEXT_BYTES);
    format!("{name}: {exactness}{} ({})", number(measure.value), marks.join(", "))
}

/// A number with its unit as people read it: rounded, and times and sizes in the unit that suits them.
fn amount(number: f64, unit: &str) -> String {
    let time = |factor: f64| Duration::try_from_secs_f64(number * factor).ok();
    match unit {
        "bytes" => whole(number).map(value::bytes),
        "seconds" | "s" => time(1.0).map(value::span),
        // Below that the digits behind the point are what matters.
        "milliseconds" | "ms" if number >= 1000.0 => time(0.001).map(value::span),
        _ => None,
    }
    .unwrap_or_else(|| format!("{} {}", rounded(number), printable(unit, MAX_TEXT_BYTES)).trim_end().to_owned())
}

/// The whole number nearest to one that cannot be negative.
fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; what is too large saturates"
    )]
    (number >= 0.0).then(|| number.round() as u64)
}

/// A number with four significant digits, or with all those before the point.
fn rounded(number: f64) -> String {
    if number.fract() == 0.0 || !number.is_finite() {
        return value::decimal(number);
    }
    if number.abs() >= 1000.0 {
        return value::decimal(number.round());
    }
    let decimals = (1..=MAX_DECIMALS).find(|decimals| number.abs() * 10_f64.powi(*decimals) >= 1000.0);
    let decimals = usize::try_from(decimals.unwrap_or(MAX_DECIMALS)).unwrap_or_default();
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn footer(page: &mut Page, report: &Report) {
    for entry in &report.checks {
        let Origin::Plugin { component, digest } = &entry.origin else { continue };
        let digest = match digest {
            Some(digest) => format!("sha256 {}…", digest.to_string().get(..DIGEST_DIGITS).unwrap_or_default()),
            None => "could not be read".to_owned(),
        };
        let text = format!("plugin {}: {}, {digest}", entry.name, printable(component, MAX_TEXT_BYTES));
        page.write("", PLAIN, &text, DIM);
    }
    page.write("", PLAIN, &format!("checked at {:.0}", report.generated_at), DIM);
}

fn names(entries: &[&Entry]) -> String {
    let all: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    match all.split_at_checked(MAX_NAMES) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => all.join(", "),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{} {noun}{}", value::grouped(count as u64), if count == 1 { "" } else { "s" })
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
    indent: &'static str,
    /// Every hint that was written, with the check that it stands under.
    hints: BTreeMap<String, String>,
}

impl Page {
    fn new(style: &TextStyle) -> Self {
        let width = style.width.max(MIN_WIDTH);
        let indent = if width >= INDENT.len() + MIN_COLUMN { INDENT } else { NARROW_INDENT };
        Self { out: String::new(), width, colour: style.colour, indent, hints: BTreeMap::new() }
    }

    /// Writes `lead` with `text` beside it, or below it where there is no room.
    fn paragraph(&mut self, lead: &str, lead_style: Style, text: &str, style: Style) {
        if lead.chars().count() + MIN_COLUMN <= self.width {
            return self.write(lead, lead_style, text, style);
        }
        // A lead that is itself too long is wrapped as any text is.
        let words: Vec<&str> = lead.split_whitespace().collect();
        self.write("", PLAIN, &words.join("  "), lead_style);
        self.detail("", text, style);
    }

    /// Writes a line that belongs to the paragraph above.
    fn detail(&mut self, lead: &str, text: &str, style: Style) {
        let lead = format!("{}{lead}", self.indent);
        self.write(&lead, colour(Status::Skipped), text, style);
    }

    /// Writes what to do; what was written before is not repeated.
    fn hint(&mut self, hint: &str, name: &str) {
        match self.hints.get(hint) {
            Some(above) => self.detail("→ ", &format!("the same as for {above}"), PLAIN),
            None => {
                self.hints.insert(hint.to_owned(), name.to_owned());
                self.detail("→ ", &printable(hint, MAX_TEXT_BYTES), PLAIN);
            }
        }
    }

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

    fn at(width: usize, report: &Report) -> String {
        render(report, &TextStyle { width, colour: false })
    }

    #[test]
    fn healthy() {
        insta::assert_snapshot!(plain(&samples::healthy()), @"
        OK       2 checks passed; 1 was skipped: schema
                 /srv/registry/registry.sqlite on db-1

        ok       disk    12.3 GiB free, 256.0 MiB wanted
        ok       wal     journal mode is WAL
        skipped  schema  user_version is 3; nothing to compare it with
                 no expected schema version is configured
                 → Set registry.expectedSchemaVersion, or run `vitalsign init`.

        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn mixed_with_the_worst_first() {
        insta::assert_snapshot!(plain(&samples::mixed()), @"
        ERROR    2 of 5 checks failed: disk, provenance-chain; 1 gave no result: growth; 1 has a warning:
                 wal
                 /srv/registry/registry.sqlite on db-1

        error    disk              100.0 MiB free
                 /srv/registry: only 100.0 MiB are free on the database's file system, 256.0 MiB are wanted
                 → Free space there, or lower health.minFreeBytes.
        error    provenance-chain  1 of 900,000 records is broken
                 record 17: the chain of digests is broken
        unknown  growth            gave no answer within 2 s (timeoutMs)
                 → Find out what it waits for, or raise its timeoutMs.
        warn     wal               the WAL is big
                 registry.sqlite-wal: 12 pages are not yet checkpointed
                 wal_pages: at most 12 pages (a warning from 10 pages, an error from 1,000 pages)
                 oldest_reader: 1 min 8 s (a warning from 1 min)
                 rows: about 1,234,568 rows (an error from 1,000,000,000 rows)
        ok       schema            user_version is 3, as expected

        plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
        plugin provenance-chain: plugins/provenance_chain.wasm, could not be read
        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn one_missing_database_is_told_once() {
        insta::assert_snapshot!(plain(&samples::missing()), @"
        ERROR    4 of 5 checks gave no result: foreign-keys, records, schema, wal
                 /srv/registry/registry.sqlite on db-1

        unknown  foreign-keys, records, schema, wal
                 there is no database at /srv/registry/registry.sqlite
                 → Give the right path with --db or dbPath.
        ok       disk          12.3 GiB free

        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn one_cause_and_one_advice_are_told_once() {
        let text = plain(&samples::alike());
        assert_eq!(text.matches("vitalsign backup").count(), 1);
        insta::assert_snapshot!(text, @"
        ERROR    2 of 6 checks failed: chain, orphans; 3 gave no result: records, schema, wal; 1 has a
                 warning: growth
                 /srv/registry/registry.sqlite on db-1

        error    chain    3 of 9 records are broken
                 row 1
                 row 5
                 row 9
                 → Run `vitalsign backup`.
        error    orphans  the statement gives 4
                 the statement gives 4; from 1 it is an error
                 → the same as for chain
        unknown  records  `/srv/registry/registry.sqlite` is locked by another process
                 → Find the process that holds the lock.
        unknown  schema, wal
                 could not be checked, because it depends on the database: see the check `records`
        error    growth   the table shrank
                 advisory: counts as a warning at most

        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn hysteresis_and_staleness_are_explained() {
        insta::assert_snapshot!(plain(&samples::held()), @"
        ERROR    1 of 3 checks failed: disk; 1 gave no result: schema
                 /srv/registry/registry.sqlite on db-1

        error    disk    12.3 GiB free
                 still counts as error: 1 of 3 better results in a row
        unknown  schema  no fresh result
                 the last result is 13 h old; it said ok: fine
        ok       wal     the WAL is big
                 still counts as ok: 1 of 2 worse results in a row
                 warn: 1 page is not yet checkpointed

        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn long_text_is_wrapped_and_long_words_stay_whole() {
        insta::assert_snapshot!(at(72, &samples::long()), @"
        ERROR    wal failed
                 /srv/registry/registry.sqlite on db-1

        error    wal  a sentence that goes on and on, past the edge of every
                      terminal that anybody has ever had, and names
                      /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
                      on its way
                 x
                 → a sentence that goes on and on, past the edge of every
                   terminal that anybody has ever had, and names
                   /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
                   on its way

        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn narrow_terminals_have_the_text_below_the_names() {
        insta::assert_snapshot!(at(80, &samples::mixed()), @"
        ERROR    2 of 5 checks failed: disk, provenance-chain; 1 gave no result: growth;
                 1 has a warning: wal
                 /srv/registry/registry.sqlite on db-1

        error    disk              100.0 MiB free
                 /srv/registry: only 100.0 MiB are free on the database's file system,
                 256.0 MiB are wanted
                 → Free space there, or lower health.minFreeBytes.
        error    provenance-chain  1 of 900,000 records is broken
                 record 17: the chain of digests is broken
        unknown  growth            gave no answer within 2 s (timeoutMs)
                 → Find out what it waits for, or raise its timeoutMs.
        warn     wal               the WAL is big
                 registry.sqlite-wal: 12 pages are not yet checkpointed
                 wal_pages: at most 12 pages (a warning from 10 pages, an error from
                 1,000 pages)
                 oldest_reader: 1 min 8 s (a warning from 1 min)
                 rows: about 1,234,568 rows (an error from 1,000,000,000 rows)
        ok       schema            user_version is 3, as expected

        plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
        plugin provenance-chain: plugins/provenance_chain.wasm, could not be read
        checked at 2025-10-27T16:43:49Z
        ");
        insta::assert_snapshot!(at(60, &samples::mixed()), @"
        ERROR    2 of 5 checks failed: disk, provenance-chain; 1
                 gave no result: growth; 1 has a warning: wal
                 /srv/registry/registry.sqlite on db-1

        error    disk              100.0 MiB free
                 /srv/registry: only 100.0 MiB are free on the
                 database's file system, 256.0 MiB are wanted
                 → Free space there, or lower health.minFreeBytes.
        error    provenance-chain  1 of 900,000 records is broken
                 record 17: the chain of digests is broken
        unknown  growth            gave no answer within 2 s
                                   (timeoutMs)
                 → Find out what it waits for, or raise its
                   timeoutMs.
        warn     wal               the WAL is big
                 registry.sqlite-wal: 12 pages are not yet
                 checkpointed
                 wal_pages: at most 12 pages (a warning from 10
                 pages, an error from 1,000 pages)
                 oldest_reader: 1 min 8 s (a warning from 1 min)
                 rows: about 1,234,568 rows (an error from
                 1,000,000,000 rows)
        ok       schema            user_version is 3, as expected

        plugin growth: plugins/growth.wasm, sha256 19c64195eb8f…
        plugin provenance-chain: plugins/provenance_chain.wasm,
        could not be read
        checked at 2025-10-27T16:43:49Z
        ");
        insta::assert_snapshot!(at(40, &samples::mixed()), @"
        ERROR    2 of 5 checks failed: disk,
                 provenance-chain; 1 gave no
                 result: growth; 1 has a
                 warning: wal
                 /srv/registry/registry.sqlite
                 on db-1

        error  disk
                 100.0 MiB free
                 /srv/registry: only 100.0 MiB
                 are free on the database's file
                 system, 256.0 MiB are wanted
                 → Free space there, or lower
                   health.minFreeBytes.
        error  provenance-chain
                 1 of 900,000 records is broken
                 record 17: the chain of digests
                 is broken
        unknown  growth
                 gave no answer within 2 s
                 (timeoutMs)
                 → Find out what it waits for,
                   or raise its timeoutMs.
        warn  wal
                 the WAL is big
                 registry.sqlite-wal: 12 pages
                 are not yet checkpointed
                 wal_pages: at most 12 pages (a
                 warning from 10 pages, an error
                 from 1,000 pages)
                 oldest_reader: 1 min 8 s (a
                 warning from 1 min)
                 rows: about 1,234,568 rows (an
                 error from 1,000,000,000 rows)
        ok  schema
                 user_version is 3, as expected

        plugin growth: plugins/growth.wasm,
        sha256 19c64195eb8f…
        plugin provenance-chain:
        plugins/provenance_chain.wasm, could not
        be read
        checked at 2025-10-27T16:43:49Z
        ");
        insta::assert_snapshot!(at(20, &samples::mixed()), @"
        ERROR
          2 of 5 checks
          failed: disk,
          provenance-chain;
          1 gave no result:
          growth; 1 has a
          warning: wal
          /srv/registry/registry.sqlite
          on db-1

        error  disk
          100.0 MiB free
          /srv/registry:
          only 100.0 MiB are
          free on the
          database's file
          system, 256.0 MiB
          are wanted
          → Free space
            there, or lower
            health.minFreeBytes.
        error
        provenance-chain
          1 of 900,000
          records is broken
          record 17: the
          chain of digests
          is broken
        unknown  growth
          gave no answer
          within 2 s
          (timeoutMs)
          → Find out what it
            waits for, or
            raise its
            timeoutMs.
        warn  wal
          the WAL is big
          registry.sqlite-wal:
          12 pages are not
          yet checkpointed
          wal_pages: at most
          12 pages (a
          warning from 10
          pages, an error
          from 1,000 pages)
          oldest_reader: 1
          min 8 s (a warning
          from 1 min)
          rows: about
          1,234,568 rows (an
          error from
          1,000,000,000
          rows)
        ok  schema
          user_version is 3,
          as expected

        plugin growth:
        plugins/growth.wasm,
        sha256 19c64195eb8f…
        plugin
        provenance-chain:
        plugins/provenance_chain.wasm,
        could not be read
        checked at
        2025-10-27T16:43:49Z
        ");
        insta::assert_snapshot!(at(20, &samples::long()), @"
        ERROR
          wal failed
          /srv/registry/registry.sqlite
          on db-1

        error  wal
          a sentence that
          goes on and on,
          past the edge of
          every terminal
          that anybody has
          ever had, and
          names
          /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
          on its way
          x
          → a sentence that
            goes on and on,
            past the edge of
            every terminal
            that anybody has
            ever had, and
            names
            /a/path/that/is/much/too/long/to/fit/on/any/one/line/of/that/terminal/registry.sqlite
            on its way

        checked at
        2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn only_a_word_that_is_too_long_passes_the_edge() {
        for report in [samples::healthy(), samples::mixed(), samples::missing(), samples::held(), samples::alike()] {
            for width in [20, 30, 38, 39, 40, 60, 80] {
                for line in at(width, &report).lines().filter(|line| line.chars().count() > width) {
                    let longest = line.split_whitespace().map(|word| word.chars().count()).max().unwrap();
                    assert!(
                        longest > width - INDENT.len() - 2 || line.split_whitespace().count() == 1,
                        "{width}: {line}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_verdict_names_what_is_bad() {
        let entry = |name: &str, status, weight| {
            let mut entry = samples::entry(name, status, "s", Vec::new());
            entry.weight = weight;
            entry
        };
        let of = |entries: &[(&str, Status, Weight)]| {
            let entries = entries.iter().map(|(name, status, weight)| entry(name, *status, *weight)).collect();
            let text = plain(&samples::report(entries));
            text.lines().next().unwrap_or_default().to_owned()
        };
        use Status::{Error, Ok, Skipped, Unknown, Warn};
        use Weight::{Advisory, Critical, Ordinary};
        assert_eq!(of(&[("a", Ok, Critical)]), "OK       1 check passed");
        assert_eq!(of(&[("a", Skipped, Critical)]), "OK       1 check was skipped: a");
        let some = of(&[("a", Skipped, Critical), ("b", Ok, Ordinary), ("c", Skipped, Ordinary)]);
        assert_eq!(some, "OK       1 check passed; 2 were skipped: a, c");
        assert_eq!(of(&[("a", Error, Ordinary)]), "ERROR    a failed");
        assert_eq!(of(&[("a", Unknown, Critical)]), "ERROR    a gave no result");
        assert_eq!(of(&[("a", Unknown, Ordinary), ("b", Ok, Ordinary)]), "WARN     1 of 2 checks gave no result: a");
        assert_eq!(of(&[("a", Error, Advisory), ("b", Warn, Ordinary)]), "WARN     2 of 2 checks have a warning: a, b");
        let all = of(&[("a", Error, Ordinary), ("b", Warn, Ordinary), ("c", Unknown, Critical)]);
        assert_eq!(all, "ERROR    1 of 3 checks failed: a; 1 gave no result: c; 1 has a warning: b");
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, Warn, Ordinary)).to_vec();
        assert_eq!(of(&many), "WARN     7 of 7 checks have a warning: a, b, c, d, e and 2 more");
    }

    #[test]
    fn nothing_was_run() {
        insta::assert_snapshot!(plain(&samples::report(Vec::new())), @"
        ERROR    no check was run
                 /srv/registry/registry.sqlite on db-1


        checked at 2025-10-27T16:43:49Z
        ");
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        for report in [samples::healthy(), samples::mixed(), samples::missing(), samples::held(), samples::long()] {
            for width in [1, 20, 40, 72, 200] {
                let coloured = render(&report, &TextStyle { width, colour: true });
                assert!(coloured.contains("\x1b["));
                assert_eq!(
                    anstream::adapter::strip_str(&coloured).to_string(),
                    render(&report, &TextStyle { width, colour: false })
                );
            }
        }
        let coloured = render(&samples::report(Vec::new()), &TextStyle { width: 80, colour: true });
        insta::assert_snapshot!(coloured.escape_debug(), @r"\u{1b}[1m\u{1b}[31mERROR\u{1b}[0m    \u{1b}[1mno check was run\u{1b}[0m\n         \u{1b}[2m/srv/registry/registry.sqlite on db-1\u{1b}[0m\n\n\n\u{1b}[2mchecked at 2025-10-27T16:43:49Z\u{1b}[0m\n");
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
        for (number, unit, expected) in [
            (1_048_576.0, "bytes", "1.0 MiB"),
            (0.5, "bytes", "1 B"),
            (-1.0, "rows", "-1 rows"),
            (1e300, "", "1e300"),
            (2.0, "ms", "2 ms"),
            (0.123_456, "ms", "0.1235 ms"),
            (93_600_000.0, "ms", "1 d 2 h"),
            (68.358_184_156, "seconds", "1 min 8 s"),
            (0.25, "s", "250 ms"),
            (-5.5, "seconds", "-5.5 seconds"),
            (f64::INFINITY, "seconds", "inf seconds"),
            (12_345.678, "rows", "12,346 rows"),
            (12.345_678, "percent", "12.35 percent"),
            (0.000_000_01, "", "0"),
            (f64::NAN, "x", "NaN x"),
        ] {
            assert_eq!(amount(number, unit), expected, "{number} {unit}");
        }
    }
}
