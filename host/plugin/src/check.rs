//! A plugin as a check like any other: loads it when it is first needed, runs the guest, and turns its answer into an outcome
//! that can be trusted in a report.
//!
//! Everything a guest says is made printable, capped and checked here, and nowhere else.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use super::{
    LockEntry, Plugins,
    abi::{self, Failure},
    component::Loaded,
    guest::{self, GuestAnswer, GuestError},
    load::{self, LoadError, LoadProgress},
    settings::PluginSettings,
};
use vitalsign_base::{
    clock::Stopwatch,
    value::{self, Digest, Name, printable},
};
use vitalsign_check::{
    BoxFuture, Check, Context, Outcome, Spec,
    report::{Consequences, Exactness, Finding, Measure, Origin, Status},
};

/// Caps on what one report takes from a guest, in bytes of text.
const MAX_CODE_BYTES: usize = 64;
const MAX_SENTENCE_BYTES: usize = 1000;
const MAX_NAME_BYTES: usize = 64;

/// Findings and measures that one report takes from a guest; the rest is counted.
const MAX_FINDINGS: usize = 100;
const MAX_MEASURES: usize = 100;

/// How long a preparation waits for the component's file and the cache. Milliseconds are usual; a file system that takes
/// longer hangs, and the run then says so.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// A configured plugin.
pub(super) struct PluginCheck {
    spec: Spec,
    settings: Arc<PluginSettings>,
    config: String,
    plugins: Arc<Plugins>,
    pin: LockEntry,
    /// Set once, by the first attempt at loading that succeeds.
    loaded: Arc<OnceLock<Arc<Loaded>>>,
    attempt: Arc<LoadAttempt>,
}

/// The last attempt at loading a plugin.
struct LoadAttempt {
    state: watch::Sender<LoadState>,
    /// The digest of the component, once it was read.
    digest: Mutex<Option<Digest>>,
}

/// How far an attempt is.
#[derive(Clone)]
enum LoadState {
    NotBegun,
    /// The component is read, or looked for in the cache, since then.
    Reading(Stopwatch),
    /// The component is being compiled or waits for its turn, since then.
    Compiling(Stopwatch),
    Failed(Arc<LoadError>),
    Loaded,
}

impl LoadState {
    fn is_under_way(&self) -> bool {
        matches!(self, Self::Reading(_) | Self::Compiling(_))
    }
}

impl LoadAttempt {
    fn tell(&self, step: LoadProgress) {
        match step {
            LoadProgress::Digest(digest) => *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest),
            LoadProgress::Compiling(since) => {
                self.state.send_replace(LoadState::Compiling(since));
            }
        }
    }
}

/// Ends an attempt as failed that ends in no other way, so that nobody waits for it for ever.
struct LoadGuard {
    attempt: Arc<LoadAttempt>,
    written: String,
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        if self.attempt.state.borrow().is_under_way() {
            let error = LoadError::Panicked { path: self.written.clone() };
            self.attempt.state.send_replace(LoadState::Failed(Arc::new(error)));
        }
    }
}

impl PluginCheck {
    /// A check that has not been loaded. Reads nothing.
    pub(super) fn new(plugins: Arc<Plugins>, settings: PluginSettings, pin: LockEntry) -> Self {
        Self {
            spec: Spec {
                name: settings.name.clone(),
                origin: Origin::Plugin { component: settings.written.clone(), digest: None },
                schedule: settings.schedule.clone(),
            },
            config: settings.config.to_string(),
            settings: Arc::new(settings),
            plugins,
            pin,
            loaded: Arc::default(),
            attempt: Arc::new(LoadAttempt { state: watch::Sender::new(LoadState::NotBegun), digest: Mutex::default() }),
        }
    }

    /// Begins to load the plugin as a task of its own, unless that is under way: it goes on when nobody waits for it.
    fn begin(&self) -> watch::Receiver<LoadState> {
        let begun = self.attempt.state.send_if_modified(|state| {
            let begin = !state.is_under_way();
            if begin {
                *state = LoadState::Reading(Stopwatch::start());
            }
            begin
        });
        if begun {
            let (plugins, settings, pin) = (Arc::clone(&self.plugins), Arc::clone(&self.settings), self.pin);
            let (attempt, loaded) = (Arc::clone(&self.attempt), Arc::clone(&self.loaded));
            tokio::spawn(async move {
                let _under_way = LoadGuard { attempt: Arc::clone(&attempt), written: settings.written.clone() };
                let ended = match load::load(&plugins, &settings, pin, |step| attempt.tell(step)).await {
                    Ok((plugin, _)) => {
                        // Only one attempt is under way at a time, so nothing is set yet.
                        let _ = loaded.set(plugin);
                        LoadState::Loaded
                    }
                    Err(error) => LoadState::Failed(Arc::new(error)),
                };
                attempt.state.send_replace(ended);
            });
        }
        self.attempt.state.subscribe()
    }

