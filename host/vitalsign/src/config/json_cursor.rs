//! The text of a configuration with the place of every key and value in it.
//!
//! Knows JSON and nothing of what the keys mean.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    mistake::UnlocatedMistake,
    position::{ConfigText, Position},
};
use vitalsign_base::value;

/// One JSON value and where it begins.
#[derive(Debug)]
pub(super) struct JsonNode {
    pub(super) at: Position,
    pub(super) kind: JsonKind,
}

/// What a [`JsonNode`] holds.
#[derive(Debug)]
pub(super) enum JsonKind {
    Object(Vec<JsonMember>),
    Array(Vec<JsonNode>),
    Scalar(Value),
}

/// One key of an object with its value.
#[derive(Debug)]
pub(super) struct JsonMember {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: JsonNode,
}

/// Reads `source` into nodes.
///
/// Refuses what is not JSON, what is not an object, and keys that are written twice: which of the two
/// holds would depend on who reads the file.
pub(super) fn parse(source: &ConfigText) -> Result<JsonNode, Vec<UnlocatedMistake>> {
    let text = source.text.as_str();
    let broken = |at, message: &str| vec![UnlocatedMistake::at(at, "", message)];
    if text.starts_with('\u{feff}') {
        return Err(broken(Position::START, "the file starts with a byte order mark; save it as UTF-8 without one"));
    }
    if text.trim().is_empty() {
        return Err(broken(Position::START, "the file is empty; the smallest configuration is `{}`"));
    }
    // Serde's own limit on nesting (128) is what bounds the recursion below.
    serde_json::from_str::<Value>(text).map_err(|why| {
        let (at, message) = syntax(text, &why);
        broken(at, &message)
    })?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|why| broken(Position::START, &plain(&why)))?;
    let mut reader = JsonReader { text, offset: 0, at: Position::START, twice: Vec::new() };
    let node = reader.node(raw, "").map_err(|why| broken(Position::START, &plain(&why)))?;
    if !matches!(node.kind, JsonKind::Object(_)) {
        return Err(broken(node.at, "a configuration is an object: it starts with `{` and ends with `}`"));
    }
    if !reader.twice.is_empty() {
        return Err(reader.twice);
    }
    Ok(node)
}

/// Builds nodes in the order of the text, so that lines and columns are counted once.
struct JsonReader<'t> {
    text: &'t str,
    offset: usize,
    at: Position,
    twice: Vec<UnlocatedMistake>,
}

impl<'t> JsonReader<'t> {
    fn position(&mut self, part: &'t RawValue) -> Position {
        let offset = part.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        for ch in self.text.get(self.offset..offset).unwrap_or_default().chars() {
            self.at = match ch {
                '\n' => Position { line: self.at.line + 1, column: 1 },
                _ => Position { line: self.at.line, column: self.at.column + 1 },
            };
        }
        self.offset = self.offset.max(offset);
        self.at
    }

    fn node(&mut self, raw: &'t RawValue, path: &str) -> serde_json::Result<JsonNode> {
        let at = self.position(raw);
        let element = |index: usize| format!("{path}[{index}]");
        let kind = match serde_json::from_str(raw.get())? {
            JsonParts::Object(parts) => {
                let mut members: Vec<JsonMember> = Vec::with_capacity(parts.len());
                let mut seen = std::collections::HashMap::new();
                for (key, value) in parts {
                    let key_at = self.position(key);
                    let key: String = serde_json::from_str(key.get())?;
                    let path = join(path, &key);
                    if let Some(first) = seen.insert(key.clone(), key_at) {
                        let message = format!("this key is written twice; the first one is on line {}", first.line);
                        self.twice.push(UnlocatedMistake::at(key_at, &path, message));
                    }
                    members.push(JsonMember { value: self.node(value, &path)?, key, key_at });
                }
                JsonKind::Object(members)
            }
            JsonParts::Array(parts) => JsonKind::Array(
                parts
                    .into_iter()
                    .enumerate()
                    .map(|(index, part)| self.node(part, &element(index)))
                    .collect::<Result<_, _>>()?,
            ),
            JsonParts::Scalar => JsonKind::Scalar(serde_json::from_str(raw.get())?),
        };
        Ok(JsonNode { at, kind })
    }
}

