//! The command line as it is written: every command and flag, with the sentence that `--help` shows. Filling it in does
//! nothing, and it knows no command's work.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;

use crate::{checks::SchemaPolicy, render, serve::Listen};
use vitalsign_archive::{Compression, Tag};
use vitalsign_base::clock::Timestamp;
use vitalsign_check::report::Severity;

/// The longest wait or time limit that a flag takes, in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Watches, backs up and restores a live SQLite database.
#[derive(Debug, Parser)]
#[command(name = "vitalsign", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 healthy or done, 1 unhealthy, 2 wrong command line, 3 wrong configuration, 4 refused, \
                  5 damaged, 6 the environment failed, 70 internal error."
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Start relative paths from this folder [default: the working directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Read this configuration file [default: $VITALSIGN_CONFIG, app/config/registry.config.json, registry.config.json]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// Use this database [default: the configuration's dbPath, then var/registry.sqlite]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) db: Option<PathBuf>,
    /// Print more to standard error: once for what plugins log, twice for their debug messages
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum CliCommand {
    /// Run every check once and print a report
    Check(CheckArgs),
    /// Run the checks at their intervals and serve the report over HTTP
    Serve(ServeArgs),
    /// Start a program only if the critical checks allow it
    Guard(GuardArgs),
    /// Back up the database while it is in use, and verify the archive
    Backup(BackupArgs),
    /// Restore the database from an archive
    Restore(RestoreArgs),
    /// Verify archives: each checksum, and the database in it
    Verify(VerifyArgs),
    /// List the archives in a folder, newest first
    List(ListArgs),
    /// Keep archives whatever the retention rules say
    Pin(PinArgs),
    /// Let the retention rules decide about archives again
    Unpin(PinArgs),
    /// Show which archives the retention rules keep, and remove the others with --yes
    Prune(PruneArgs),
    /// Write a configuration file for an existing database
    Init(InitArgs),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Ask a running server whether it is healthy, as in the health check of a container
    Healthcheck(HealthcheckArgs),
    /// Create a database with sample rows to try the commands on
    Demo(DemoArgs),
    /// Print the completions of the command line for a shell
    Completions(CompletionsArgs),
    /// Print the manual page of the program, or of one command
    Man(ManArgs),
}

/// How a command prints its result; the last of these flags counts.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FormatArgs {
    /// Print the result in this format
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text, overrides_with = "json")]
    format: OutputFormat,
    /// Print JSON: the short form of --format json
    #[arg(long, overrides_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    // For people.
    Text,
    // For programs.
    Json,
}

impl FormatArgs {
    pub(super) fn is_json(self) -> bool {
        self.json || self.format == OutputFormat::Json
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct CheckArgs {
    /// Print the report in this format
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = format(), overrides_with = "json")]
    format: render::Format,
    /// Print JSON: the short form of --format json
    #[arg(long, overrides_with = "format")]
    json: bool,
    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Run only these checks, including those that are disabled
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(super) only: Vec<String>,
    /// Run only the checks in this group
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// End with exit code 1 if the report has this status or a worse one
    #[arg(long, value_enum, value_name = "STATUS", default_value_t = FailOn::Error)]
    pub(super) fail_on: FailOn,
    /// Repeat the checks until the report is healthy, for at most this time
    #[arg(long, value_name = "SECONDS", value_parser = wait)]
    pub(super) wait: Option<Duration>,
    /// Print the report after at most this time; a check without a result is then `unknown`
    #[arg(long, value_name = "SECONDS", value_parser = time_limit)]
    pub(super) timeout: Option<Duration>,
}

impl CheckArgs {
    pub(super) fn format(&self) -> render::Format {
        if self.json { render::Format::Json } else { self.format }
    }
}

/// The words for formats, taken from the table that renders them.
fn format() -> impl TypedValueParser<Value = render::Format> {
    PossibleValuesParser::new(render::Format::ALL.map(render::Format::as_str)).try_map(|word| word.parse())
}

/// A number of seconds, with or without a fraction.
fn wait(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("a number of seconds from 0 to {MAX_SECONDS} is expected, such as 30 or 0.5")),
    }
}

/// As [`wait`], but more than nothing.
fn time_limit(text: &str) -> Result<Duration, String> {
    wait(text)
        .ok()
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| format!("a number of seconds above 0 and up to {MAX_SECONDS} is expected, such as 5 or 0.5"))
}

