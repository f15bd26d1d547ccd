//! The report and its vocabulary: statuses, findings, measures, and the rule that adds them up.
//!
//! A report is data. Knows nothing of how a check works, when it ran, or how a report is printed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use serde::ser::SerializeStruct as _;

use vitalsign_base::value::{Digest, Name};

/// How a finding, a check or the whole registry stands. One vocabulary everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Does not apply here.
    Skipped,
    /// As it should be.
    Ok,
    /// Needs a look, soon.
    Warn,
    /// Could not look. Never counts as healthy.
    Unknown,
    /// Bad.
    Error,
}

impl Status {
    /// All statuses, mildest first.
    pub const ALL: [Self; 5] = [Self::Skipped, Self::Ok, Self::Warn, Self::Unknown, Self::Error];

    /// The worst of `statuses`; `Ok` for none.
    pub fn worst(statuses: impl IntoIterator<Item = Self>) -> Self {
        statuses.into_iter().max().unwrap_or(Self::Ok)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Error => "error",
        }
    }
}

/// What a status weighs in the whole report: the three values of the top `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Healthy.
    Ok,
    /// Healthy, with something to look at.
    Warn,
    /// Unhealthy.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How much a check matters: what its `unknown` counts as, whether it gates a start and readiness, and whether its error is one.
///
/// Serialises as the two keys `critical` and `advisory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weight {
    /// It never makes the report worse than `warn`.
    Advisory,
    /// Its error is an error.
    #[default]
    Ordinary,
    /// Its error is an error, and so is not knowing; it gates a start and readiness.
    Critical,
}

impl Weight {
    /// All weights, the lightest first.
    pub const ALL: [Self; 3] = [Self::Advisory, Self::Ordinary, Self::Critical];
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = serializer.serialize_struct("Weight", 2)?;
        keys.serialize_field("critical", &(*self == Self::Critical))?;
        keys.serialize_field("advisory", &(*self == Self::Advisory))?;
        keys.end()
    }
}

/// The severity rule: what a check's `status` counts as in the report, given the check's weight.
///
/// An error is an error. `unknown` is one too when the check is critical, and otherwise a warning. An advisory check counts as
/// a warning at most.
#[must_use]
pub fn severity(status: Status, weight: Weight) -> Severity {
    let counts = match (status, weight) {
        (Status::Ok | Status::Skipped, _) => Severity::Ok,
        (Status::Warn, _) => Severity::Warn,
        (Status::Unknown, Weight::Critical) | (Status::Error, _) => Severity::Error,
        (Status::Unknown, _) => Severity::Warn,
    };
    if weight == Weight::Advisory { counts.min(Severity::Warn) } else { counts }
}

/// The code of a finding that stands for one of another check, about the database as a whole.
pub const DEPENDS_ON_DATABASE: &str = "depends-on-database";

/// What a finding means beyond the check that has it. It decides how the report and the start-up gate treat the finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    /// The database is corrupt: the check counts as critical, whichever it is.
    pub corrupt: bool,
    /// No reason to keep the registry from starting: it repairs this by starting, or it is the one that mends it while it runs.
    pub repaired_by_start: bool,
    /// The database as a whole is missing, locked or damaged, so that every check that needs it finds the same.
    pub of_database: bool,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub status: Status,
    /// A stable word for machines, such as `schema-mismatch`.
    pub code: String,
    /// One sentence for people: what is so.
    pub message: String,
    /// What it is about: a table, a file, a record.
    pub subject: Option<String>,
    /// What to do now.
    pub hint: Option<String>,
    /// What it means beyond this check.
    #[serde(skip)]
    pub consequences: Consequences,
}

impl Finding {
    /// A finding without subject or hint, which concerns its own check alone.
    #[must_use]
    pub fn new(status: Status, code: impl Into<String>, message: impl Into<String>) -> Self {
        let consequences = Consequences::default();
        Self { status, code: code.into(), message: message.into(), subject: None, hint: None, consequences }
    }

    /// Says what it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says what to do now.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that the database is corrupt, which counts as critical whichever check finds it.
    #[must_use]
    pub fn corrupt(mut self) -> Self {
        self.consequences.corrupt = true;
        self
    }

    /// Says that it is no reason to keep the registry from starting, because only the registry itself mends it.
    #[must_use]
    pub fn repaired_by_start(mut self) -> Self {
        self.consequences.repaired_by_start = true;
        self
    }

    /// Says that it is about the database as a whole, on which other checks depend.
    #[must_use]
    pub fn of_database(mut self) -> Self {
        self.consequences.of_database = true;
        self
    }
}

/// How far the value of a measure can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exactness {
    /// It was counted or read.
    #[default]
    Exact,
    /// It was estimated from a sample, and may be off in either direction.
    Estimated,
    /// It is an upper bound: the true value is not larger.
    Bound,
}

