//! The end-to-end suite: the binary as users run it, on real files, in one test program.
//!
//! Each file is one face of the product. The environment of every run is cleared and its folders are its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "tests"
)]

mod backup;
mod check;
mod config;
mod damage;
mod deployments;
mod docs;
mod env;
mod guard;
mod include;
mod loading;
mod manual;
mod other;
mod plugins;
mod power;
mod serve;
mod torture;

/// A file that is not named above would never run.
#[test]
fn no_test_file_was_forgotten() {
    let main = include_str!("main.rs");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            assert!(name == "main" || main.contains(&format!("mod {name};")), "tests/{name}.rs is not in main.rs");
        }
    }
}
