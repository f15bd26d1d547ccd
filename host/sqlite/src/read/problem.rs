//! What `PRAGMA integrity_check` reports, sorted by what it means for the rows and by what repairs it.
//!
//! SQLite reports text, one value for each problem, apart from damage to pages: that comes as lines of one value under the
//! heading `*** in database main ***`. The sentences are those of SQLite 3.54; a sentence that is not known here counts as
//! damage to the structure, so a new one is never taken for something harmless. Reads no database.

use std::collections::BTreeMap;

/// What a problem means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// Pages of the file do not fit together: rows may be lost.
    Structure,
    /// Pages of one index do not fit together; the rows in its table are not affected.
    IndexStructure,
    /// An index disagrees with its table. Rebuilding the index repairs it.
    Index,
    /// A row breaks a rule that its table declares, such as `NOT NULL`.
    Rule,
    /// A virtual table's own data disagree with each other.
    Virtual,
    /// Something could not be looked at, and nothing says that it is damaged.
    NotChecked,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What it means.
    pub kind: ProblemKind,
    /// The table or the index that it is in, where SQLite says so.
    pub subject: Option<String>,
    /// SQLite's words.
    pub text: String,
}

/// A table or an index whose b-tree begins on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BTreeRoot {
    pub(crate) name: String,
    pub(crate) is_index: bool,
}

/// The heading over damage to pages.
const HEADING: &str = "***";

/// What SQLite says of an index, before its name, that has more or fewer entries than its table has rows.
pub(crate) const MISCOUNTED: &str = "wrong # of entries in index ";

/// What SQLite says of an index, before its name, that lacks a row of its table.
pub(crate) const LACKING: &str = " missing from index ";

/// What SQLite says of an index before its name.
const INDEX: [&str; 6] =
    [MISCOUNTED, LACKING, "non-unique entry in index ", " values differ from index ", " of index ", "index "];

/// What SQLite says of a row that breaks a rule, before the name of the table and, after a dot, of the column.
const RULES: [&str; 2] = [" value in ", "CHECK constraint failed in "];

/// What SQLite says of a virtual table, before its name and behind `main.`.
const VIRTUAL: [&str; 2] = ["malformed inverted index for ", "In RTree "];

/// What FTS5 says of a page of its index that is damaged or missing, before the name of the table in quotes.
const FULL_TEXT: &str = "fts5: corruption ";

/// Sorts one value of SQLite's answer; `trees` names the b-trees by their first page.
pub(crate) fn parse_problems(value: &str, trees: &BTreeMap<u32, BTreeRoot>) -> Vec<Problem> {
    if value == "ok" {
        return Vec::new();
    }
    if value.starts_with(HEADING) {
        return value.lines().skip(1).map(|line| of_a_page(line, trees)).collect();
    }
    vec![of_a_row(value)]
}

