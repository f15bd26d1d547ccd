//! Units of values: a key's name ends with its unit, and a number is in that unit; text carries a unit of its own.
//!
//! Knows no key by name. What is written as text is turned into the number before the configuration is read, so no room
//! but this one knows of it.

use jiff::{Span, SpanRelativeTo};
use serde_json::{Map, Number, Value, json};

use super::json_cursor::{JsonKind, JsonNode};
use vitalsign_base::value::printable;

/// The longest text with a unit, in bytes: `1w 2d 3h 4min 5s 6ms` has 20.
const MAX_TEXT_BYTES: usize = 64;

/// The unit in which the number of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// `…Seconds`
    Seconds,
    /// `…Ms`
    Milliseconds,
    /// `…Bytes`
    Bytes,
}

/// What the description of such a key says of text.
const TIME_NOTE: &str = " A number, or text with a unit such as `\"90s\"` or `\"26h\"`.";
const SIZE_NOTE: &str = " A number, or text with a unit such as `\"256MiB\"` or `\"1GB\"`.";

/// Text that is a time: `90s`, `1.5h`, `1h 30min`, `2d`.
const TIME: &str = "^[0-9]+(\\.[0-9]+)? *(ms|s|min|m|h|d|w)( *[0-9]+(\\.[0-9]+)? *(ms|s|min|m|h|d|w))*$";
/// Text that is a size: `512B`, `256MiB`, `1.5GB`.
const SIZE: &str = "^[0-9]+(\\.[0-9]+)? *(B|[kK]B|[MGTP]B|[KMGTP]iB)$";

impl Unit {
    /// The unit of the key, when its value is a whole number.
    fn of(key: &str, schema: &Value) -> Option<Self> {
        let whole = match schema.get("type") {
            Some(Value::String(kind)) => kind == "integer",
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "integer"),
            _ => false,
        };
        let units = [("Seconds", Self::Seconds), ("Ms", Self::Milliseconds), ("Bytes", Self::Bytes)];
        units.into_iter().find(|(ending, _)| whole && key.ends_with(ending)).map(|(_, unit)| unit)
    }

    fn note(self) -> &'static str {
        if self == Self::Bytes { SIZE_NOTE } else { TIME_NOTE }
    }

    /// Its name, for more than one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Bytes => "bytes",
        }
    }

    /// The number that `text` stands for in this unit.
    pub(super) fn parse(self, text: &str) -> Result<u64, String> {
        let shown = printable(text, MAX_TEXT_BYTES);
        let (value, example) = match self {
            Self::Bytes => (size(text), "256MiB"),
            Self::Seconds | Self::Milliseconds => (time(text), "26h"),
        };
        let parts = if self == Self::Seconds { 1000 } else { 1 };
        match value {
            Some(value) if value % parts == 0 => Ok(value / parts),
            Some(_) => Err(format!("`{shown}` is not a whole number of seconds")),
            None if text.trim().parse::<f64>().is_ok() => Err(format!(
                "`{shown}` has no unit; write the number without quotes for {}, or add a unit, as in \"{example}\"",
                self.name()
            )),
            None if self == Self::Bytes => Err(format!(
                "`{shown}` is not a size; write a number and a unit, as in \"{example}\"; the units are `B`, `kB`, `MB`, `GB`, \
                 `TB`, `PB` (powers of 1000) and `KiB`, `MiB`, `GiB`, `TiB`, `PiB` (powers of 1024)"
            )),
            None => Err(format!(
                "`{shown}` is not a length of time; write a number and a unit, as in \"{example}\" or \"1h 30min\"; the units are \
                 `ms`, `s`, `min` (or `m`), `h`, `d` and `w`"
            )),
        }
    }
}

/// The letters of each unit in `text`, when it is nothing but numbers with a unit each.
fn units(text: &str) -> Option<Vec<&str>> {
    let is_number = |ch: char| ch.is_ascii_digit() || ch == '.';
    if text.len() > MAX_TEXT_BYTES || !text.starts_with(|ch: char| ch.is_ascii_digit()) {
        return None;
    }
    let parts = text.split(is_number).map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.bytes().all(|byte| byte.is_ascii_alphabetic()).then_some(part)).collect()
}

/// The milliseconds that `text` says; parts of a millisecond are refused.
fn time(text: &str) -> Option<u64> {
    // The parser knows more words than are promised here, months and years among them, and a sign.
    if !units(text)?.iter().all(|unit| ["ms", "s", "min", "m", "h", "d", "w"].contains(unit)) {
        return None;
    }
    let span: Span = text.parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let nanoseconds = u128::try_from(length.as_nanos()).ok()?;
    (nanoseconds % 1_000_000 == 0).then(|| u64::try_from(nanoseconds / 1_000_000).ok())?
}