/// A time with a unit, or a number of seconds.
fn budget(text: &str) -> Result<Duration, String> {
    let seconds = wait(text).ok();
    let with_unit = || Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok();
    seconds.or_else(with_unit).ok_or_else(|| "a time with its unit is expected, such as 10m or 1h30m".to_owned())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FailOn {
    // Warnings and errors.
    Warn,
    // Errors.
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
    /// Listen on this address [default: the configuration's server.listen, then 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<Listen>,
    /// Allow every client to see the whole report, including clients on other machines
    #[arg(long)]
    pub(super) allow_public_details: bool,
    /// Run the critical checks first, and refuse to start (exit code 1) if one of them fails
    #[arg(long)]
    pub(super) gate: bool,
}

#[derive(Debug, Args)]
pub(super) struct GuardArgs {
    /// Start the command although there is no database yet, as before the very first start
    #[arg(long)]
    pub(super) allow_missing: bool,
    /// Accept these schema versions [default: the configuration's guard.schemaPolicy, then exact]
    #[arg(long, value_name = "POLICY", value_parser = policy())]
    pub(super) schema: Option<SchemaPolicy>,
    /// Repeat the critical checks until they allow the start, for at most this time
    #[arg(long, value_name = "SECONDS", value_parser = wait)]
    pub(super) wait: Option<Duration>,
    /// Back up the database before the start, and do not start the command if that fails
    #[arg(long)]
    pub(super) backup: bool,
    /// The command to start and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(super) command: Vec<std::ffi::OsString>,
}

/// The words for schema policies, each with its meaning.
fn policy() -> impl TypedValueParser<Value = SchemaPolicy> {
    let words = SchemaPolicy::ALL.map(|policy| PossibleValue::new(policy.as_str()).help(policy.meaning()));
    PossibleValuesParser::new(words)
        .map(|word| SchemaPolicy::ALL.into_iter().find(|one| one.as_str() == word).unwrap_or_default())
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Write the archive to this folder [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Append this label to the name of the archive
    #[arg(long, value_name = "LABEL", value_parser = Tag::parse)]
    pub(super) tag: Option<Tag>,
    /// Compress the archive with this method [default: the configuration's backup.compression, then gzip]
    #[arg(long, value_name = "METHOD", value_parser = compression())]
    pub(super) compression: Option<Compression>,
    /// Compress at this level: 1 to 12 for gzip, 1 to 19 for zstd [default: 1 for gzip, 2 for zstd]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=19))]
    pub(super) level: Option<u8>,
    /// Wait at most this time while another backup or restore of the database is running [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = wait)]
    pub(super) wait: Option<Duration>,
    /// After a verified backup, remove the archives that backup.keep does not keep
    #[arg(long, conflicts_with_all = ["raw", "no_verify"])]
    pub(super) prune: bool,
    /// Copy the files as they are, without reading them through SQLite: for a damaged database that is not in use
    #[arg(long)]
    pub(super) raw: bool,
    /// Do not verify the archive, and record that it is not verified
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Make the archive although another process works on the database in a way that the backup does not see: it lacks rows, and is listed as incomplete
    #[arg(long)]
    pub(super) despite_other_writers: bool,
    /// Accept that the database has fewer records than in earlier archives: the check `backup` no longer compares with those
    #[arg(long, conflicts_with = "raw")]
    pub(super) accept_fewer_rows: bool,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// The words for compression, in the order of the format.
fn compression() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(Compression::ALL.map(Compression::as_str))
        .map(|word| Compression::ALL.into_iter().find(|one| one.as_str() == word).unwrap_or_default())
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The archive to restore
    #[arg(value_name = "ARCHIVE", required_unless_present_any = ["undo", "archive_flag", "latest", "at"])]
    archive: Option<PathBuf>,
    /// Restore this archive: the same as ARCHIVE
    #[arg(long = "archive", value_name = "FILE", conflicts_with = "archive")]
    archive_flag: Option<PathBuf>,
    /// Restore the newest archive of this database in the configuration's backup.dir
    #[arg(long, conflicts_with_all = ["archive", "archive_flag", "undo"])]
    pub(super) latest: bool,
    /// Restore the newest archive of this database that was made until then, such as 2026-11-24T19:15:56Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["archive", "archive_flag", "latest", "undo"])]
    pub(super) at: Option<Timestamp>,
    /// Write the export of the provenance table to this file [default: var/registry-provenance.jsonl; with --db, beside that database]
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Replace an existing database; the old files are kept beside the new ones
    #[arg(long)]
    pub(super) force: bool,
    /// Restore an archive whose schema version differs from the configuration's registry.expectedSchemaVersion
    #[arg(long)]
    pub(super) any_schema: bool,
    /// Replace the database although the archive is of another one
    #[arg(long)]
    pub(super) another_database: bool,
    /// Check everything and say what would be replaced, but do not replace any file; needs no --force
    #[arg(long, conflicts_with = "undo")]
    pub(super) dry_run: bool,
    /// Restore a database that has faults which lose no row, such as an index that disagrees with its table
    #[arg(long, conflicts_with = "undo")]
    pub(super) despite_faults: bool,
    /// Put back the files that the last restore replaced
    #[arg(long, conflicts_with_all = ["archive", "archive_flag", "force", "any_schema", "another_database"])]
    pub(super) undo: bool,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

impl RestoreArgs {
    /// The archive, however it is named; `None` with `--undo`.
    pub(super) fn archive(&self) -> Option<&PathBuf> {
        self.archive.as_ref().or(self.archive_flag.as_ref())
    }
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The archives to verify
    #[arg(value_name = "ARCHIVE", required_unless_present_any = ["all", "stalest"])]
    pub(super) archives: Vec<PathBuf>,
    /// Verify every archive in the folder
    #[arg(long, conflicts_with = "archives")]
    pub(super) all: bool,
    /// Verify the archives in the folder in the order of their last verification, the oldest first, until the time of --budget is over
    #[arg(long, conflicts_with_all = ["archives", "all"], requires = "budget")]
    pub(super) stalest: bool,
    /// Begin no further archive after this time, such as 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = budget, requires = "stalest")]
    pub(super) budget: Option<Duration>,
    /// Look for archives in this folder [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR", conflicts_with = "archives")]
    pub(super) out: Option<PathBuf>,
    /// Compare every index with its table and follow every reference to another row, however long it takes
    #[arg(long)]
    pub(super) full: bool,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Look for archives in this folder [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// The archives
    #[arg(value_name = "ARCHIVE", required = true)]
    pub(super) archives: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Look for archives in this folder [default: the configuration's backup.dir, then artifacts/registry/backups]
    #[arg(long, visible_alias = "output", value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) keep: KeepArgs,
    /// Look at the files that restores replaced instead of archives, and keep the newest of them, or as many as --last says
    #[arg(long, conflicts_with_all = ["out", "hourly", "daily", "weekly", "monthly", "yearly"])]
    pub(super) replaced: bool,
    /// Remove the archives, or the replaced files, that no rule keeps
    #[arg(long)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// What is kept; the configuration's `backup.keep` unless any of these is given.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct KeepArgs {
    /// Keep this many of the newest archives
    #[arg(long, value_name = "N")]
    pub(super) last: Option<u32>,
    /// Keep the newest archive of each hour, for this many hours
    #[arg(long, value_name = "N")]
    pub(super) hourly: Option<u32>,
    /// Keep the newest archive of each day, for this many days
    #[arg(long, value_name = "N")]
    pub(super) daily: Option<u32>,
    /// Keep the newest archive of each week, for this many weeks
    #[arg(long, value_name = "N")]
    pub(super) weekly: Option<u32>,
    /// Keep the newest archive of each month, for this many months
    #[arg(long, value_name = "N")]
    pub(super) monthly: Option<u32>,
    /// Keep the newest archive of each year, for this many years
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
pub(super) enum ConfigCommand {
    /// Print the JSON Schema of the configuration
    Schema,
    /// Check the configuration as `serve` would: the file, the plugins, the token and the address
    Check(ConfigCheckArgs),
    /// Print every effective value and where it was set
    Show {
        #[command(flatten)]
        format: FormatArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct ConfigCheckArgs {
    /// Check with this address, as `serve --listen` takes it
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<Listen>,
    /// Check with the flag of this name that `serve` takes
    #[arg(long)]
    pub(super) allow_public_details: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Write the SHA-256 of each plugin's component to vitalsign.lock
    Lock {
        /// Only compare the lock file with the components; write nothing
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// The URL to ask, such as http://127.0.0.1:8080/health
    #[arg(value_name = "URL", value_parser = url)]
    pub(super) url: hyper::Uri,
    /// Wait for the answer at most this time
    #[arg(long, value_name = "SECONDS", value_parser = time_limit, default_value = "5")]
    pub(super) timeout: Duration,
}

/// The URL of a server, such as `http://127.0.0.1:8080/health`.
fn url(text: &str) -> Result<hyper::Uri, String> {
    let url: hyper::Uri = text.parse().map_err(|_| EXPECTED_URL.to_owned())?;
    // A port that is too large is kept as text, and would be no port at all later.
    let has_port = url.authority().is_some_and(|place| place.as_str().rsplit(']').next().unwrap_or("").contains(':'));
    match (url.scheme_str(), url.host()) {
        (Some("http"), Some(_)) if !has_port || url.port_u16().is_some() => Ok(url),
        (Some("https"), _) => Err("https is not supported here; ask the server itself, without the proxy".to_owned()),
        _ => Err(EXPECTED_URL.to_owned()),
    }
}

const EXPECTED_URL: &str = "a URL is expected, such as http://127.0.0.1:8080/health";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command, such as backup, or config check
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Create DIR/var/registry.sqlite
    #[arg(long, value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// Create this many records
    #[arg(long, value_name = "COUNT", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) records: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_url_of_a_server_is_taken() {
        for good in ["http://127.0.0.1:8080/health", "http://[::1]:8080/readyz?a=b", "http://db"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:8080", "/health", "ftp://h/", "http:///health", "http://h:70000/"] {
            assert_eq!(url(bad).unwrap_err(), EXPECTED_URL, "{bad}");
        }
        assert!(url("https://h/").unwrap_err().starts_with("https is not supported"));
    }
}