/// One level of a JSON text, its parts as slices of it.
enum JsonParts<'t> {
    Object(Vec<(&'t RawValue, &'t RawValue)>),
    Array(Vec<&'t RawValue>),
    Scalar,
}

impl<'de> Deserialize<'de> for JsonParts<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Level;
        impl<'de> Visitor<'de> for Level {
            type Value = JsonParts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonParts<'de>, A::Error> {
                let mut out = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    out.push(entry);
                }
                Ok(JsonParts::Object(out))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JsonParts<'de>, A::Error> {
                let mut out = Vec::new();
                while let Some(element) = list.next_element()? {
                    out.push(element);
                }
                Ok(JsonParts::Array(out))
            }
            fn visit_bool<E>(self, _: bool) -> Result<JsonParts<'de>, E> {
                Ok(JsonParts::Scalar)
            }
            fn visit_u64<E>(self, _: u64) -> Result<JsonParts<'de>, E> {
                Ok(JsonParts::Scalar)
            }
            fn visit_i64<E>(self, _: i64) -> Result<JsonParts<'de>, E> {
                Ok(JsonParts::Scalar)
            }
            fn visit_f64<E>(self, _: f64) -> Result<JsonParts<'de>, E> {
                Ok(JsonParts::Scalar)
            }
            fn visit_str<E>(self, _: &str) -> Result<JsonParts<'de>, E> {
                Ok(JsonParts::Scalar)
            }
            fn visit_unit<E>(self) -> Result<JsonParts<'de>, E> {
                Ok(JsonParts::Scalar)
            }
        }
        from.deserialize_any(Level)
    }
}

/// Serde's message without the place, which is told in one form everywhere.
pub(super) fn plain(why: &serde_json::Error) -> String {
    let full = why.to_string();
    let tail = format!(" at line {} column {}", why.line(), why.column());
    full.strip_suffix(&tail).unwrap_or(&full).to_owned()
}

/// Where and why `text` is not JSON, in words for somebody who writes it by hand.
fn syntax(text: &str, why: &serde_json::Error) -> (Position, String) {
    let line = text.lines().nth(why.line().saturating_sub(1)).unwrap_or_default();
    if why.column() == 0 {
        // A line break that should not be there is counted as the start of the next line.
        let line = why.line().saturating_sub(1);
        let column = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().chars().count() + 1;
        return (Position { line, column }, in_words(&plain(why), None).to_owned());
    }
    // Serde counts bytes, and points at the last byte it looked at.
    let before = line.char_indices().take_while(|(at, _)| at + 1 < why.column()).count();
    let here = line.chars().nth(before);
    let at = Position { line: why.line(), column: before + 1 };
    (at, in_words(&plain(why), here).to_owned())
}

/// What serde says, for somebody who writes JSON by hand; `here` is the character that it stumbled over.
fn in_words(said: &str, here: Option<char>) -> &str {
    match (said, here) {
        (_, Some('/' | '#')) => "JSON has no comments; remove this one",
        (_, Some('\'')) => "text and keys need double quotes, not single quotes",
        ("trailing comma", _) => "no value follows the comma before this; remove the comma",
        ("trailing characters", _) => "the configuration ends before this; remove the rest",
        ("key must be a string", _) => "a key in double quotes is expected",
        ("expected value" | "expected ident", _) => {
            "a value is expected: text in double quotes, a number, `true`, `false`, `{…}` or `[…]`"
        }
        ("expected `,` or `}`" | "expected `,` or `]`", _) => "a comma is missing before this",
        ("expected `:`", _) => "a colon is missing between key and value",
        ("invalid escape", _) => "this backslash does not begin an escape sequence; write `\\\\` for a backslash",
        ("invalid number", _) => "this is not a JSON number; write no leading zero, plus sign or bare dot",
        ("number out of range", _) => "this number is too large for any key",
        ("recursion limit exceeded", _) => "nested too deeply",
        _ if said.starts_with("EOF") => "the file ends too early: a brace, bracket or quote is not closed",
        _ if said.starts_with("control character") => {
            "text contains a line break or control character; write it as `\\n` or `\\u00XX`"
        }
        _ => said,
    }
}

