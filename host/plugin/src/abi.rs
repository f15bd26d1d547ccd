//! The bindings generated from `wit/`: what this host offers and what a check exports. Nothing is written by hand here.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "check",
    exports: { default: async },
});

pub use self::vitalsign::health::{log, registry, types};
