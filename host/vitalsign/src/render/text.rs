//! The report for a person: the verdict first, then the worst, and under what is bad what to do now.
//!
//! Colour only repeats what the words say. Text from outside is made printable here once more; widths count characters.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anstyle::{AnsiColor, Style};

use vitalsign_base::value::{self, printable};
use vitalsign_check::report::{Entry, Exactness, Finding, Measure, Origin, Report, Severity, Status, Weight};

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
    let mut page = TextPage::new(style);
    page.paragraph(&format!("{:<7}  ", word(report.status)), colour(worst(report.status)), &verdict(report), BOLD);
    page.detail("", &about(report), DIM);
    page.out.push('\n');
    let shared = shared(report);
    let names = report.checks.iter().map(|entry| entry.name.as_str().len()).max().unwrap_or(0).min(MAX_NAME_COLUMN);
    let mut blocks: Vec<Paragraph<'_>> =
        shared.iter().map(|(finding, entries)| Paragraph::Shared(finding, entries)).collect();
    let alone = |entry: &&Entry| !worth_showing(entry).all(|finding| shared.contains_key(&FindingKey::of(finding)));
    let rest = report.checks.iter().filter(|entry| worth_showing(entry).next().is_none() || alone(entry));
    blocks.extend(rest.map(Paragraph::One));
    blocks.sort_by_key(Paragraph::rank);
    for block in &blocks {
        match block {
            Paragraph::Shared(key, entries) => several(&mut page, key, entries),
            Paragraph::One(entry) => one(&mut page, entry, names, &shared),
        }
    }
    page.out.push('\n');
    footer(&mut page, report);
    page.out
}

/// What makes two findings of two checks the same for a reader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FindingKey<'a> {
    message: &'a str,
    subject: Option<&'a str>,
    hint: Option<&'a str>,
    of_database: bool,
}

impl<'a> FindingKey<'a> {
    fn of(finding: &'a Finding) -> Self {
        let of_database = finding.consequences.of_database;
        Self { message: &finding.message, subject: unsaid(finding), hint: finding.hint.as_deref(), of_database }
    }
}

type SharedFindings<'a> = BTreeMap<FindingKey<'a>, Vec<&'a Entry>>;

/// One paragraph: a check, or a finding that several checks share.
enum Paragraph<'a> {
    Shared(&'a FindingKey<'a>, &'a [&'a Entry]),
    One(&'a Entry),
}

impl Paragraph<'_> {
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
fn shared(report: &Report) -> SharedFindings<'_> {
    let mut all = SharedFindings::new();
    for entry in report.checks.iter().filter(|entry| entry.severity() > Severity::Ok) {
        let own: BTreeSet<FindingKey<'_>> = worth_showing(entry).map(FindingKey::of).collect();
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

fn one(page: &mut TextPage, entry: &Entry, names: usize, shared: &SharedFindings<'_>) {
    let summary = printable(&entry.summary, MAX_TEXT_BYTES);
    let word = entry.status.as_str();
    let lead = format!("{word:<7}  {:<names$}  ", entry.name.as_str());
    page.paragraph(&lead, colour(entry.status), &summary, PLAIN);
    if entry.status == Status::Error && entry.weight == Weight::Advisory {
        page.detail("", "advisory: counts as a warning at most", DIM);
    }
    let own: Vec<&Finding> = worth_showing(entry).filter(|one| !shared.contains_key(&FindingKey::of(one))).collect();
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

fn several(page: &mut TextPage, key: &FindingKey<'_>, entries: &[&Entry]) {
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

fn said(page: &mut TextPage, word: &str, message: &str, subject: Option<&str>) {
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

fn footer(page: &mut TextPage, report: &Report) {
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
struct TextPage {
    out: String,
    width: usize,
    colour: bool,
    indent: &'static str,
    /// Every hint that was written, with the check that it stands under.
    hints: BTreeMap<String, String>,
}

impl TextPage {
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
mod tests;
