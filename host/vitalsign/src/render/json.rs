//! The report as JSON, byte for byte what `/health` and `check --format json` give.
//!
//! The keys are those of `report`; nothing is renamed or left out here.

use vitalsign_check::report::Report;

/// The report on many lines, with a newline at the end: for files and terminals.
#[must_use]
pub fn pretty(report: &Report) -> String {
    // A report has string keys and numbers only, which serde_json cannot refuse.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

/// The report on one line: for the wire.
#[must_use]
pub fn compact(report: &Report) -> String {
    serde_json::to_string(report).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::samples;

    #[test]
    fn both_forms_say_the_same() {
        let mut report = samples::mixed();
        report.checks[0].measures.push(vitalsign_check::report::Measure::new("odd", f64::NAN, ""));
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let (pretty, compact) = (super::pretty(&report), super::compact(&report));
        assert_eq!(read(&pretty), read(&compact));
        assert!(pretty.ends_with("}\n") && !compact.contains('\n'));
    }

    #[test]
    fn control_characters_never_reach_a_terminal_raw() {
        let text = super::pretty(&samples::hostile());
        assert!(!text.chars().any(|ch| ch.is_control() && ch != '\n'), "{text:?}");
    }
}
