//! Write a Vitalsign check in Rust: a struct, a config type and one function.
//!
//! ```
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//! use vitalsign_plugin::{Check, Failure, Grant, Report, params, registry};
//!
//! /// What the operator writes under the plugin's `config`.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields, rename_all = "camelCase")]
//! pub struct Config {
//!     /// The kind that every registry must have records of.
//!     kind: String,
//! }
//!
//! pub struct KindExists;
//!
//! impl Check for KindExists {
//!     type Config = Config;
//!     const NAME: &'static str = "kind-exists";
//!     const SUMMARY: &'static str = "There are records of a kind.";
//!
//!     fn grants() -> Vec<Grant> {
//!         vec![Grant::Registry]
//!     }
//!
//!     fn run(config: Config) -> Result<Report, Failure> {
//!         let rows = registry::query("SELECT count(*) FROM records WHERE kind = ?1", params![&config.kind])?;
//!         let count = rows.first()?.integer(0)?;
//!         let mut report = Report::new(format!("{count} records of kind {}", config.kind));
//!         report.measure("records", count, "rows");
//!         if count == 0 {
//!             report.error("kind-missing", "no record has this kind").subject(config.kind);
//!         }
//!         Ok(report)
//!     }
//! }
//!
//! vitalsign_plugin::export!(KindExists);
//! # fn main() {}
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`; the result is a component that Vitalsign loads. On every other target the
//! same code compiles to an ordinary library, so its tests run without a host: see `testing`, behind the feature of
//! that name, which puts a real SQLite database behind [`registry`].
//!
//! A check that found something bad says so in its [`Report`]. A check that could not look returns a [`Failure`], and
//! `?` makes one of every error of this crate. The two are never the same: "could not look" never counts as healthy.

pub mod budget;
mod entry;
pub mod log;
pub mod pages;
pub mod registry;
mod report;
#[cfg(feature = "testing")]
pub mod testing;

/// What is generated from `wit/health.wit`; use the re-exports beside it.
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "check",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "vitalsign_plugin::bindings",
        additional_derives: [PartialEq],
    });
}

pub use bindings::vitalsign::health::types::{Description, Failure, Finding, Grant, Measure, Report, Status};
pub use entry::{Check, Exported};
pub use report::Number;

/// Makes the component's exports of a type that implements [`Check`]. Once in a crate.
///
/// Does nothing on other targets than wasm, so that a plugin's tests run natively.
#[macro_export]
macro_rules! export {
    ($check:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Component = $crate::Exported<$check>;
    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> $crate::Description = $crate::Exported::<$check>::description;
    };
}
