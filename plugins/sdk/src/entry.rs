//! What a check implements, and how that becomes the two exports of a component.
//!
//! Knows nothing of SQL.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Description, Failure, Grant, Report, bindings};

/// A health check.
pub trait Check {
    /// What the operator writes under the plugin's `config`. Its doc comments become the schema's descriptions.
    ///
    /// Use `#[serde(deny_unknown_fields)]`, so that a misspelt key is named instead of ignored.
    type Config: DeserializeOwned + JsonSchema;

    /// What the check calls itself: lower-case letters, digits and inner hyphens. The operator may call it otherwise.
    const NAME: &'static str;

    /// One sentence: what it checks.
    const SUMMARY: &'static str;

    /// What it cannot work without. Nothing by default.
    #[must_use]
    fn grants() -> Vec<Grant> {
        Vec::new()
    }

    /// Looks once. Every run has a fresh instance: nothing is kept from the run before.
    ///
    /// # Errors
    /// A [`Failure`] when it could not look. What it found, however bad, is a [`Report`].
    fn run(config: Self::Config) -> Result<Report, Failure>;
}

/// The component that [`export!`](crate::export) makes of a [`Check`].
pub struct Exported<C>(PhantomData<C>);

impl<C: Check> Exported<C> {
    /// What the check says of itself.
    #[must_use]
    pub fn description() -> Description {
        Description {
            name: C::NAME.to_owned(),
            summary: C::SUMMARY.to_owned(),
            config_schema: schemars::schema_for!(C::Config).as_value().to_string(),
            grants: C::grants(),
        }
    }

    /// Reads the configuration and runs the check.
    ///
    /// # Errors
    /// [`Failure::Misconfigured`] when `config` does not fit the check's config type, and whatever the check returns.
    pub fn run_with(config: &str) -> Result<Report, Failure> {
        C::run(parse(config)?)
    }
}

impl<C: Check> bindings::Guest for Exported<C> {
    fn describe() -> Description {
        Self::description()
    }

    fn run(config: String) -> Result<Report, Failure> {
        Self::run_with(&config)
    }
}

/// Reads a configuration; one that was left out is an empty object.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    let text = match text.trim() {
        "" | "null" => "{}",
        text => text,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let inner = error.inner().to_string();
        // The operator wrote the configuration in a bigger file: a line of this text would mislead.
        let cause = inner.rsplit_once(" at line ").map_or(inner.as_str(), |(cause, _)| cause);
        Failure::Misconfigured(match error.path().to_string().as_str() {
            "." => cause.to_owned(),
            path => format!("{path}: {cause}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Config {
        /// How many.
        #[serde(default)]
        most_rows: u32,
        #[serde(default)]
        items: Vec<Item>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Item {
        name: String,
    }

    struct Example;

    impl Check for Example {
        type Config = Config;
        const NAME: &'static str = "example";
        const SUMMARY: &'static str = "An example.";

        fn run(config: Config) -> Result<Report, Failure> {
            Ok(Report::new(format!("{} rows", config.most_rows)))
        }
    }

    #[test]
    fn a_left_out_configuration_is_an_empty_object() {
        for text in ["", " ", "null", "{}"] {
            assert_eq!(Exported::<Example>::run_with(text).unwrap(), Report::new("0 rows"));
        }
    }

    #[test]
    fn a_wrong_configuration_names_the_key() {
        let message = |text| match parse::<Config>(text) {
            Err(Failure::Misconfigured(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(r#"{"mostRows": -1}"#), "mostRows: invalid value: integer `-1`, expected u32");
        assert_eq!(
            message(r#"{"items": [{"name": "a"}, {"name": 7}]}"#),
            "items[1].name: invalid type: integer `7`, expected a string"
        );
        assert_eq!(message(r#"{"mostRow": 1}"#), "mostRow: unknown field `mostRow`, expected `mostRows` or `items`");
        assert_eq!(message(r#"{"items": [{}]}"#), "items[0]: missing field `name`");
        assert_eq!(message("7"), "invalid type: integer `7`, expected struct Config");
    }

    #[test]
    fn the_description_holds_a_json_schema() {
        let description = Exported::<Example>::description();
        let schema: serde_json::Value = serde_json::from_str(&description.config_schema).unwrap();
        assert_eq!(schema["properties"]["mostRows"]["description"], "How many.");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!((description.name.as_str(), description.grants), ("example", vec![]));
    }
}
