//! Foreign keys and the rows that break them, in slices that each fit into a short read.
//!
//! `PRAGMA foreign_key_check` cannot be cut into pieces, so the same question is asked here of a range of rowids at a time.
//! A child value is compared as SQLite does it: with the affinity and collation of the parent's column, which is why
//! the parent stands on the left, and the child under a unary plus, which takes its own affinity away.

use crate::{
    error::Error,
    read::snapshot::{Snapshot, quoted, text},
};

/// One declared foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The table that declares it.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table it refers to.
    pub parent: String,
    /// The columns there, as many as `columns` where the parent has them.
    pub parent_columns: Vec<String>,
    /// Whether the parent can be referred to at all.
    pub parent_is: Parent,
    /// The word for the rowid of `table`; without one it cannot be looked at in slices.
    rowid: Option<&'static str>,
}

impl ForeignKey {
    /// Whether rows can be looked at a slice at a time.
    #[must_use]
    pub fn can_be_sliced(&self) -> bool {
        self.rowid.is_some()
    }
}

/// What a foreign key refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Columns that are unique.
    Unique,
    /// Columns that are not, or not there: SQLite refuses to write to the child.
    Mismatched,
    /// No table of that name: every reference is broken.
    Missing,
}

/// Which rows to look at: those after a rowid, at most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The last rowid already looked at; `None` to begin.
    pub after: Option<i64>,
    /// Rows looked at at most.
    pub rows: u32,
}

/// What a slice showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliced {
    /// Rows looked at.
    pub rows: u64,
    /// How many of them refer to nothing.
    pub broken: u64,
    /// One of those, as `column=value` pairs.
    pub example: Option<String>,
    /// The last rowid looked at; `None` when there was none left.
    pub last: Option<i64>,
}

impl Snapshot<'_> {
    /// All declared foreign keys, by table.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn foreign_keys(&self) -> Result<Vec<ForeignKey>, Error> {
        let sql = "SELECT s.name, f.id, f.\"table\", f.\"from\", f.\"to\" \
                   FROM sqlite_schema s JOIN pragma_foreign_key_list(s.name) f \
                   WHERE s.type = 'table' AND s.sql LIKE '%references%' ORDER BY s.name, f.id, f.seq";
        let rows = self.rows(sql, [], |row| {
            Ok((text(row, 0)?, row.get::<_, i64>(1)?, text(row, 2)?, text(row, 3)?, row.get::<_, Option<String>>(4)?))
        })?;
        let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
        for (table, id, parent, column, parent_column) in rows {
            match keys.last_mut() {
                Some((last_id, key)) if *last_id == id && key.table == table => {
                    key.columns.push(column);
                    key.parent_columns.extend(parent_column);
                }
                _ => {
                    let rowid = self.rowid_word(&table)?;
                    let (columns, parent_columns) = (vec![column], parent_column.into_iter().collect());
                    let parent_is = Parent::Missing;
                    keys.push((id, ForeignKey { table, columns, parent, parent_columns, parent_is, rowid }));
                }
            }
        }
        keys.into_iter().map(|(_, key)| self.with_parent(key)).collect()
    }

    /// Finds out what the key refers to; without named columns that is the parent's primary key.
    fn with_parent(&self, mut key: ForeignKey) -> Result<ForeignKey, Error> {
        if !self.has_table(&key.parent)? {
            return Ok(key);
        }
        let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
        let primary = self.rows(sql, [&key.parent], |row| text(row, 0))?;
        if key.parent_columns.is_empty() {
            key.parent_columns.clone_from(&primary);
        }
        let sql = "SELECT i.name, c.name FROM pragma_index_list(?1) i JOIN pragma_index_info(i.name) c \
                   WHERE i.\"unique\" AND NOT i.partial ORDER BY i.name, c.seqno";
        let mut unique = vec![(String::new(), primary)];
        for (index, column) in self.rows(sql, [&key.parent], |row| Ok((text(row, 0)?, text(row, 1)?)))? {
            match unique.last_mut() {
                Some((name, columns)) if *name == index => columns.push(column),
                _ => unique.push((index, vec![column])),
            }
        }
        let parse_problems = |columns: &[String]| {
            let mut columns: Vec<_> = columns.iter().map(|column| column.to_ascii_lowercase()).collect();
            columns.sort_unstable();
            columns
        };
        let wanted = parse_problems(&key.parent_columns);
        let fits =
            key.columns.len() == wanted.len() && unique.iter().any(|(_, columns)| parse_problems(columns) == wanted);
        key.parent_is = if fits { Parent::Unique } else { Parent::Mismatched };
        Ok(key)
    }

    /// Looks at one slice of the rows that a key binds. A table that cannot be sliced is looked at whole.
    ///
    /// # Errors
    /// Any [`Error`] of reading; [`Error::OutOfTime`] when the slice was too large for one read.
    pub fn broken_references(&self, key: &ForeignKey, slice: Slice) -> Result<Sliced, Error> {
        let child = |column: &String| format!("c.{}", quoted(column));
        let given = key.columns.iter().map(|column| format!("{} IS NOT NULL", child(column))).collect::<Vec<_>>();
        let mut broken = given.join(" AND ");
        if key.parent_is != Parent::Missing {
            let pairs = key.parent_columns.iter().zip(&key.columns);
            let equal = pairs.map(|(parent, column)| format!("p.{} = +{}", quoted(parent), child(column)));
            let equal = equal.collect::<Vec<_>>().join(" AND ");
            broken = format!("{broken} AND NOT EXISTS (SELECT 1 FROM {} p WHERE {equal})", quoted(&key.parent));
        }
        let shown = key.columns.iter().map(|column| {
            let name = column.replace('\'', "''");
            format!("'{name}=' || substr(quote({}), 1, 80)", child(column))
        });
        let shown = shown.collect::<Vec<_>>().join(" || ', ' || ");
        let (rowid, range) = match key.rowid {
            Some(word) => (format!("c.{word}"), format!("WHERE c.{word} >= ?1 ORDER BY c.{word} LIMIT ?2")),
            None => ("NULL".to_owned(), "WHERE ?1 IS NOT NULL AND ?2 IS NOT NULL".to_owned()),
        };
        let sql = format!(
            "SELECT count(*), count(example), min(example), max(id) FROM \
             (SELECT {rowid} AS id, CASE WHEN {broken} THEN {shown} END AS example FROM {} c {range})",
            quoted(&key.table)
        );
        let first = slice.after.map_or(Some(i64::MIN), |after| after.checked_add(1));
        let nothing = Sliced { rows: 0, broken: 0, example: None, last: None };
        let Some(first) = first else { return Ok(nothing) };
        let found = self.row(&sql, (first, slice.rows), |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let example = row.get_ref(2)?.as_bytes_or_null()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            Ok(Sliced { rows: count(0)?, broken: count(1)?, example, last: row.get(3)? })
        })?;
        Ok(found.unwrap_or(nothing))
    }
}
