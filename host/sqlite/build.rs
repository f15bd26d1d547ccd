//! Compiles SQLite with the options that this program needs, from the source that `libsqlite3-sys` carries.
//!
//! `libsqlite3-sys` takes further options only from an environment variable, and a file in the checkout that sets it is not read by
//! `cargo install --git` or by a program that uses this crate. So SQLite is compiled once more here. A linker takes a symbol from the
//! first library that has it, and rustc names the library of a crate before those that the crate depends on: this one is in the
//! binary, and the other is left out. A test holds that (`sqlite::tests::options`). Knows nothing of the program itself.

#![allow(clippy::disallowed_methods, reason = "cargo tells a build script everything through its environment")]

use std::{env, error::Error};

/// What `libsqlite3-sys` compiles it with, so that everything that its bindings name is there.
const AS_BOUND: [&str; 18] = [
    "SQLITE_CORE",
    "SQLITE_DEFAULT_FOREIGN_KEYS=1",
    "SQLITE_ENABLE_API_ARMOR",
    "SQLITE_ENABLE_COLUMN_METADATA",
    "SQLITE_ENABLE_DBSTAT_VTAB",
    "SQLITE_ENABLE_FTS3",
    "SQLITE_ENABLE_FTS3_PARENTHESIS",
    "SQLITE_ENABLE_FTS5",
    "SQLITE_ENABLE_LOAD_EXTENSION=1",
    "SQLITE_ENABLE_RTREE",
    "SQLITE_ENABLE_STAT4",
    "SQLITE_SOUNDEX",
    "SQLITE_THREADSAFE=1",
    "SQLITE_USE_URI",
    "HAVE_ISNAN",
    "HAVE_LOCALTIME_R",
    "HAVE_USLEEP=1",
    "_POSIX_THREAD_SAFE_FUNCTIONS",
];

/// What this program needs beside that.
const OWN: [&str; 2] = [
    // `sqlite_dbpage` reads raw pages inside a snapshot: the row estimate uses it, and so does backup.
    "SQLITE_ENABLE_DBPAGE_VTAB",
    // A page cache of 512 KiB is enough for the upper pages of every b-tree; the rest of a look reads each page once, and memory
    // that is taken for the first time costs more than reading does.
    "SQLITE_DEFAULT_CACHE_SIZE=-512",
];

/// SQLite is what a developer waits for when it is not optimised.
const OPTIMISATION: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let source = env::var("DEP_SQLITE3_INCLUDE")?;
    let mut build = cc::Build::new();
    build.file(format!("{source}/sqlite3.c")).opt_level(OPTIMISATION).warnings(false);
    for option in AS_BOUND.iter().chain(&OWN) {
        build.flag(format!("-D{option}"));
    }
    build.try_compile("vitalsign_sqlite3")?;
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
