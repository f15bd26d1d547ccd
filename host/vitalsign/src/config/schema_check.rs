//! Compares a value in a configuration with its schema: unknown keys, wrong types, values out of range, all in one go.
//!
//! Understands the words of JSON Schema that the schemas of this program and of plugins are made of; what a word that it does
//! not know would refuse is accepted here, and left to whoever reads the value. Knows no key by name.

use std::{cell::Cell, cmp::Ordering};

use serde_json::{Map, Number, Value};

use super::{
    json_cursor::{Cursor, JsonKind, JsonMember},
    mistake::UnlocatedMistake,
    unit,
};
use vitalsign_base::value;

/// Known keys that are listed when none is near the one that was written.
const MAX_LISTED: usize = 12;
/// The longest value shown in a message, in bytes.
const MAX_SHOWN_BYTES: usize = 80;
/// Comparisons of one value with one schema. A plugin's schema may refer to itself, or branch at every level; a file of the
/// largest size has fewer values than this.
const MAX_STEPS: u32 = 2_000_000;
/// Schemas that stand for one value: references and alternatives inside each other.
const MAX_NESTED: u32 = 32;

/// Adds to `out` everything in which what is written at `cursor` departs from `schema`.
pub(super) fn compare(schema: &Value, cursor: &Cursor<'_>, out: &mut Vec<UnlocatedMistake>) {
    Comparison { root: schema, steps_left: Cell::new(MAX_STEPS) }.value(schema, cursor, 0, out);
}

/// One comparison with a schema and all that it refers to.
struct Comparison<'s> {
    root: &'s Value,
    steps_left: Cell<u32>,
}

impl Comparison<'_> {
    fn value(&self, schema: &Value, cursor: &Cursor<'_>, nested: u32, out: &mut Vec<UnlocatedMistake>) {
        let (Some(schema), Some(node)) = (schema.as_object(), cursor.node()) else { return };
        let Some(left) = self.steps_left.get().checked_sub(1).filter(|_| nested < MAX_NESTED) else { return };
        self.steps_left.set(left);
        if let Some(expected) = mismatch(schema, &node.kind) {
            out.push(cursor.mistake(format!("{expected} is expected, not {}", describe(&node.kind))));
            return;
        }
        self.others(schema, cursor, nested, out);
        match &node.kind {
            JsonKind::Scalar(value) => out.extend(scalar(schema, value).map(|message| cursor.mistake(message))),
            JsonKind::Array(list) => {
                out.extend(length(schema, list.len()).map(|message| cursor.mistake(message)));
                if let Some(items) = schema.get("items").filter(|_| !schema.contains_key("prefixItems")) {
                    (0..list.len()).for_each(|index| self.value(items, &cursor.index(index), 0, out));
                }
            }
            JsonKind::Object(members) => self.object(schema, members, cursor, out),
        }
    }

    /// The other schemas that `schema` names for the same value.
    fn others(&self, schema: &Map<String, Value>, cursor: &Cursor<'_>, nested: u32, out: &mut Vec<UnlocatedMistake>) {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|to| self.root.pointer(to.strip_prefix('#')?));
        let all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        target.into_iter().chain(all).for_each(|one| self.value(one, cursor, nested + 1, out));
        if words(schema).is_some() {
            return;
        }
        for cases in ["anyOf", "oneOf"].iter().filter_map(|word| schema.get(*word)?.as_array()) {
            let judged = cases.iter().map(|case| {
                let mut wrong = Vec::new();
                self.value(case, cursor, nested + 1, &mut wrong);
                wrong
            });
            // The case with the fewest mistakes is the one that was meant.
            out.extend(judged.min_by_key(Vec::len).unwrap_or_default());
        }
    }

    fn object<'t>(
        &self,
        schema: &Map<String, Value>,
        members: &'t [JsonMember],
        cursor: &Cursor<'t>,
        out: &mut Vec<UnlocatedMistake>,
    ) {
        let known = schema.get("properties").and_then(Value::as_object);
        let rest = schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties"));
        for member in members {
            match known.and_then(|known| known.get(&member.key)).or(rest) {
                Some(Value::Bool(false)) => {
                    let message = unknown_key(&member.key, known.into_iter().flatten().map(|(key, _)| key.as_str()));
                    out.push(cursor.on(member).mistake(message));
                }
                Some(own) => match (&member.value.kind, unit::of_text(&member.key, own)) {
                    (JsonKind::Scalar(Value::String(text)), Some(unit)) => {
                        out.extend(with_unit(own, unit, text).map(|message| cursor.key(&member.key).mistake(message)));
                    }
                    _ => self.value(own, &cursor.key(&member.key), 0, out),
                },
                None => {}
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !members.iter().any(|member| member.key == key) {
                out.push(cursor.mistake(format!("the key `{key}` is missing")));
            }
        }
    }
}

/// What is wrong with text that stands for a number.
fn with_unit(schema: &Value, unit: unit::Unit, text: &str) -> Option<String> {
    match unit.parse(text) {
        Ok(number) => {
            let number = Number::from(number);
            schema
                .as_object()
                .and_then(|schema| range(schema, &number, &format!("`{text}` is {number} {}, which", unit.name())))
        }
        Err(why) => Some(why),
    }
}

/// What is wrong with the number of entries in a list.
fn length(schema: &Map<String, Value>, count: usize) -> Option<String> {
    let count = count as u64;
    let most = bound(schema, "maxItems").filter(|most| count > *most);
    let least = bound(schema, "minItems").filter(|least| count < *least);
    most.map(|most| format!("{count} entries are too many; at most {most} are allowed"))
        .or_else(|| least.map(|least| format!("{count} entries are too few; at least {least} are needed")))
}

