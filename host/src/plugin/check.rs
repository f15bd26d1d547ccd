//! A plugin as a check like any other: runs the guest and turns what it says into an outcome that can be trusted in a report.
//!
//! Everything a guest says is made printable, capped and checked here, and nowhere else.

use std::sync::Arc;

use super::{
    Runtime,
    abi::{self, Failure},
    guest::{self, GuestError},
    load::{LoadError, Loaded},
    settings::PluginSettings,
};
use crate::{
    check::{BoxFuture, Check, Context, Outcome, Spec},
    report::{Bearing, Exactness, Finding, Measure, Status},
    value::printable,
};

/// Caps on what one report takes from a guest, in bytes of text.
const MAX_CODE_BYTES: usize = 64;
const MAX_SENTENCE_BYTES: usize = 1000;
const MAX_NAME_BYTES: usize = 64;

/// Findings and measures that one report takes from a guest; the rest is counted.
const MAX_FINDINGS: usize = 100;
const MAX_MEASURES: usize = 100;

/// A plugin that was loaded.
pub(super) struct PluginCheck {
    pub(super) spec: Spec,
    pub(super) settings: PluginSettings,
    pub(super) config: String,
    pub(super) runtime: Arc<Runtime>,
    pub(super) loaded: Loaded,
}

impl Check for PluginCheck {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match guest::run(&self.runtime, &self.loaded, &self.settings, &self.config, context.deadline).await {
                Ok(Ok(report)) => outcome(report),
                Ok(Err(failure)) => Outcome::of(refused(failure)),
                Err(error) => Outcome::of(broke(&error)),
            }
        })
    }
}

/// A plugin that could not be loaded: it says why, each time it is asked.
pub(super) struct BrokenCheck {
    pub(super) spec: Spec,
    pub(super) error: LoadError,
}

impl Check for BrokenCheck {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn run<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Outcome> {
        // A component that is not the locked one was looked at, and is bad; the others could not be looked at.
        let status = if matches!(self.error, LoadError::Changed { .. }) { Status::Error } else { Status::Unknown };
        let finding = Finding::new(status, self.error.code(), self.error.to_string()).hint(self.error.hint());
        Box::pin(async { Outcome::of(finding) })
    }
}

/// The guest answered that it could not look.
fn refused(failure: Failure) -> Finding {
    let (code, what, why) = match failure {
        Failure::Unavailable(why) => ("unavailable", "what it looks at is not available", why),
        Failure::Misconfigured(why) => ("misconfigured", "its configuration is wrong", why),
        Failure::Denied(why) => ("denied", "it was not granted what it needs", why),
        Failure::Other(why) => ("could-not-look", "it gave this reason", why),
    };
    let message = format!("could not look: {what}: {}", printable(&why, MAX_SENTENCE_BYTES));
    let finding = Finding::new(Status::Unknown, code, message);
    match code {
        "misconfigured" => finding.hint("correct the plugin's `config`"),
        "denied" => finding.hint("add what it needs to the plugin's `grants`, or remove the plugin"),
        _ => finding,
    }
}

/// The guest did not answer.
fn broke(error: &GuestError) -> Finding {
    let (code, hint) = match error {
        GuestError::Time(_) => ("timed-out", "raise `limits.timeoutMs` if the check needs longer".to_owned()),
        GuestError::Limit { name, .. } => {
            ("limit", format!("raise `limits.{name}` if the check needs more, or report it to the plugin's author"))
        }
        GuestError::Trap(_) => ("trapped", "report it to the plugin's author".to_owned()),
        GuestError::Exit(_) => ("exited", "a check returns its result instead of ending itself".to_owned()),
        GuestError::NoRoom(_) => {
            ("no-room", "report it to the plugin's author: it has too many memories or tables".to_owned())
        }
        GuestError::NoSlot(_) => ("no-slot", "give the plugins longer intervals or shorter time limits".to_owned()),
    };
    Finding::new(Status::Unknown, code, format!("could not look: the plugin {error}")).hint(hint)
}

fn outcome(report: abi::Report) -> Outcome {
    let mut outcome = Outcome::new(sentence(&report.summary));
    let left_out = report.findings.len().saturating_sub(MAX_FINDINGS);
    // The worst come first, so that what is left out is never worse than what is shown.
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
            let message = format!("the plugin measured {name} as {}, which is no number", measure.value);
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
            message if message.trim().is_empty() => "the plugin says nothing more of this".to_owned(),
            message => message,
        },
        subject: finding.subject.as_deref().map(sentence),
        hint: finding.hint.as_deref().map(sentence),
        bearing: Bearing::default(),
    }
}

/// Codes become labels and rule names elsewhere, so one that is no word is replaced by one that says so.
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