    /// What a run says of a plugin that is not loaded.
    fn not_loaded(&self) -> Finding {
        let (name, path) = (&self.spec.name, &self.settings.written);
        let unknown = |code, message| Finding::new(Status::Unknown, code, message);
        match &*self.attempt.state.borrow() {
            LoadState::Failed(error) => {
                // A component that is not the pinned one was looked at, and is wrong; the others could not be looked at.
                let changed = matches!(**error, LoadError::Changed { .. });
                let status = if changed { Status::Error } else { Status::Unknown };
                Finding::new(status, error.code(), error.to_string()).hint(error.hint(name))
            }
            LoadState::Compiling(since) => {
                let (age, limit) = (value::span(since.elapsed()), value::span(self.settings.limits.compile_time));
                unknown("compiling", format!("the component {path} has been compiling for {age}; the check runs once that is done"))
                    .hint(format!(
                        "Wait. Compiling may take {limit}, the `plugins[].limits.compileTimeMs` of the plugin {name}, and the result is kept for the next start."
                    ))
            }
            LoadState::Reading(since) => {
                let age = value::span(since.elapsed());
                unknown("component-unreadable", format!("reading the component {path} has not ended after {age}"))
                    .hint("Find out whether the file system of the component or of the cache folder hangs.")
            }
            LoadState::NotBegun | LoadState::Loaded => {
                unknown("not-loaded", format!("the component {path} has not been loaded"))
            }
        }
    }
}

impl Check for PluginCheck {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn origin(&self) -> Origin {
        let digest = *self.attempt.digest.lock().unwrap_or_else(PoisonError::into_inner);
        Origin::Plugin { component: self.settings.written.clone(), digest }
    }

    fn prepare(&self) -> Option<BoxFuture<'static, ()>> {
        if self.loaded.get().is_some() {
            return None;
        }
        let mut state = self.begin();
        Some(Box::pin(async move {
            // The sender lives as long as the check does; without it there is nothing left to prepare.
            let past_reading = state.wait_for(|state| !matches!(state, LoadState::Reading(_)));
            if timeout(READ_LIMIT, past_reading).await.is_ok() {
                // Bounded: compiling and describing have limits of their own.
                drop(state.wait_for(|state| !state.is_under_way()).await);
            }
        }))
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let Some(loaded) = self.loaded.get() else { return Outcome::of(self.not_loaded()) };
            match guest::run(loaded, &self.settings, &self.config, context.deadline).await {
                Ok(GuestAnswer { said: Ok(report), .. }) => outcome(report),
                Ok(GuestAnswer { said: Err(failure), query_timed_out }) => {
                    Outcome::of(refused(failure, query_timed_out, &self.spec.name))
                }
                Err(error) => Outcome::of(guest_failure(&error, &self.spec.name)),
            }
        })
    }
}