/// One number that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// What was measured, such as `wal_bytes`.
    pub name: String,
    /// The number, in `unit`.
    pub value: f64,
    /// The unit: `bytes`, `rows`, `pages`, `ms`, or empty for a bare number.
    pub unit: String,
    /// From this value on it is a warning.
    pub warn: Option<f64>,
    /// From this value on it is an error.
    pub error: Option<f64>,
    /// Whether the value is exact, estimated, or an upper bound.
    pub exactness: Exactness,
}

impl Measure {
    /// A measure without thresholds.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        let (warn, error, exactness) = (None, None, Exactness::Exact);
        Self { name: name.into(), value, unit: unit.into(), warn, error, exactness }
    }

    /// Says that the value was estimated from a sample.
    #[must_use]
    pub fn estimated(self) -> Self {
        Self { exactness: Exactness::Estimated, ..self }
    }

    /// Says that the value is an upper bound.
    #[must_use]
    pub fn bound(self) -> Self {
        Self { exactness: Exactness::Bound, ..self }
    }
}

/// Where a check comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// It is part of this binary.
    Builtin,
    /// It is a component; the digest is absent when the file could not be read.
    Plugin {
        /// The path as configured.
        component: String,
        /// SHA-256 of the component's bytes.
        digest: Option<Digest>,
    },
}

/// Free space on the database's file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that an unprivileged user can still write.
    pub free_bytes: u64,
    /// Fewer free bytes than this is unhealthy.
    pub threshold_bytes: u64,
}

/// What a check tells the report's `registry` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The journal mode in SQLite's words.
    JournalMode(String),
    /// `PRAGMA user_version`.
    SchemaVersion(i64),
    /// The number of rows in the records table.
    Records(u64),
    /// Free space against its threshold.
    Disk(Disk),
}

/// The report's `registry` section: an existing format, whose names and nesting never change.
///
/// What no check could tell is `null` (`false` for the two flags, since "not known to be" is the safe reading).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySection {
    /// The journal mode, once known.
    pub journal_mode: Option<String>,
    /// The database's `user_version`, once known.
    pub schema_version: Option<i64>,
    /// The version that the configuration expects.
    pub expected_schema_version: Option<i64>,
    /// The number of records, once known.
    pub records: Option<u64>,
    /// Free space, once known.
    pub disk: Option<Disk>,
    /// The threshold, which is known even when the free space is not.
    pub min_free_bytes: u64,
}

impl RegistrySection {
    /// Takes in what one check learnt.
    pub fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::JournalMode(mode) => self.journal_mode = Some(mode),
            Fact::SchemaVersion(version) => self.schema_version = Some(version),
            Fact::Records(count) => self.records = Some(count),
            Fact::Disk(disk) => self.disk = Some(disk),
        }
    }
}

impl Serialize for RegistrySection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct DiskKeys {
            free_megabytes: Option<u64>,
            threshold_bytes: u64,
            healthy: bool,
        }
        #[derive(Serialize)]
        struct SectionKeys<'a> {
            driver: &'static str,
            wal: bool,
            journal_mode: Option<&'a str>,
            schema_version: Option<i64>,
            expected_schema_version: Option<i64>,
            records: Option<u64>,
            disk: DiskKeys,
        }
        let disk = self.disk.as_ref();
        SectionKeys {
            driver: "sqlite",
            wal: self.journal_mode.as_deref() == Some("wal"),
            journal_mode: self.journal_mode.as_deref(),
            schema_version: self.schema_version,
            expected_schema_version: self.expected_schema_version,
            records: self.records,
            disk: DiskKeys {
                free_megabytes: disk.map(|disk| disk.free_bytes / (1024 * 1024)),
                threshold_bytes: disk.map_or(self.min_free_bytes, |disk| disk.threshold_bytes),
                healthy: disk.is_some_and(|disk| disk.free_bytes >= disk.threshold_bytes),
            },
        }
        .serialize(serializer)
    }
}

/// One check's entry in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The check's name.
    pub name: Name,
    /// Where it comes from.
    pub origin: Origin,
    /// How it stands, after hysteresis and staleness.
    pub status: Status,
    /// What its last run said by itself.
    pub raw_status: Status,
    /// How much it matters; an entry with a corrupt database is critical, unless its check is advisory.
    #[serde(flatten)]
    pub weight: Weight,
    /// The groups it belongs to.
    pub groups: Vec<String>,
    /// One line that says how it stands.
    pub summary: String,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// How long its last run took, in milliseconds.
    pub duration_ms: f64,
    /// When its last run ended; `null` before the first has.
    pub checked_at: Option<Timestamp>,
    /// How old that is, in milliseconds.
    pub age_ms: Option<u64>,
}

