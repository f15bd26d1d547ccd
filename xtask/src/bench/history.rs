//! The ratios of earlier benchmark runs, one line of JSON for each run, and what a new run lost against the last one.
//!
//! Only ratios are kept: both sides of a ratio are measured in one run, so another machine changes it little, while it
//! changes every time and speed. Does not know how figures are measured.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use super::Figure;
use crate::{Result, tool::at};

/// A ratio varies by a few percent between two runs of the same code.
const MAX_LOSS: f64 = 0.1;

/// What makes a ratio better.
#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

/// The figures that are ratios.
fn ratios(figures: &[Figure]) -> impl Iterator<Item = &Figure> {
    figures.iter().filter(|one| ["×", "times as fast"].contains(&one.unit.as_str()))
}

/// Which way a ratio is better; `None` where it has no target, and is only information.
fn better(one: &Figure) -> Option<Better> {
    match one.target.chars().next()? {
        '≥' => Some(Better::Higher),
        '≤' => Some(Better::Lower),
        _ => None,
    }
}

/// The ratios of the last line of the history; none where there is no history yet.
pub(super) fn last(path: &Path) -> Result<BTreeMap<String, f64>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = at(path, fs::read_to_string(path))?;
    let Some(line) = text.lines().last() else { return Ok(BTreeMap::new()) };
    let entry: Value =
        serde_json::from_str(line).map_err(|error| format!("{}: the last line: {error}", path.display()))?;
    let ratios = entry["ratios"].as_object().ok_or_else(|| format!("{}: no `ratios`", path.display()))?;
    Ok(ratios.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
}

/// A sentence for each ratio that is more than 10 % worse than in the last run.
pub(super) fn losses(last: &BTreeMap<String, f64>, figures: &[Figure]) -> Vec<String> {
    let worse = |one: &Figure| {
        let before = *last.get(&one.name)?;
        let lost = match better(one)? {
            Better::Higher => 1.0 - one.value / before,
            Better::Lower => one.value / before - 1.0,
        };
        let Figure { name, value, unit, .. } = one;
        (lost > MAX_LOSS)
            .then(|| format!("{name}: {value:.2} {unit}, which is {:.0} % worse than {before:.2}", lost * 100.0))
    };
    ratios(figures).filter_map(worse).collect()
}

/// The history with a line for this run.
pub(super) fn with(before: &str, commit: &str, date: &str, figures: &[Figure]) -> String {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let ratios: BTreeMap<&str, f64> = ratios(figures).map(|one| (one.name.as_str(), rounded(one.value))).collect();
    let line = json!({ "commit": commit, "date": date, "ratios": ratios });
    format!("{before}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: f64, unit: &str, target: &str) -> Figure {
        Figure { name: name.into(), value, unit: unit.into(), target: target.into() }
    }

    #[test]
    fn a_loss_is_more_than_a_tenth_in_the_wrong_direction() {
        let last = [("fast", 4.0), ("large", 1.0), ("free", 1.0), ("gone", 1.0), ("time", 1.0)];
        let last = last.map(|(name, value)| (name.to_owned(), value)).into();
        let run = |fast, large| {
            let figures = [
                one("fast", fast, "times as fast", "≥ 3"),
                one("large", large, "×", "≤ 1"),
                one("free", 9.0, "×", ""),
                one("new", 9.0, "×", "≤ 1"),
                one("time", 9.0, "s", "≤ 1"),
            ];
            losses(&last, &figures)
        };
        assert_eq!(run(4.0, 1.0), Vec::<String>::new());
        assert_eq!(run(3.61, 1.09), Vec::<String>::new());
        assert_eq!(run(9.0, 0.1), Vec::<String>::new());
        assert_eq!(run(3.59, 1.0), ["fast: 3.59 times as fast, which is 10 % worse than 4.00"]);
        assert_eq!(run(4.0, 1.2), ["large: 1.20 ×, which is 20 % worse than 1.00"]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("vitalsign-history-{}", std::process::id()));
        assert_eq!(last(&path), Ok(BTreeMap::new()));
        let first = with("", "abc", "2026-01-01", &[one("old", 1.0, "×", "")]);
        let both = with(&first, "def", "2026-01-02", &[one("a", 1.23456, "×", "≤ 2"), one("b", 3.0, "s", "")]);
        assert_eq!(both.lines().nth(1), Some(r#"{"commit":"def","date":"2026-01-02","ratios":{"a":1.235}}"#));
        fs::write(&path, both).unwrap();
        let read = last(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(read, Ok([("a".to_owned(), 1.235)].into()));
    }

    #[test]
    fn the_history_in_the_repository_can_be_read() {
        let ratios = last(&crate::tool::root().join(super::super::HISTORY)).unwrap();
        assert!(ratios.values().all(|value| *value > 0.0) && !ratios.is_empty());
    }
}
