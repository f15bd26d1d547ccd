//! Which checks are meant: by name, by group, by weight.
//!
//! Pure functions over specs. Knows no command line and runs nothing.

use vitalsign_base::value;
use vitalsign_check::{Spec, report::Weight};

/// The longest part of an unknown word that a message repeats, in bytes.
const MAX_WORD_BYTES: usize = 80;

/// What a caller asks for. The default asks for every check that is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only the checks of these names, also those that are not enabled.
    pub only: Vec<String>,
    /// Only the checks of this group.
    pub group: Option<String>,
    /// Only the critical checks.
    pub critical: bool,
}

/// Checks that exist: a selection that was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen(pub(super) Vec<usize>);

impl Chosen {
    /// How many checks were chosen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Why a selection chooses nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No check has this name.
    #[error("there is no check `{word}`; {}", advice(near, known, "there are no checks at all"))]
    Name {
        /// The word that was asked for, made printable.
        word: String,
        /// The nearest name.
        near: Option<String>,
        /// All names.
        known: Vec<String>,
    },
    /// No check is in this group.
    #[error("no check is in the group `{word}`; {}", advice(near, known, "no check is in any group"))]
    Group {
        /// The word that was asked for, made printable.
        word: String,
        /// The nearest group.
        near: Option<String>,
        /// All groups.
        known: Vec<String>,
    },
    /// Every word is known, and still no check is meant: a report on nothing would look healthy.
    #[error("nothing would be checked: {0}")]
    Empty(String),
}

fn advice(near: &Option<String>, known: &[String], none: &str) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => none.to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// Looks a selection up.
pub(super) fn choose<'a>(
    specs: impl Iterator<Item = &'a Spec> + Clone,
    selection: &Selection,
) -> Result<Chosen, SelectionError> {
    let near = |word: &str, known: &[String]| value::nearest(word, known.iter().map(String::as_str)).map(str::to_owned);
    for word in &selection.only {
        if !specs.clone().any(|spec| spec.name.as_str() == word) {
            let known: Vec<_> = specs.map(|spec| spec.name.to_string()).collect();
            let near = near(word, &known);
            return Err(SelectionError::Name { word: value::printable(word, MAX_WORD_BYTES), near, known });
        }
    }
    if let Some(group) = &selection.group {
        let mut known: Vec<_> = specs.clone().flat_map(|spec| spec.schedule.groups.clone()).collect();
        known.sort();
        known.dedup();
        if !known.contains(group) {
            let near = near(group, &known);
            return Err(SelectionError::Group { word: value::printable(group, MAX_WORD_BYTES), near, known });
        }
    }
    let meant = |spec: &Spec| {
        let schedule = &spec.schedule;
        let named = match selection.only.as_slice() {
            [] => schedule.enabled,
            only => only.iter().any(|name| name == spec.name.as_str()),
        };
        let grouped = selection.group.as_ref().is_none_or(|group| schedule.groups.contains(group));
        named && grouped && (schedule.weight == Weight::Critical || !selection.critical)
    };
    let chosen: Vec<_> = specs.clone().enumerate().filter(|(_, spec)| meant(spec)).map(|(at, _)| at).collect();
    if chosen.is_empty() { Err(SelectionError::Empty(empty(specs, selection))) } else { Ok(Chosen(chosen)) }
}

/// Why a selection of known words chooses nothing.
fn empty<'a>(mut specs: impl Iterator<Item = &'a Spec>, selection: &Selection) -> String {
    if !specs.any(|spec| spec.schedule.enabled || !selection.only.is_empty()) {
        return "no check is enabled".to_owned();
    }
    match &selection.group {
        _ if selection.critical => "no enabled check is critical".to_owned(),
        Some(group) if selection.only.is_empty() => format!("no check in the group `{group}` is enabled"),
        Some(group) => format!("none of the checks that are named is in the group `{group}`"),
        None => "no check is meant".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vitalsign_base::value::Name;
    use vitalsign_check::{Schedule, report::Origin};

    fn specs() -> Vec<Spec> {
        [("disk", true, true, "ready"), ("integrity", false, false, "slow"), ("wal", true, false, "ready")]
            .map(|(name, enabled, critical, group)| Spec {
                name: Name::parse(name).unwrap(),
                origin: Origin::Builtin,
                schedule: Schedule {
                    enabled,
                    weight: if critical { Weight::Critical } else { Weight::Ordinary },
                    interval: Duration::from_secs(15),
                    timeout: Duration::from_secs(2),
                    failure_threshold: 1,
                    success_threshold: 1,
                    groups: vec![group.to_owned()],
                },
            })
            .to_vec()
    }

    fn chosen(only: &[&str], group: Option<&str>, critical: bool) -> Result<Vec<usize>, String> {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let selection = Selection { only, group: group.map(str::to_owned), critical };
        choose(specs().iter(), &selection).map(|chosen| chosen.0).map_err(|error| error.to_string())
    }

    #[test]
    fn selections_choose() {
        assert_eq!(chosen(&[], None, false).unwrap(), [0, 2]);
        assert_eq!(chosen(&["integrity", "wal"], None, false).unwrap(), [1, 2]);
        assert_eq!(chosen(&[], Some("ready"), false).unwrap(), [0, 2]);
        assert_eq!(chosen(&["wal", "integrity"], Some("slow"), false).unwrap(), [1]);
        assert_eq!(chosen(&[], None, true).unwrap(), [0]);
    }

    #[test]
    fn a_selection_of_nothing_says_why() {
        let said = |only: &[&str], group, critical| chosen(only, group, critical).unwrap_err();
        let none = "nothing would be checked: ";
        assert_eq!(said(&[], Some("slow"), false), format!("{none}no check in the group `slow` is enabled"));
        assert_eq!(
            said(&["wal"], Some("slow"), false),
            format!("{none}none of the checks that are named is in the group `slow`")
        );
        assert_eq!(said(&["wal"], None, true), format!("{none}no enabled check is critical"));
        let nobody = choose([].iter(), &Selection::default()).unwrap_err();
        assert_eq!(nobody.to_string(), format!("{none}no check is enabled"));
    }

    #[test]
    fn unknown_words_are_answered_with_the_nearest() {
        let said = |only: &[&str], group| chosen(only, group, false).unwrap_err();
        assert_eq!(said(&["disc"], None), "there is no check `disc`; did you mean `disk`?");
        assert_eq!(said(&["DISK"], None), "there is no check `DISK`; did you mean `disk`?");
        assert_eq!(said(&["x\x1b"], None), "there is no check `x\\u{1b}`; there are: disk, integrity, wal");
        assert_eq!(said(&[], Some("redy")), "no check is in the group `redy`; did you mean `ready`?");
    }
}
