//! Putting a report together.
//!
//! The types are those of the WIT package; here are their builders.

use crate::{Failure, Finding, Measure, Report, Status};

impl Report {
    /// A report with nothing to complain of. `summary` is one line that says how things stand.
    #[must_use]
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), findings: Vec::new(), measures: Vec::new() }
    }

    /// Adds a finding. `code` is a stable word for machines, `message` one sentence for people.
    pub fn finding(&mut self, status: Status, code: impl Into<String>, message: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding { status, code: code.into(), message: message.into(), subject: None, hint: None });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// Adds something that needs a look, soon.
    pub fn warn(&mut self, code: impl Into<String>, message: impl Into<String>) -> &mut Finding {
        self.finding(Status::Warn, code, message)
    }

    /// Adds something bad.
    pub fn error(&mut self, code: impl Into<String>, message: impl Into<String>) -> &mut Finding {
        self.finding(Status::Error, code, message)
    }

    /// Adds a part that could not be looked at. It never counts as healthy.
    pub fn unknown(&mut self, code: impl Into<String>, message: impl Into<String>) -> &mut Finding {
        self.finding(Status::Unknown, code, message)
    }

    /// Adds a number. `name` is of lower-case letters, digits and underscores; `unit` may be empty.
    pub fn measure(&mut self, name: impl Into<String>, value: impl Number, unit: impl Into<String>) -> &mut Measure {
        self.measures.push(Measure {
            name: name.into(),
            value: value.number(),
            unit: unit.into(),
            warn: None,
            error: None,
        });
        let last = self.measures.len() - 1;
        &mut self.measures[last]
    }
}

impl Failure {
    /// Why, without the kind: for a check that goes on after a part of it failed, and says so in a finding.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Unavailable(reason) | Self::Misconfigured(reason) | Self::Denied(reason) | Self::Other(reason) => {
                reason
            }
        }
    }
}

impl Finding {
    /// Says what it is about: a table, a record, a file.
    pub fn subject(&mut self, subject: impl Into<String>) -> &mut Self {
        self.subject = Some(subject.into());
        self
    }

    /// Says what to do now.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Measure {
    /// Says from which value on it is a warning. For the reader: it adds no finding.
    pub fn warn_from(&mut self, value: impl Number) -> &mut Self {
        self.warn = Some(value.number());
        self
    }

    /// Says from which value on it is an error. For the reader: it adds no finding.
    pub fn error_from(&mut self, value: impl Number) -> &mut Self {
        self.error = Some(value.number());
        self
    }
}

/// A number that can be measured. Integers beyond 2^53 lose their last digits.
pub trait Number {
    /// The number as a double.
    fn number(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Number for $number {
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "a measure is a double")]
            fn number(self) -> f64 {
                self as f64
            }
        })*
    };
}

numbers!(f32 f64 i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_built_in_place() {
        let mut report = Report::new("two of three hold");
        report.measure("broken", 1_u64, "rows").warn_from(1).error_from(10);
        report.error("chain-broken", "seq 7 does not follow seq 6").subject("seq 7").hint("look at the log");
        report.warn("late", "the last row is a day old");
        assert_eq!(report.measures[0].value, 1.0);
        assert_eq!((report.measures[0].warn, report.measures[0].error), (Some(1.0), Some(10.0)));
        let statuses: Vec<_> = report.findings.iter().map(|finding| finding.status).collect();
        assert_eq!(statuses, [Status::Error, Status::Warn]);
        assert_eq!(report.findings[0].subject.as_deref(), Some("seq 7"));
    }
}