/// The sentence for a key that is not among `known`.
pub(super) fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match value::nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None if known.is_empty() => "unknown key; no key is allowed here".to_owned(),
        None if known.len() > MAX_LISTED => "unknown key; remove it".to_owned(),
        None => format!("unknown key; the keys here are {}", quoted(&known)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What the schema wants, if `kind` is something else.
fn mismatch(schema: &Map<String, Value>, kind: &JsonKind) -> Option<&'static str> {
    let wanted: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ if words(schema).is_some() => vec!["string"],
        _ => return None,
    };
    let fits = |wanted: &&str| match (*wanted, kind) {
        ("object", JsonKind::Object(_)) | ("array", JsonKind::Array(_)) => true,
        ("string", JsonKind::Scalar(Value::String(_))) | ("boolean", JsonKind::Scalar(Value::Bool(_))) => true,
        ("number", JsonKind::Scalar(Value::Number(_))) | ("null", JsonKind::Scalar(Value::Null)) => true,
        // A whole number too large for 64 bits arrives as a float; its range is what is wrong with it.
        ("integer", JsonKind::Scalar(Value::Number(number))) => {
            !number.is_f64() || number.as_f64().is_some_and(beyond_64_bits)
        }
        _ => false,
    };
    if wanted.iter().any(fits) {
        return None;
    }
    if wanted == ["integer", "string"] {
        return Some("a whole number, or text with a unit,");
    }
    Some(match wanted.first().copied() {
        Some("object") => "an object `{…}`",
        Some("array") => "a list `[…]`",
        Some("string") => "text in double quotes",
        Some("boolean") => "`true` or `false`",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        _ => "another type",
    })
}

fn beyond_64_bits(number: f64) -> bool {
    number.abs() >= 9_223_372_036_854_775_808.0
}

fn describe(kind: &JsonKind) -> &'static str {
    match kind {
        JsonKind::Object(_) => "an object",
        JsonKind::Array(_) => "a list",
        JsonKind::Scalar(Value::String(_)) => "text",
        JsonKind::Scalar(Value::Bool(_)) => "`true` or `false`",
        JsonKind::Scalar(Value::Number(number)) if number.is_f64() => "a number with a fraction or exponent",
        JsonKind::Scalar(Value::Number(_)) => "a number",
        JsonKind::Scalar(_) => "`null`; leave the key out to keep its default",
    }
}

/// The words that a text may be, when the schema lists them.
fn words(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    let listed = |key, word: fn(&Value) -> Option<&Value>| {
        schema.get(key)?.as_array()?.iter().map(|case| word(case)?.as_str()).collect::<Option<Vec<_>>>()
    };
    listed("enum", |case| Some(case)).or_else(|| listed("oneOf", |case| case.get("const")))
}

fn scalar(schema: &Map<String, Value>, found: &Value) -> Option<String> {
    match found {
        Value::String(text) => {
            if let Some(words) = words(schema) {
                if words.contains(&text.as_str()) {
                    return None;
                }
                let shown = value::printable(text, MAX_SHOWN_BYTES);
                let near = value::nearest(text, words.iter().copied());
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Some(format!("`{shown}` is not one of {}{near}", quoted(&words)));
            }
            let (min, max) = (bound(schema, "minLength"), bound(schema, "maxLength"));
            if min == Some(1) && text.is_empty() {
                return Some("this text must not be empty".to_owned());
            }
            let length = text.chars().count() as u64;
            if let Some(min) = min.filter(|min| length < *min) {
                return Some(format!("{length} characters are too few; at least {min} are needed"));
            }
            max.filter(|max| length > *max)
                .map(|max| format!("{length} characters are too many; at most {max} are allowed"))
        }
        Value::Number(number) => range(schema, number, &number.to_string()),
        _ => None,
    }
}

/// What is wrong with the size of a number, which is called `shown`.
fn range(schema: &Map<String, Value>, number: &Number, shown: &str) -> Option<String> {
    let limit = |key: &str| schema.get(key).and_then(Value::as_number);
    let is = |key: &str, order| limit(key).filter(|limit| compare_numbers(number, limit) == order);
    if is("minimum", Ordering::Less).or(is("maximum", Ordering::Greater)).is_some() {
        return Some(match (limit("minimum"), limit("maximum")) {
            (Some(min), Some(max)) => format!("{shown} is out of range; {min} to {max} is allowed"),
            (Some(limit), None) => format!("{shown} is out of range; {limit} is the least"),
            (None, limit) => {
                format!("{shown} is out of range; {} is the most", limit.map(ToString::to_string).unwrap_or_default())
            }
        });
    }
    let outside = |key: &str, beyond, word| {
        is(key, beyond)
            .or(is(key, Ordering::Equal))
            .map(|limit| format!("{shown} is out of range; it has to be {word} {limit}"))
    };
    outside("exclusiveMinimum", Ordering::Less, "above")
        .or_else(|| outside("exclusiveMaximum", Ordering::Greater, "below"))
}

/// How two numbers stand: exactly for whole ones, as floats otherwise.
fn compare_numbers(one: &Number, other: &Number) -> Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.as_f64().unwrap_or(f64::NAN).total_cmp(&other.as_f64().unwrap_or(f64::NAN)),
    }
}

fn bound(schema: &Map<String, Value>, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}