fn of_a_page(line: &str, trees: &BTreeMap<u32, BTreeRoot>) -> Problem {
    let root = line.strip_prefix("Tree ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let tree = root.and_then(|root: u32| trees.get(&root));
    let kind =
        if tree.is_some_and(|tree| tree.is_index) { ProblemKind::IndexStructure } else { ProblemKind::Structure };
    Problem { kind, subject: tree.map(|tree| tree.name.clone()), text: line.to_owned() }
}

fn of_a_row(text: &str) -> Problem {
    let problem = |kind, subject: Option<&str>| {
        let subject = subject.map(str::to_owned);
        Problem { kind, subject, text: text.to_owned() }
    };
    let after = |word: &str| text.find(word).and_then(|at| text.get(at + word.len()..));
    let virtual_name = || text.split_once("main.").map(|(_, rest)| rest.split([':', '\n']).next().unwrap_or(rest));
    if text.starts_with("unable to validate ") {
        return problem(ProblemKind::NotChecked, virtual_name());
    }
    if VIRTUAL.iter().any(|word| text.starts_with(word)) {
        return problem(ProblemKind::Virtual, virtual_name());
    }
    if text.starts_with(FULL_TEXT) {
        let name = text.split_once("table \"").map(|(_, rest)| rest.strip_suffix('"').unwrap_or(rest));
        return problem(ProblemKind::Virtual, name);
    }
    if let Some(name) = after("row not in PRIMARY KEY order for ") {
        return problem(ProblemKind::Structure, Some(name));
    }
    if let Some(place) = RULES.iter().find_map(|word| after(word)) {
        let table =
            if text.starts_with("CHECK ") { place } else { place.rsplit_once('.').map_or(place, |(table, _)| table) };
        return problem(ProblemKind::Rule, Some(table));
    }
    if let Some(name) = INDEX.iter().find_map(|word| after(word)) {
        let name = name.split_once(" stores an imprecise ").map_or(name, |(name, _)| name);
        return problem(ProblemKind::Index, Some(name));
    }
    problem(ProblemKind::Structure, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_of_sqlite_has_its_kind() {
        let tree = |name: &str, is_index| BTreeRoot { name: name.to_owned(), is_index };
        let trees = BTreeMap::from([(2, tree("t", false)), (5, tree("i", true))]);
        let pages = "*** in database main ***\nTree 2 page 9: free space corruption\nTree 5 page 7 cell 3: Extends off end \
                     of page\nFreelist: size is 3 but should be 5\nPage 12: never used";
        let mut shown = String::new();
        for value in [
            "ok",
            pages,
            "wrong # of entries in index i",
            "row 12 missing from index i",
            "rowid not at end-of-record for row 3 of index i",
            "row 3 values differ from index i",
            "non-unique entry in index i",
            "index i stores an imprecise floating-point value for row 9",
            "row not in PRIMARY KEY order for t",
            "NULL value in t.c",
            "non-INT value in t.c",
            "NUMERIC value in t.c",
            "TEXT value in t.c",
            "CHECK constraint failed in t.u",
            "malformed inverted index for FTS5 table main.f",
            "fts5: corruption found reading blob 137438953473 from table \"f\"",
            "fts5: corruption on page 2, segment 1, table \"f\"",
            "fts5: corruption in table \"f\"",
            "unable to validate the inverted index for FTS5 table main.f: SQL logic error",
            "In RTree main.r:\nNode 3 is too small (0 bytes)",
            "a sentence of a later version",
            "database disk image is malformed",
        ] {
            for Problem { kind, subject, text } in parse_problems(value, &trees) {
                shown += &format!("{kind:?} {}: {}\n", subject.as_deref().unwrap_or("-"), text.replace('\n', " / "));
            }
        }
        insta::assert_snapshot!(shown, @r#"
        Structure t: Tree 2 page 9: free space corruption
        IndexStructure i: Tree 5 page 7 cell 3: Extends off end of page
        Structure -: Freelist: size is 3 but should be 5
        Structure -: Page 12: never used
        Index i: wrong # of entries in index i
        Index i: row 12 missing from index i
        Index i: rowid not at end-of-record for row 3 of index i
        Index i: row 3 values differ from index i
        Index i: non-unique entry in index i
        Index i: index i stores an imprecise floating-point value for row 9
        Structure t: row not in PRIMARY KEY order for t
        Rule t: NULL value in t.c
        Rule t: non-INT value in t.c
        Rule t: NUMERIC value in t.c
        Rule t: TEXT value in t.c
        Rule t.u: CHECK constraint failed in t.u
        Virtual f: malformed inverted index for FTS5 table main.f
        Virtual f: fts5: corruption found reading blob 137438953473 from table "f"
        Virtual f: fts5: corruption on page 2, segment 1, table "f"
        Virtual f: fts5: corruption in table "f"
        NotChecked f: unable to validate the inverted index for FTS5 table main.f: SQL logic error
        Virtual r: In RTree main.r: / Node 3 is too small (0 bytes)
        Structure -: a sentence of a later version
        Structure -: database disk image is malformed
        "#);
    }
}