/// A place in a configuration that may or may not be written there: the cursor of everything that reads it.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'t> {
    source: Option<&'t ConfigText>,
    node: Option<&'t JsonNode>,
    /// Where the value stands, or else the nearest thing around it.
    at: Position,
    path: String,
}

impl<'t> Cursor<'t> {
    /// The top level; `None` when there is no configuration file.
    pub(super) fn top(file: Option<(&'t ConfigText, &'t JsonNode)>) -> Self {
        Self {
            source: file.map(|(source, _)| source),
            node: file.map(|(_, node)| node),
            at: file.map_or(Position::START, |(_, node)| node.at),
            path: String::new(),
        }
    }

    /// The value of `key` here.
    pub(super) fn key(&self, key: &str) -> Self {
        let found = match self.node.map(|node| &node.kind) {
            Some(JsonKind::Object(members)) => {
                members.iter().find(|member| member.key == key).map(|member| &member.value)
            }
            _ => None,
        };
        self.step(found, join(&self.path, key))
    }

    /// The element `index` here.
    pub(super) fn index(&self, index: usize) -> Self {
        let found = match self.node.map(|node| &node.kind) {
            Some(JsonKind::Array(list)) => list.get(index),
            _ => None,
        };
        self.step(found, format!("{}[{index}]", self.path))
    }

    /// The value at the end of `path` from here.
    pub(super) fn follow(&self, path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment;
        path.iter().fold(self.clone(), |cursor, segment| match segment {
            Segment::Seq { index } => cursor.index(*index),
            Segment::Map { key } => cursor.key(key),
            Segment::Enum { .. } | Segment::Unknown => cursor,
        })
    }

    /// The key itself rather than its value.
    pub(super) fn on(&self, member: &'t JsonMember) -> Self {
        Self { source: self.source, node: Some(&member.value), at: member.key_at, path: join(&self.path, &member.key) }
    }

    fn step(&self, node: Option<&'t JsonNode>, path: String) -> Self {
        Self { source: self.source, node, at: node.map_or(self.at, |node| node.at), path }
    }

    /// The same place, at which `node` counts as written when nothing is.
    pub(super) fn or(&self, node: &'t JsonNode) -> Self {
        Self { node: self.node.or(Some(node)), ..self.clone() }
    }

    /// The keys that are written here.
    pub(super) fn members(&self) -> &'t [JsonMember] {
        match self.node.map(|node| &node.kind) {
            Some(JsonKind::Object(members)) => members,
            _ => &[],
        }
    }

    /// What is written here, if anything.
    pub(super) fn node(&self) -> Option<&'t JsonNode> {
        self.node
    }

    /// The key path, such as `plugins[0].limits.timeoutMs`; empty at the top.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The file and position, when something is written here.
    pub(super) fn written(&self) -> Option<(&'t ConfigText, Position)> {
        self.source.zip(self.node).map(|(source, node)| (source, node.at))
    }

    /// A mistake at this place.
    pub(super) fn mistake(&self, message: impl Into<String>) -> UnlocatedMistake {
        UnlocatedMistake::at(self.at, &self.path, message)
    }
}

fn join(path: &str, key: &str) -> String {
    let simple = (1..=value::MAX_NAME_BYTES).contains(&key.len())
        && key.chars().all(|ch| ch.is_alphanumeric() || matches!(ch, '-' | '_' | '$'));
    match (simple, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[\"{}\"]", value::printable(key, value::MAX_NAME_BYTES)),
    }
}