/// The guest answered that it could not look.
fn refused(failure: Failure, query_timed_out: bool, name: &Name) -> Finding {
    let (code, what, why, hint) = match failure {
        Failure::Unavailable(why) => ("unavailable", "what it looks at is not available", why, None),
        Failure::Misconfigured(why) => {
            let hint = format!("Correct `plugins[].config` of the plugin {name}.");
            ("misconfigured", "it refuses its configuration", why, Some(hint))
        }
        Failure::Denied(why) => {
            let hint = format!("Add what it needs to `plugins[].grants` of the plugin {name}, or remove the plugin.");
            ("denied", "it was not granted what it needs", why, Some(hint))
        }
        Failure::Other(why) if query_timed_out => {
            let hint = format!(
                "A query took longer than `plugins[].limits.sqlTimeMs` of the plugin {name} allows. Give the query an index or split it; raise the limit only if a longer read transaction does no harm."
            );
            ("could-not-look", "a query was too slow", why, Some(hint))
        }
        Failure::Other(why) => {
            let hint = "The reason comes from the plugin's code, not from its configuration or its grants. Report it to its author.".to_owned();
            ("could-not-look", "its code says", why, Some(hint))
        }
    };
    let message = format!("the plugin could not look: {what}: {}", printable(&why, MAX_SENTENCE_BYTES));
    let finding = Finding::new(Status::Unknown, code, message);
    match hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

/// The guest did not answer.
fn guest_failure(error: &GuestError, name: &Name) -> Finding {
    let code = match error {
        GuestError::Time(_) => "timed-out",
        GuestError::Limit { .. } => "limit",
        GuestError::Trap(_) => "trapped",
        GuestError::Exit(_) => "exited",
        GuestError::NoRoom(_) => "no-room",
        GuestError::NoAddressSpace(_) => "no-address-space",
        GuestError::NoSlot(_) => "no-slot",
    };
    Finding::new(Status::Unknown, code, format!("the plugin {error}")).hint(error.hint(name))
}

fn outcome(report: abi::Report) -> Outcome {
    let mut outcome = Outcome::new(sentence(&report.summary));
    let left_out = report.findings.len().saturating_sub(MAX_FINDINGS);
    // The worst come first, so that no finding that is left out is worse than one that is shown.
    let mut findings: Vec<_> = report.findings.iter().map(finding).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    findings.truncate(MAX_FINDINGS);
    outcome.findings = findings;
    if left_out > 0 {
        let message = format!("{left_out} more findings are left out: a report takes {MAX_FINDINGS} of one check");
        outcome.findings.push(Finding::new(Status::Ok, "findings-left-out", message));
    }
    let unseen = report.measures.len().saturating_sub(MAX_MEASURES);
    if unseen > 0 {
        let message = format!("{unseen} more measures are left out: a report takes {MAX_MEASURES} of one check");
        outcome.findings.push(Finding::new(Status::Unknown, "measures-left-out", message));
    }
    for measure in report.measures.into_iter().take(MAX_MEASURES) {
        let name = printable(&measure.name, MAX_NAME_BYTES);
        if measure.value.is_finite() {
            let finite = |threshold: Option<f64>| threshold.filter(|value| value.is_finite());
            outcome.measures.push(Measure {
                name,
                value: measure.value,
                unit: printable(&measure.unit, MAX_NAME_BYTES),
                warn: finite(measure.warn),
                error: finite(measure.error),
                exactness: Exactness::Exact,
            });
        } else {
            let message = format!("the plugin measured {name} as {}, which is not a number", measure.value);
            outcome.findings.push(Finding::new(Status::Unknown, "bad-measure", message));
        }
    }
    outcome
}

fn finding(finding: &abi::types::Finding) -> Finding {
    Finding {
        status: match finding.status {
            abi::types::Status::Ok => Status::Ok,
            abi::types::Status::Warn => Status::Warn,
            abi::types::Status::Error => Status::Error,
            abi::types::Status::Unknown => Status::Unknown,
            abi::types::Status::Skipped => Status::Skipped,
        },
        code: code(&finding.code),
        message: match sentence(&finding.message) {
            message if message.trim().is_empty() => "the plugin gives no message".to_owned(),
            message => message,
        },
        subject: finding.subject.as_deref().map(sentence),
        hint: finding.hint.as_deref().map(sentence),
        consequences: Consequences::default(),
    }
}

/// Codes become labels and rule names elsewhere, so a code that is not a word becomes `unnamed`.
fn code(text: &str) -> String {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let word = !text.is_empty() && text.len() <= MAX_CODE_BYTES && text.bytes().all(letter);
    if word { text.to_owned() } else { "unnamed".to_owned() }
}

fn sentence(text: &str) -> String {
    printable(text, MAX_SENTENCE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: abi::types::Status, message: &str) -> abi::types::Finding {
        abi::types::Finding { status, code: "c".into(), message: message.into(), subject: None, hint: None }
    }

    #[test]
    fn the_worst_findings_survive_the_cap() {
        let mut findings: Vec<_> = (0..500).map(|_| said(abi::types::Status::Ok, "fine")).collect();
        findings.push(said(abi::types::Status::Error, "bad"));
        let outcome = outcome(abi::Report { summary: String::new(), findings, measures: Vec::new() });
        assert_eq!(outcome.status(), Status::Error);
        assert_eq!(outcome.findings[0].message, "bad");
        assert_eq!(outcome.findings.len(), MAX_FINDINGS + 1);
        assert!(outcome.findings[MAX_FINDINGS].message.starts_with("401 more"));
    }

    #[test]
    fn a_measure_that_is_no_number_is_not_healthy() {
        let measure = |value| abi::types::Measure {
            name: "m".into(),
            value,
            unit: String::new(),
            warn: Some(f64::INFINITY),
            error: None,
        };
        let report = abi::Report {
            summary: "s\x07".into(),
            findings: Vec::new(),
            measures: vec![measure(f64::NAN), measure(1.0)],
        };
        let outcome = outcome(report);
        assert_eq!(outcome.summary, "s\\u{7}");
        assert_eq!(outcome.status(), Status::Unknown);
        assert_eq!(outcome.measures, [Measure::new("m", 1.0, "")]);
    }
}
