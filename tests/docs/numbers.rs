//! The numbers on the pages, held against the constants that they stand for.
//!
//! A number is found by the words round it, with `{}` in its place. On a page that is held as a whole, a number that stands
//! for nothing fails too.

use std::collections::BTreeSet;

use super::{
    none,
    page::{Page, source},
};

/// A page, words on it, and the constant that stands at `{}`: its file as [`source`] takes it, and its name.
type NumberRule = (&'static str, &'static str, &'static str, &'static str);

const NUMBERS: &[NumberRule] = &[
    ("docs/http.md", "kept for {} or until", "serve/cache.rs", "MAX_AGE"),
    ("docs/http.md", "may be {} too low", "serve/cache.rs", "MAX_AGE"),
    ("docs/http.md", "of its check and {} together", "run/slot.rs", "STALE_GRACE"),
    ("docs/http.md", "for the first time within {}.", "run/spread.rs", "FIRST_WITHIN"),
    ("docs/http.md", "runs again after {}, whatever", "run/mod.rs", "AGAIN_AFTER"),
    ("docs/http.md", "of this name, at most {} |", "serve/listen.rs", "MAX_ADDRESSES"),
    ("docs/http.md", "at the start, within {}.", "serve/listen.rs", "LOOK_UP_LIMIT"),
    ("docs/http.md", "at once. For {}, all requests", "serve/server.rs", "NOTICE"),
    ("docs/http.md", "closed, after {} at the latest | | SIGINT", "serve/server.rs", "DRAIN"),
    ("docs/http.md", "closed, after {} at the latest | | SIGHUP", "serve/server.rs", "QUICK_DRAIN"),
    ("docs/http.md", "at a time | {}, or half", "serve/server.rs", "MAX_CONNECTIONS"),
    ("docs/http.md", "of a connection | {}; only", "serve/connection.rs", "IDLE_LIMIT"),
    ("docs/http.md", "; only {} while", "serve/connection.rs", "CROWDED_IDLE_LIMIT"),
    ("docs/http.md", "from its first byte | {} |", "serve/connection.rs", "HEAD_LIMIT"),
    ("docs/http.md", "head of a request | {} and", "serve/connection.rs", "MAX_HEAD_BYTES"),
    ("docs/http.md", "and {} header fields", "serve/connection.rs", "MAX_HEADERS"),
    ("docs/http.md", "bytes of an answer | {} |", "serve/connection.rs", "ANSWER_LIMIT"),
    ("docs/http.md", "age of a connection | {};", "serve/connection.rs", "LIFE"),
    ("docs/http.md", "after the last answer | {} |", "serve/connection.rs", "LINGER"),
    ("docs/http.md", "start at a time | {};", "run/mod.rs", "MAX_CONCURRENT"),
    ("docs/http.md", "has run for {} no longer", "run/mod.rs", "PLACE_HELD"),
    ("docs/backup.md", "expected to end within {} (", "backup/examination.rs", "INDEX_LIMIT"),
    ("docs/backup.md", "({}) it begins no further", "config/defaults.rs", "VERIFY_BUDGET"),
    ("docs/backup.md", "that for {} at most, so", "cli/disk_turns.rs", "BACKUP_PATIENCE"),
];

/// Pages on which every number stands for a constant, or is one of these words.
const WHOLE: &[(&str, &[&str])] = &[(
    "docs/http.md",
    // Status codes, exit codes, ports, versions, and the idle time of other programs.
    &["200", "400", "404", "405", "503", "0", "3", "6", "HTTP/1.1", "IPv6", "IPv4", "(60"],
)];

/// Every way in which a page may write the value of a constant.
fn forms(file: &str, constant: &str) -> Vec<String> {
    let source = source(file);
    let mark = format!("const {constant}: ");
    let written = source.split_once(&mark).unwrap_or_else(|| panic!("{file} has no {constant}")).1;
    let value = written.split_once(" = ").and_then(|(_, rest)| rest.split_once(';')).unwrap().0;
    let duration = value.strip_prefix("Duration::from_").and_then(|call| call.strip_suffix(')')?.split_once('('));
    match duration {
        Some((unit, count)) => {
            let each = match unit {
                "millis" => 1,
                "secs" => 1000,
                "mins" => 60_000,
                "hours" => 3_600_000,
                unit => panic!("{constant}: from_{unit} is not known here"),
            };
            in_units(number(count) * each, &[(1, "ms"), (1000, "s"), (60_000, "min"), (3_600_000, "h")])
        }
        None => {
            let count = number(value);
            let plain = [count.to_string(), vitalsign_base::value::grouped(count)];
            let sizes = in_units(count, &[(1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB")]);
            plain.into_iter().chain(sizes).collect()
        }
    }
}

fn in_units(value: u64, units: &[(u64, &str)]) -> Vec<String> {
    let whole = units.iter().filter(|(unit, _)| value.is_multiple_of(*unit));
    whole.map(|(unit, name)| format!("{} {name}", vitalsign_base::value::grouped(value / unit))).collect()
}

/// A product or a shift of whole numbers.
fn number(text: &str) -> u64 {
    let one = |text: &str| -> u64 {
        let digits: String = text.trim().chars().filter(|ch| *ch != '_').collect();
        digits.parse().unwrap_or_else(|_| panic!("`{text}` is not a number that is understood here"))
    };
    match text.split_once("<<") {
        Some((value, bits)) => one(value) << one(bits),
        None => text.split('*').map(one).product(),
    }
}

/// The page in one line: no blocks, no code, no targets of links, no rules of tables.
fn words(page: &Page) -> String {
    let lines = page.prose().into_iter().map(|(_, line)| line.trim()).filter(|line| !line.starts_with("|--"));
    let text = lines.collect::<Vec<_>>().join(" ");
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let without_targets = prose.split("](").enumerate();
    let parts =
        without_targets.map(|(at, part)| if at == 0 { part } else { part.split_once(')').map_or("", |cut| cut.1) });
    parts.collect::<Vec<_>>().join("]").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_number_is_that_of_its_constant() {
    let mut wrong = Vec::new();
    let names: BTreeSet<&str> = NUMBERS.iter().map(|(page, ..)| *page).collect();
    for name in names {
        let mut text = words(&Page::read(name));
        for (_, around, file, constant) in NUMBERS.iter().filter(|(page, ..)| *page == name) {
            let forms = forms(file, constant);
            match forms.iter().map(|form| around.replace("{}", form)).find(|phrase| text.contains(phrase)) {
                // What is round a number may be what another one is found by.
                Some(phrase) => text = text.replacen(&phrase, around, 1),
                None => wrong.push(format!("{name}: no `{around}` with {} ({constant} in {file})", forms.join(" or "))),
            }
        }
        let Some((_, free)) = WHOLE.iter().find(|(page, _)| *page == name) else { continue };
        for word in text.split(' ').map(|word| word.trim_end_matches([',', '.', ';', ':', ')'])) {
            if word.contains(|ch: char| ch.is_ascii_digit()) && !free.contains(&word) {
                wrong.push(format!(
                    "{name}: `{word}` stands for no constant: add it to NUMBERS in tests/docs/numbers.rs"
                ));
            }
        }
    }
    none(&wrong);
}
