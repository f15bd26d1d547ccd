//! Compares a configuration with its schema: unknown keys, wrong types, values out of range, all in one go.
//!
//! Understands the few words of JSON Schema that `raw` generates. Knows no key by name.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{
    locate::{Kind, Member, Spot},
    mistake::Mistake,
};
use crate::value;

/// Known keys that are listed when none is near the one that was written.
const MAX_LISTED: usize = 12;
/// The longest value shown in a message, in bytes.
const MAX_SHOWN_BYTES: usize = 80;

/// Adds to `out` everything in which what is written at `spot` departs from `schema`.
pub(super) fn compare(schema: &Value, spot: &Spot<'_>, out: &mut Vec<Mistake>) {
    let (Some(schema), Some(node)) = (schema.as_object(), spot.node()) else { return };
    if let Some(expected) = mismatch(schema, &node.kind) {
        out.push(spot.mistake(format!("{expected} is expected, not {}", describe(&node.kind))));
        return;
    }
    match &node.kind {
        Kind::Scalar(value) => out.extend(scalar(schema, value).map(|message| spot.mistake(message))),
        Kind::Array(list) => {
            if let Some(most) = schema.get("maxItems").and_then(Value::as_u64).filter(|most| list.len() as u64 > *most)
            {
                out.push(spot.mistake(format!("{} entries are too many; at most {most} are allowed", list.len())));
            }
            if let Some(items) = schema.get("items") {
                (0..list.len()).for_each(|index| compare(items, &spot.index(index), out));
            }
        }
        Kind::Object(members) => object(schema, members, spot, out),
    }
}

fn object<'t>(schema: &Map<String, Value>, members: &'t [Member], spot: &Spot<'t>, out: &mut Vec<Mistake>) {
    let known = schema.get("properties").and_then(Value::as_object);
    let rest = schema.get("additionalProperties");
    for member in members {
        match known.and_then(|known| known.get(&member.key)).or(rest) {
            Some(Value::Bool(false)) => {
                let message = unknown_key(&member.key, known.into_iter().flatten().map(|(key, _)| key.as_str()));
                out.push(spot.on(member).mistake(message));
            }
            Some(own) => compare(own, &spot.key(&member.key), out),
            None => {}
        }
    }
    for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !members.iter().any(|member| member.key == key) {
            out.push(spot.mistake(format!("the key `{key}` is missing")));
        }
    }
}

/// The sentence for a key that is not among `known`.
pub(super) fn unknown_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match value::nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None if known.is_empty() => "unknown key; none is known here".to_owned(),
        None if known.len() > MAX_LISTED => "unknown key; remove it".to_owned(),
        None => format!("unknown key; known here: {}", quoted(&known)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What the schema wants, if `kind` is something else.
fn mismatch(schema: &Map<String, Value>, kind: &Kind) -> Option<&'static str> {
    let wanted: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ if words(schema).is_some() => vec!["string"],
        _ => return None,
    };
    let fits = |wanted: &&str| match (*wanted, kind) {
        ("object", Kind::Object(_)) | ("array", Kind::Array(_)) => true,
        ("string", Kind::Scalar(Value::String(_))) | ("boolean", Kind::Scalar(Value::Bool(_))) => true,
        ("number", Kind::Scalar(Value::Number(_))) | ("null", Kind::Scalar(Value::Null)) => true,
        // A whole number too large for 64 bits arrives as a float; its range is what is wrong with it.
        ("integer", Kind::Scalar(Value::Number(number))) => {
            !number.is_f64() || number.as_f64().is_some_and(beyond_64_bits)
        }
        _ => false,
    };
    if wanted.iter().any(fits) {
        return None;
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

fn describe(kind: &Kind) -> &'static str {
    match kind {
        Kind::Object(_) => "an object",
        Kind::Array(_) => "a list",
        Kind::Scalar(Value::String(_)) => "text",
        Kind::Scalar(Value::Bool(_)) => "`true` or `false`",
        Kind::Scalar(Value::Number(number)) if number.is_f64() => "a number with a fraction or exponent",
        Kind::Scalar(Value::Number(_)) => "a number",
        Kind::Scalar(_) => "`null`; leave the key out to keep its default",
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
                return Some(format!("`{shown}` is none of {}{near}", quoted(&words)));
            }
            let (min, max) = (bound(schema, "minLength"), bound(schema, "maxLength"));
            if min == Some(1) && text.is_empty() {
                return Some("the text is empty".to_owned());
            }
            let length = text.chars().count() as u64;
            max.filter(|max| length > *max)
                .map(|max| format!("{length} characters are too many; at most {max} are allowed"))
        }
        Value::Number(number) => {
            let (min, max) = (schema.get("minimum"), schema.get("maximum"));
            let beyond = |bound: Option<&Value>, order| {
                bound.and_then(Value::as_number).map(|bound| compare_numbers(number, bound)) == Some(order)
            };
            let (low, high) = (beyond(min, Ordering::Less), beyond(max, Ordering::Greater));
            (low || high).then(|| match (min, max) {
                (Some(min), Some(max)) => format!("{number} is out of range; {min} to {max} is allowed"),
                (Some(min), None) => format!("{number} is out of range; {min} is the least"),
                (_, max) => format!("{number} is out of range; {} is the most", max.unwrap_or(&Value::Null)),
            })
        }
        _ => None,
    }
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
