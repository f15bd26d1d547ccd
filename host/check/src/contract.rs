//! The contract between checks and everything above them: what a check is, what it is given, what it answers.
//!
//! A built-in check and a plugin look the same from here. Knows no check, no schedule and no output format.

use std::{future::Future, pin::Pin, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, de::DeserializeOwned};

use crate::report::{Fact, Finding, Measure, Origin, Status, Weight};
use vitalsign_base::{clock::Deadline, value::Name};

/// A future that is boxed because [`Check`] is used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// When and how a check is run, and how much its result weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Whether it runs when nobody asks for it by name.
    pub enabled: bool,
    /// How much it matters.
    pub weight: Weight,
    /// The time between two starts.
    pub interval: Duration,
    /// The wall-clock limit for one run.
    pub timeout: Duration,
    /// How many bad results in a row it takes to leave `ok`.
    pub failure_threshold: u32,
    /// How many good results in a row it takes to come back to `ok`.
    pub success_threshold: u32,
    /// The groups it belongs to; `ready` is what `/readyz` looks at.
    pub groups: Vec<String>,
}

/// What an operator changes of a check's [`Schedule`]; `None` keeps the check's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// See [`Schedule::enabled`].
    pub enabled: Option<bool>,
    /// See [`Schedule::weight`]. Without `groups`, it also decides whether the check counts for readiness.
    pub weight: Option<Weight>,
    /// See [`Schedule::interval`].
    pub interval: Option<Duration>,
    /// See [`Schedule::timeout`].
    pub timeout: Option<Duration>,
    /// See [`Schedule::failure_threshold`].
    pub failure_threshold: Option<u32>,
    /// See [`Schedule::success_threshold`].
    pub success_threshold: Option<u32>,
    /// See [`Schedule::groups`].
    pub groups: Option<Vec<String>>,
}

impl Schedule {
    /// This schedule with the operator's changes.
    #[must_use]
    pub fn with(self, changes: &Overrides) -> Self {
        Self {
            enabled: changes.enabled.unwrap_or(self.enabled),
            weight: changes.weight.unwrap_or(self.weight),
            interval: changes.interval.unwrap_or(self.interval),
            timeout: changes.timeout.unwrap_or(self.timeout),
            failure_threshold: changes.failure_threshold.unwrap_or(self.failure_threshold),
            success_threshold: changes.success_threshold.unwrap_or(self.success_threshold),
            groups: changes.groups.clone().or(changes.weight.map(usual_groups)).unwrap_or(self.groups),
        }
    }
}

/// Why a check's own configuration was refused, with the path of the key.
pub type BadConfig = serde_path_to_error::Error<serde_json::Error>;

/// What the table of all checks that are not plugins says of one of them.
#[derive(Clone, Copy)]
pub struct CheckInfo {
    /// Its name in reports and in the configuration.
    pub name: &'static str,
    /// One line that says what it looks at.
    pub summary: &'static str,
    /// When it runs and what it weighs, unless the operator says otherwise.
    pub schedule: fn() -> Schedule,
    /// The JSON Schema of its own configuration.
    pub config_schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether its own configuration can be used; `null` stands for all defaults.
    pub validate: fn(&serde_json::Value) -> Result<(), BadConfig>,
}

impl CheckInfo {
    /// The row of a check whose own configuration is a `C`.
    #[must_use]
    pub const fn of<C: DeserializeOwned + JsonSchema + Default>(
        name: &'static str,
        summary: &'static str,
        schedule: fn() -> Schedule,
    ) -> Self {
        Self {
            name,
            summary,
            schedule,
            config_schema: |generator| generator.subschema_for::<C>(),
            validate: |config| parsed::<C>(config).map(drop),
        }
    }
}

/// The configuration of a check that has nothing to configure.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads a check's own configuration; `null` stands for all defaults.
///
/// # Errors
/// [`BadConfig`] with the path of the key that is wrong.
pub fn parsed<C: DeserializeOwned + Default>(config: &serde_json::Value) -> Result<C, BadConfig> {
    if config.is_null() { Ok(C::default()) } else { serde_path_to_error::deserialize(config) }
}

/// The group of checks that decide on readiness.
pub const READY_GROUP: &str = "ready";

/// The groups of a check for which nobody names any: a critical one counts for readiness.
fn usual_groups(weight: Weight) -> Vec<String> {
    if weight == Weight::Critical { vec![READY_GROUP.to_owned()] } else { Vec::new() }
}

/// The usual schedule of a check that takes milliseconds; a critical one counts for readiness.
#[must_use]
pub fn every(seconds: u64, weight: Weight) -> Schedule {
    Schedule {
        enabled: true,
        weight,
        interval: Duration::from_secs(seconds),
        timeout: Duration::from_secs(2),
        failure_threshold: 1,
        success_threshold: 1,
        groups: usual_groups(weight),
    }
}

/// What a check is called, where it comes from, and when it runs.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name, unique in one report.
    pub name: Name,
    /// Built in, or the component it came from.
    pub origin: Origin,
    /// When it runs and what it weighs.
    pub schedule: Schedule,
}

/// What one run is given.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// When the run has to be over. A check that does blocking work passes it down.
    pub deadline: Deadline,
}

/// What one run found.
///
/// Its status is never stored: it is the worst of its findings, so the two cannot disagree.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One line that says how things stand.
    pub summary: String,
    /// What was found, good and bad.
    pub findings: Vec<Finding>,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// What the report's `registry` section learns from this run.
    pub facts: Vec<Fact>,
}

impl Outcome {
    /// An outcome with nothing to complain of.
    #[must_use]
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), ..Self::default() }
    }

    /// An outcome that consists of one finding, whose message is also the summary.
    #[must_use]
    pub fn of(finding: Finding) -> Self {
        Self { summary: finding.message.clone(), findings: vec![finding], ..Self::default() }
    }

    /// Whether it says that the database is corrupt.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.findings.iter().any(|finding| finding.consequences.corrupt && finding.status == Status::Error)
    }

    /// The status that the findings add up to.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::worst(self.findings.iter().map(|finding| finding.status))
    }
}

/// Something that looks at one aspect of the registry and says how it is.
pub trait Check: Send + Sync {
    /// What it is called and when it runs.
    fn spec(&self) -> &Spec;

    /// Where it comes from, as far as is known now: a plugin's digest is known once its component was read.
    fn origin(&self) -> Origin {
        self.spec().origin.clone()
    }

    /// What has to be done before the next run, such as compiling code; `None` when it can run at once. Called before each
    /// run, and its time does not count for the run. The work ends by a limit of its own, and goes on when the future is
    /// dropped. A run that comes before its end says that it could not look.
    fn prepare(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Looks once. Trouble is an outcome, never an error or a panic.
    ///
    /// Runs on a thread of its own, so it may block; it should keep to the deadline, and is given up on when it does not.
    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome>;
}