impl Entry {
    /// What the entry weighs in the report.
    #[must_use]
    pub fn severity(&self) -> Severity {
        severity(self.status, self.weight)
    }

    /// What one of its findings weighs: never more than the entry itself, so that hysteresis hides both alike.
    #[must_use]
    pub fn finding_severity(&self, finding: &Finding) -> Severity {
        severity(finding.status, self.weight).min(self.severity())
    }
}

/// What a report is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The path of the database as it was configured.
    pub database: String,
    /// The name of the machine that looked.
    pub host: String,
}

/// The whole report, as `/health` and `check --format json` give it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The worst severity of any check.
    pub status: Severity,
    /// The path of the database.
    pub database: String,
    /// The name of the machine that looked.
    pub host: String,
    /// The version of this program.
    pub version: &'static str,
    /// What is known of the registry.
    pub registry: RegistrySection,
    /// One sentence for each finding that weighs as a warning.
    pub warnings: Vec<String>,
    /// One sentence for each finding that weighs as an error.
    pub errors: Vec<String>,
    /// One entry for each check, in name order.
    pub checks: Vec<Entry>,
    /// When this report was put together.
    pub generated_at: Timestamp,
}

impl Report {
    /// Adds entries up to a report: sorts them by name, applies the severity rule, writes the sentences.
    ///
    /// Without any entry the report is `error`: nobody has looked.
    ///
    /// An entry that no finding explains speaks through its summary, so `errors` is empty unless `status` is `error`. What
    /// several checks say of the database as a whole stays with one of them; the others say that they depend on it.
    #[must_use]
    pub fn new(subject: &Subject, registry: RegistrySection, mut entries: Vec<Entry>, generated_at: Timestamp) -> Self {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        merge_database_findings(&mut entries);
        let mut sentences: BTreeMap<Severity, Vec<String>> = BTreeMap::new();
        if entries.is_empty() {
            sentences.entry(Severity::Error).or_default().push("no check was run".to_owned());
        }
        for entry in &entries {
            let mut say = |rank, text: &str| sentences.entry(rank).or_default().push(format!("{}: {text}", entry.name));
            for finding in &entry.findings {
                say(entry.finding_severity(finding), &finding.message);
            }
            if !entry.findings.iter().any(|finding| entry.finding_severity(finding) == entry.severity()) {
                say(entry.severity(), &entry.summary);
            }
        }
        Self {
            status: entries.iter().map(Entry::severity).max().unwrap_or(Severity::Error),
            database: subject.database.clone(),
            host: subject.host.clone(),
            version: env!("CARGO_PKG_VERSION"),
            registry,
            warnings: sentences.remove(&Severity::Warn).unwrap_or_default(),
            errors: sentences.remove(&Severity::Error).unwrap_or_default(),
            checks: entries,
            generated_at,
        }
    }
}

/// Leaves each finding about the database as a whole with the entry that it weighs most in. In the others, in its place, stands
/// that they depend on the database.
fn merge_database_findings(entries: &mut [Entry]) {
    let about = |entry: &Entry, code: &str| {
        entry.findings.iter().any(|finding| finding.consequences.of_database && finding.code == code)
    };
    let codes: BTreeSet<String> = entries
        .iter()
        .flat_map(|entry| &entry.findings)
        .filter(|finding| finding.consequences.of_database)
        .map(|finding| finding.code.clone())
        .collect();
    for code in codes {
        // The first in name order among those that weigh most: `max_by_key` takes the last of equals.
        let keeper = entries.iter().rev().filter(|entry| about(entry, &code));
        let keeper = keeper.max_by_key(|entry| (entry.severity(), entry.weight)).map(|entry| entry.name.clone());
        let Some(keeper) = keeper else { continue };
        for entry in entries.iter_mut().filter(|entry| entry.name != keeper) {
            depend_on(entry, &code, &keeper);
        }
    }
}

fn depend_on(entry: &mut Entry, code: &str, keeper: &Name) {
    for finding in entry.findings.iter_mut().filter(|one| one.consequences.of_database && one.code == code) {
        let message = format!("could not be checked, because it depends on the database: see the check `{keeper}`");
        if entry.summary == finding.message {
            entry.summary.clone_from(&message);
        }
        let told = Finding {
            consequences: finding.consequences,
            ..Finding::new(Status::Unknown, DEPENDS_ON_DATABASE, message)
        };
        *finding = told;
    }
    let worst = Status::worst(entry.findings.iter().map(|finding| finding.status));
    entry.status = entry.status.min(worst);
    entry.raw_status = entry.raw_status.min(worst);
}

#[cfg(test)]
mod tests;