/// The bytes that `text` says; a part of a byte is left out.
fn size(text: &str) -> Option<u64> {
    let [unit] = units(text)?[..] else { return None };
    let known = ["B", "kB", "KB", "MB", "GB", "TB", "PB", "KiB", "MiB", "GiB", "TiB", "PiB"];
    // `M` alone is 1000² for some programs and 1024² for others.
    known.contains(&unit).then(|| text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()))?
}

/// Lets `schema` say that each key with a unit takes text as well.
pub(super) fn allow_text(schema: &mut Value) {
    for (key, one) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(unit) = Unit::of(key, one) {
            one["type"] = json!(["integer", "string"]);
            one["pattern"] = if unit == Unit::Bytes { SIZE } else { TIME }.into();
            let description = one.get("description").and_then(Value::as_str).unwrap_or_default();
            one["description"] = format!("{description}{}", unit.note()).into();
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(allow_text),
        Value::Array(list) => list.iter_mut().for_each(allow_text),
        _ => {}
    }
}

/// The unit of the key at the end of `path`, when its schema takes text with a unit.
pub(super) fn of_text(key: &str, schema: &Value) -> Option<Unit> {
    schema.get("type").filter(|kind| kind.is_array()).and_then(|_| Unit::of(key, schema))
}

/// What is written at `node`, with a number in the place of each text with a unit. It has been held against `schema` before.
pub(super) fn numbers(node: &JsonNode, schema: &Value) -> Value {
    match &node.kind {
        JsonKind::Scalar(value) => value.clone(),
        JsonKind::Array(list) => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            list.iter().map(|node| numbers(node, items)).collect()
        }
        JsonKind::Object(members) => {
            let one = |key: &str| {
                let known = schema.get("properties").and_then(|known| known.get(key));
                known.or_else(|| schema.get("additionalProperties")).unwrap_or(&Value::Null)
            };
            let members = members.iter().map(|member| {
                let schema = one(&member.key);
                let value = match (&member.value.kind, of_text(&member.key, schema)) {
                    (JsonKind::Scalar(Value::String(text)), Some(unit)) => {
                        unit.parse(text).map_or_else(|_| text.as_str().into(), |number| Number::from(number).into())
                    }
                    _ => numbers(&member.value, schema),
                };
                (member.key.clone(), value)
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_carries_its_unit() {
        use Unit::{Bytes, Milliseconds, Seconds};
        for (unit, text, number) in [
            (Seconds, "26h", 93_600),
            (Seconds, "90s", 90),
            (Seconds, "90 s", 90),
            (Seconds, "15m", 900),
            (Seconds, "15min", 900),
            (Seconds, "1.5h", 5400),
            (Seconds, "1h30m", 5400),
            (Seconds, "1h 30min", 5400),
            (Seconds, "2d", 172_800),
            (Seconds, "1w", 604_800),
            (Seconds, "2000ms", 2),
            (Seconds, "0s", 0),
            (Milliseconds, "2s", 2000),
            (Milliseconds, "1.5s", 1500),
            (Milliseconds, "250ms", 250),
            (Milliseconds, "1m", 60_000),
            (Bytes, "256MiB", 256 << 20),
            (Bytes, "256 MiB", 256 << 20),
            (Bytes, "1GB", 1_000_000_000),
            (Bytes, "1.5KiB", 1536),
            (Bytes, "512B", 512),
            (Bytes, "1kB", 1000),
            (Bytes, "1KB", 1000),
            (Bytes, "1PiB", 1 << 50),
        ] {
            assert_eq!(unit.parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_or_an_unclear_one_is_refused() {
        use Unit::{Bytes, Milliseconds, Seconds};
        for unit in [Seconds, Milliseconds] {
            for text in [
                "26",
                "",
                " ",
                "h",
                "26 parsecs",
                "1mo",
                "1y",
                "-1h",
                "1h ago",
                "PT26H",
                "01:30:00",
                "256MiB",
                "1,5h",
                "1.h",
                "1h30",
            ] {
                let why = unit.parse(text).unwrap_err();
                assert!(why.contains("\"26h\""), "{text}: {why}");
            }
        }
        for text in
            ["256", "", "256M", "256m", "256Mb", "256mib", "1h", "-1MiB", "1MiB 2KiB", "MiB", "1.2.3MiB", "1e3MiB"]
        {
            let why = Bytes.parse(text).unwrap_err();
            assert!(why.contains("\"256MiB\""), "{text}: {why}");
        }
        assert!(Seconds.parse("26").unwrap_err().contains("without quotes for seconds"));
        assert!(Seconds.parse("1500ms").unwrap_err().contains("whole number of seconds"));
        assert!(Milliseconds.parse("0.1ms").is_err());
        assert!(Bytes.parse(&format!("{}MiB", "9".repeat(70))).is_err());
    }
}
