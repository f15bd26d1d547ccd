//! `cargo xtask`: the commands for developers. `demo` shows Vitalsign, `test` and `torture` test it, `bench` measures it.
//!
//! Drives cargo, rustup and the built binary from outside. Does not link the product, so that it compiles in seconds.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool outside of the product: it reads the environment, touches files and prints"
)]

mod bench;
mod book;
mod demo;
mod dist;
mod fuzz;
mod guests;
#[cfg(test)]
mod layers;
mod suites;
mod tool;
mod torture;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--once] [--listen ADDR]   create a demo registry with three plugins and serve its report; --once prints the report instead
cargo xtask test [ROOM]                     run every test, or those of one crate or module, such as sqlite or backup
cargo xtask quick                           check the format, clippy and the layers, before each commit
cargo xtask torture [--seconds N]           run the long tests that kill and damage backups and restores or take the power, then the fuzzer
cargo xtask fuzz [--seconds N]              fuzz the reader of archives, for 600 seconds by default
cargo xtask bench [--write]                 run the benchmarks; --write puts the results into docs/BENCHMARKS.md
cargo xtask book                            build the documentation as a book with search, with mdBook
cargo xtask dist [--arm] [--test]           build what is published into target/dist; --arm for 64-bit Arm as well, --test to try what is there again
cargo xtask guests                          build the example plugins and the plugins of the tests for wasm32-wasip2
";

/// What went wrong, for a person.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo", options @ ..] => demo::Options::parse(options).and_then(|options| demo::run(&options)),
        ["test"] => suites::run(),
        ["test", room] => suites::room(room),
        ["quick"] => suites::quick(),
        ["torture", options @ ..] => fuzz::seconds(options).and_then(torture::run),
        ["fuzz", options @ ..] => fuzz::seconds(options).and_then(fuzz::run).map(|ended| ended.told()),
        ["bench"] => bench::run(false),
        ["bench", "--write"] => bench::run(true),
        ["book"] => book::run(),
        ["dist", options @ ..] => dist::Options::parse(options).and_then(|options| dist::run(&options)),
        ["guests"] => guests::build_all().map(|()| {
            tool::say(&format!("the components are in {}", guests::folder().display()));
            ExitCode::SUCCESS
        }),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("`{}` is not a command. The commands are:\n{HELP}", other.join(" "))),
    };
    done.unwrap_or_else(|message| {
        eprintln!("xtask: {message}");
        ExitCode::FAILURE
    })
}
