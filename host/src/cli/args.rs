//! The command line as it is written. Filling it in does nothing.

use std::{net::SocketAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::{
    archive::{Compression, Tag},
    render::Format,
    report::Severity,
};

/// Watches a registry kept in SQLite: built-in checks and your own, sandboxed, in one report.
#[derive(Debug, Parser)]
#[command(name = "vitalsign", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 healthy or done, 1 unhealthy, 2 usage, 3 configuration, 4 refused, 5 damaged, 6 environment, 70 a bug."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// The folder that relative paths start from [default: the working directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// The configuration [default: $VITALSIGN_CONFIG, app/config/registry.config.json, registry.config.json]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// The database [default: the configuration's dbPath, then var/registry.sqlite]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) db: Option<PathBuf>,
    /// Say more on standard error: plugins' log lines, then their debug lines
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run every check once and print the report
    Check(CheckArgs),
    /// Run the checks in the background and serve the report over HTTP
    Serve(ServeArgs),
    /// Run the critical checks, then become the command, unless one is bad
    Guard(GuardArgs),
    /// Make a backup and prove it, while the registry is in use
    Backup(BackupArgs),
    /// Restore the registry from a backup
    Restore(RestoreArgs),
    /// Prove a backup: every hash, and the database in it
    Verify(VerifyArgs),
    /// Show the backups, newest first
    List(ListArgs),
    /// Remove the backups that no rule keeps; says which, and does it with --yes
    Prune(PruneArgs),
    /// Write a configuration for the database in front of it
    Init(InitArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Work with plugins
    #[command(subcommand)]
    Plugin(PluginVerb),
    /// Make a registry with sample rows to try things on
    Demo(DemoArgs),
    /// Compile a component in a process of its own
    #[command(name = crate::plugin::CHILD_COMMAND, hide = true)]
    Compile { cpu_seconds: u64 },
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// How the report is printed
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = format())]
    pub(super) format: Format,
    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Run only these checks, also those that are off by default
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Run only the checks of this group
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// From which status on the exit code is 1
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub(super) fail_on: FailOn,
    /// Check again each second until the report is healthy, for this long at most
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86400))]
    pub(super) wait: Option<u64>,
}

/// The words for formats, taken from the table that renders them.
fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::as_str)).try_map(|word| word.parse())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FailOn {
    /// Warnings and errors
    Warn,
    /// Errors
    Error,
}

impl FailOn {
    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Warn => Severity::Warn,
            Self::Error => Severity::Error,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address to listen on [default: the configuration's server.listen, then 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Show every detail of the report to whoever can connect, beyond this machine too
    #[arg(long)]
    pub(super) allow_public_details: bool,
}

#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The folder for the archive [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Add this to the archive's name
    #[arg(long, value_name = "LABEL", value_parser = Tag::parse)]
    pub(super) tag: Option<Tag>,
    /// How the archive is compressed [default: the configuration's backup.compression, then gzip]
    #[arg(long, value_name = "FORMAT", value_parser = compression())]
    pub(super) compression: Option<Compression>,
    /// How hard: 1 to 12 for gzip, 1 to 19 for zstd [default: 1 and 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=19))]
    pub(super) level: Option<u8>,
    /// Keep the files as they lie on disk, unread by SQLite: for a damaged registry that is stopped
    #[arg(long)]
    pub(super) raw: bool,
    /// Leave out the proof, and write down that it was left out
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Print what was made as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The words for compression, in the order of the format.
fn compression() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(Compression::ALL.map(Compression::as_str))
        .map(|word| Compression::ALL.into_iter().find(|one| one.as_str() == word).unwrap_or_default())
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The archive
    #[arg(long, value_name = "FILE", required_unless_present = "undo")]
    pub(super) archive: Option<PathBuf>,
    /// Where the export of the provenance table goes [default: var/registry-provenance.jsonl]
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Replace what is there; it is kept beside it
    #[arg(long)]
    pub(super) force: bool,
    /// Do everything but put it in place
    #[arg(long, conflicts_with = "undo")]
    pub(super) dry_run: bool,
    /// Bring back what the last restore replaced
    #[arg(long, conflicts_with_all = ["archive", "log", "force"])]
    pub(super) undo: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    pub(super) archive: PathBuf,
    /// Print what was found as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The folder of the archives [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The folder of the archives [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) keep: KeepArgs,
    /// Remove them
    #[arg(long)]
    pub(super) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is kept; the configuration's `backup.keep` unless any of these is given.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct KeepArgs {
    /// Keep so many of the newest
    #[arg(long, value_name = "N")]
    pub(super) last: Option<u32>,
    /// Keep the newest of each of so many hours
    #[arg(long, value_name = "N")]
    pub(super) hourly: Option<u32>,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "N")]
    pub(super) daily: Option<u32>,
    /// Keep the newest of each of so many weeks
    #[arg(long, value_name = "N")]
    pub(super) weekly: Option<u32>,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "N")]
    pub(super) monthly: Option<u32>,
    /// Keep the newest of each of so many years
    #[arg(long, value_name = "N")]
    pub(super) yearly: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Print the configuration instead of writing it
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print the JSON Schema of the configuration
    Schema,
    /// Say what is wrong with the configuration, if anything
    Check,
    /// Print every settled value with its origin
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PluginVerb {
    /// Pin each configured plugin to the SHA-256 of its component, in vitalsign.lock
    Lock {
        /// Only say whether the lock file is as it would be written
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder to make it in; the registry becomes DIR/var/registry.sqlite
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// How many records it holds
    #[arg(long, value_name = "COUNT", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) records: u32,
}
