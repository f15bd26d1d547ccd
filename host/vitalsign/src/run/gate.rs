//! The start-up gate: whether a program may be started on what the checks said.
//!
//! A pure function of a report. Knows no check, no program and no command line.

use vitalsign_check::report::{DEPENDS_ON_DATABASE, Entry, Finding, Report, Severity, Weight};

/// What the gate decides, in sentences that begin with the name of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateDecision {
    /// Why the program is not started. Empty: it is.
    pub refused: Vec<String>,
    /// What stands against a start and does not keep the program from starting.
    pub noted: Vec<String>,
}

/// Judges what the critical checks found, and whichever found the database to be corrupt: each finding that counts as an
/// error refuses the start, except where the program itself repairs what was found by starting, or where `excused` says that
/// it does not matter this time.
#[must_use]
pub fn gate(report: &Report, excused: impl Fn(&Entry, &Finding) -> bool) -> GateDecision {
    let mut gate = GateDecision::default();
    let is_bad = |entry: &&Entry| entry.weight == Weight::Critical && entry.severity() == Severity::Error;
    for entry in report.checks.iter().filter(is_bad) {
        let mut is_explained = false;
        for finding in entry.findings.iter().filter(|finding| entry.finding_severity(finding) == Severity::Error) {
            is_explained = true;
            // What it depends on is judged where it was found.
            if finding.code == DEPENDS_ON_DATABASE {
                continue;
            }
            let side = if finding.consequences.repaired_by_start || excused(entry, finding) {
                &mut gate.noted
            } else {
                &mut gate.refused
            };
            side.push(format!("{}: {}", entry.name, finding.message));
        }
        if !is_explained {
            gate.refused.push(format!("{}: {}", entry.name, entry.summary));
        }
    }
    if report.checks.is_empty() {
        gate.refused.push("no check was run".to_owned());
    }
    gate
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitalsign_base::value::Name;
    use vitalsign_check::report::{Origin, RegistrySection, Status, Subject};

    fn report(findings: Vec<(&str, Weight, Finding)>) -> Report {
        let entries = findings.into_iter().map(|(name, weight, finding)| Entry {
            name: Name::parse(name).unwrap(),
            origin: Origin::Builtin,
            status: finding.status,
            raw_status: finding.status,
            weight,
            groups: Vec::new(),
            summary: finding.message.clone(),
            findings: vec![finding],
            measures: Vec::new(),
            duration_ms: 0.0,
            checked_at: None,
            age_ms: None,
        });
        let at = "2025-10-27T12:00:00Z".parse().unwrap();
        Report::new(&Subject::default(), RegistrySection::default(), entries.collect(), at)
    }

    /// What is refused, and what is noted.
    fn said(findings: Vec<(&str, Weight, Finding)>) -> (String, String) {
        let gate = gate(&report(findings), |_, finding| finding.code == "excused");
        (gate.refused.join("; "), gate.noted.join("; "))
    }

    #[test]
    fn critical_checks_and_a_corrupt_database_refuse_and_what_a_start_repairs_is_noted() {
        use Weight::{Advisory, Critical, Ordinary};
        let found = |status, text: &str| Finding::new(status, "code", text);
        let hot = || found(Status::Unknown, "a journal waits").repaired_by_start();
        let pair = |refused: &str, noted: &str| (refused.to_owned(), noted.to_owned());
        assert_eq!(said(vec![("wal", Critical, found(Status::Ok, "fine"))]), pair("", ""));
        assert_eq!(said(vec![("sql", Ordinary, found(Status::Error, "bad"))]), pair("", ""));
        assert_eq!(said(vec![("sql", Advisory, found(Status::Error, "bad"))]), pair("", ""));
        assert_eq!(said(vec![("wal", Critical, hot())]), pair("", "wal: a journal waits"));
        let unknown = ("disk", Critical, found(Status::Unknown, "could not look"));
        assert_eq!(said(vec![("wal", Critical, hot()), unknown]), pair("disk: could not look", "wal: a journal waits"));
        let missing = || found(Status::Error, "no database").of_database();
        let both = vec![("schema", Critical, missing()), ("wal", Critical, missing())];
        assert_eq!(said(both), pair("schema: no database", ""), "what depends on it is not said again");
        let excused = Finding::new(Status::Error, "excused", "not there yet");
        assert_eq!(said(vec![("schema", Critical, excused)]), pair("", "schema: not there yet"));
        assert_eq!(said(Vec::new()), pair("no check was run", ""));
    }
}
