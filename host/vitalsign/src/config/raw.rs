//! The configuration as it is written: every key, its type, its range and what it means.
//!
//! The one source of truth for the format: the JSON Schema that users see, and that files are compared with, is
//! generated from these types. Fills in no default and judges nothing; `effective` does.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{defaults, unit};
use crate::checks;
use vitalsign_archive::Compression;
use vitalsign_check::{CheckInfo, report::Weight};

/// The smallest and the largest value of a key, in the unit that its name ends with.
struct Range {
    min: i64,
    max: i64,
}

/// `user_version` is a signed 32-bit field of the database's header.
const SCHEMA_VERSION: Range = Range { min: i32::MIN as i64, max: i32::MAX as i64 };
/// Zero switches the threshold off; more than 1 PiB free is nobody's demand but a slipped digit.
const FREE_BYTES: Range = Range { min: 0, max: 1 << 50 };
/// A second is the finest period that a report's age can show; beyond 31 days nobody would notice that it stopped.
const INTERVAL_SECONDS: Range = Range { min: 1, max: 31 * 24 * 3600 };
/// An hour lets an integrity check read some terabytes; longer and the slot of a hung check is never seen again.
const TIMEOUT_MS: Range = Range { min: 1, max: 3_600_000 };
/// At the shortest interval, 1000 results are a quarter of an hour, which is longer than any flapping.
const THRESHOLD: Range = Range { min: 1, max: 1000 };
/// One wasm page at least, and what the engine's pool has room for at most; so with the two below.
const MEMORY_BYTES: Range = Range { min: 64 * 1024, max: vitalsign_plugin_runtime::MAX_MEMORY_BYTES as i64 };
const TABLE_ELEMENTS: Range = Range { min: 1, max: vitalsign_plugin_runtime::MAX_TABLE_ELEMENTS as i64 };
const INSTANCES: Range = Range { min: 1, max: vitalsign_plugin_runtime::MAX_INSTANCES as i64 };
/// What a guest returns is copied into the host's memory: 64 MiB a run at most.
const COPIED_BYTES: Range = Range { min: 1, max: 64 << 20 };
/// A million rows of one value each are near the byte limit already.
const SQL_ROWS: Range = Range { min: 1, max: 1_000_000 };
/// A query holds a read transaction, and the WAL grows behind it: a minute at most.
const SQL_TIME_MS: Range = Range { min: 1, max: 60_000 };
/// The smallest component has 8 bytes; ten times what a Python one has is enough.
const COMPONENT_BYTES: Range = Range { min: 8, max: 256 << 20 };
/// Compiling is done once; ten minutes is a hostile or broken component.
const COMPILE_TIME_MS: Range = Range { min: 1, max: 600_000 };
/// A backup older than ten years is no backup.
const AGE_SECONDS: Range = Range { min: 1, max: 10 * 366 * 24 * 3600 };
/// Zero for no limit.
const PROOF_AGE_SECONDS: Range = Range { min: 0, max: AGE_SECONDS.max };
/// Zero switches it off; archives that nobody looks at for a year are not looked after.
const VERIFY_INTERVAL_SECONDS: Range = Range { min: 0, max: 366 * 24 * 3600 };
/// A second verifies one archive, since one is always begun; a day some terabytes.
const VERIFY_BUDGET_SECONDS: Range = Range { min: 1, max: 24 * 3600 };
/// The highest level of any format; what is beyond the chosen format's own is refused when it is settled.
const LEVEL: Range = Range { min: 1, max: 19 };
/// A second backs up some hundred megabytes; a day some terabytes.
const HOLD_SECONDS: Range = Range { min: 1, max: 24 * 3600 };
/// 1 MiB is a log that SQLite keeps anyway; beyond 1 PiB no disk goes.
const WAL_GROWTH_BYTES: Range = Range { min: 1 << 20, max: 1 << 50 };
/// More kept archives than this make listing the folder slow.
const KEEP: Range = Range { min: 0, max: 10_000 };
/// The longest path that Linux takes, in bytes.
const MAX_PATH: u32 = 4096;
/// The longest table or variable name; SQLite itself has no limit.
const MAX_NAME: u32 = 255;
/// Groups of one check: each is a set that a probe can ask for.
const MAX_GROUPS: u32 = 16;
/// Plugins in one configuration: each is a row in the report and a label in the metrics.
const MAX_PLUGINS: u32 = 4096;
/// Assertions in one configuration: each is a row in the report and a label in the metrics.
const MAX_ASSERTIONS: u32 = 1000;
/// The longest statement: what SQLite takes from foreign hands here, in bytes.
const MAX_SQL: u32 = 64 * 1024;
/// The longest hint that still reads as one.
const MAX_HINT: u32 = 1000;
/// Paths beside the database that go into each archive: a registry has a few, and a folder counts as one.
const MAX_INCLUDE: u32 = 64;
/// Grants of one kind for one plugin.
const MAX_GRANTS: u32 = 64;
/// `value::Name` as a pattern, for editors; the settled configuration holds the parsed name.
const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// The configuration of Vitalsign: the database, the checks and plugins, backups and the server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Vitalsign configuration")]
pub(super) struct Config {
    /// The JSON Schema of this file, for editors; Vitalsign does not read it.
    #[serde(rename = "$schema")]
    #[expect(dead_code, reason = "editors add it, and an unknown key would be refused")]
    pub(super) schema: Option<String>,
    /// The database file of the registry. A relative path starts from `--root`.
    #[schemars(length(min = 1, max = MAX_PATH), extend("default" = defaults::DB))]
    pub(super) db_path: Option<String>,
    /// The schema version and the tables of the registry.
    pub(super) registry: Option<Registry>,
    /// The checks: when they run, and what they accept.
    pub(super) health: Option<Health>,
    /// Checks of your own: WebAssembly components.
    #[schemars(length(max = MAX_PLUGINS))]
    pub(super) plugins: Option<Vec<Plugin>>,
    /// How backups are made, and which archives are kept.
    pub(super) backup: Option<Backup>,
    /// The HTTP server of `vitalsign serve`.
    pub(super) server: Option<Server>,
    /// What `vitalsign guard` lets start.
    pub(super) guard: Option<Guard>,
}

impl Config {
    /// The database, as it is written or not.
    pub(super) fn db_path(&self) -> &str {
        self.db_path.as_deref().unwrap_or(defaults::DB)
    }
}

/// What `vitalsign guard` lets start.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Guard {
    /// Whether the command is started although there is no database yet.
    #[schemars(extend("default" = false))]
    pub(super) allow_missing: Option<bool>,
    /// Which schema versions are accepted beside the expected one.
    #[schemars(extend("default" = checks::SchemaPolicy::default()))]
    pub(super) schema_policy: Option<checks::SchemaPolicy>,
}

/// The schema version and the tables of the registry.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registry {
    /// The `user_version` that the database has to have. Without it, the check `schema` is skipped.
    #[schemars(range(min = SCHEMA_VERSION.min, max = SCHEMA_VERSION.max))]
    pub(super) expected_schema_version: Option<i64>,
    /// The name of the table of records.
    #[schemars(length(min = 1, max = MAX_NAME), extend("default" = defaults::RECORDS))]
    pub(super) records_table: Option<String>,
    /// The name of the provenance table, or of a view in its place.
    #[schemars(length(min = 1, max = MAX_NAME), extend("default" = defaults::PROVENANCE))]
    pub(super) provenance_table: Option<String>,
}

/// The checks: when they run, and what they accept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Health {
    /// Less free space than this on the file system of the database is an error.
    #[schemars(range(min = FREE_BYTES.min, max = FREE_BYTES.max), extend("default" = defaults::MIN_FREE_BYTES))]
    pub(super) min_free_bytes: Option<u64>,
    /// Settings of single checks, by the name of a built-in check, an assertion in SQL or a plugin.
    pub(super) checks: Option<BTreeMap<String, Check>>,
    /// Assertions written in SQL, each a check of its own.
    #[schemars(length(max = MAX_ASSERTIONS))]
    pub(super) sql: Option<Vec<Assertion>>,
}

/// One statement that gives one number, and from where on the number is bad. One threshold is needed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Assertion {
    /// The name of the check in the report. No other check may have the same name.
    #[schemars(regex(pattern = NAME))]
    pub(super) name: String,
    /// One statement that only reads, and gives one row with one number.
    #[schemars(length(min = 1, max = MAX_SQL))]
    pub(super) sql: String,
    /// From this number on it is a warning.
    pub(super) warn: Option<f64>,
    /// From this number on it is an error.
    pub(super) error: Option<f64>,
    /// Below this number it is a warning.
    pub(super) warn_below: Option<f64>,
    /// Below this number it is an error.
    pub(super) error_below: Option<f64>,
    /// What to do when the number is bad. The report shows it.
    #[schemars(length(min = 1, max = MAX_HINT))]
    pub(super) hint: Option<String>,
    /// The time limit of one run of the statement, in milliseconds. It holds a read transaction for as long.
    #[schemars(range(min = SQL_TIME_MS.min, max = SQL_TIME_MS.max), extend("default" = defaults::millis(checks::USUAL_SQL_TIME)))]
    pub(super) sql_time_ms: Option<u64>,
}

/// Settings of one check. A key that is left out keeps the default of the check.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Check {
    /// Whether the check runs by default. `check --only` runs it in any case.
    pub(super) enabled: Option<bool>,
    /// Whether an error of the check prevents a start and readiness. For a critical check, `unknown` counts as an error, otherwise as a warning.
    pub(super) critical: Option<bool>,
    /// Whether the check counts as a warning at most, whatever it finds.
    pub(super) advisory: Option<bool>,
    /// The seconds from one start of the check to the next.
    #[schemars(range(min = INTERVAL_SECONDS.min, max = INTERVAL_SECONDS.max))]
    pub(super) interval_seconds: Option<u64>,
    /// The time limit of one run, in milliseconds. For a plugin, set `plugins[].limits.timeoutMs` instead.
    #[schemars(range(min = TIMEOUT_MS.min, max = TIMEOUT_MS.max))]
    pub(super) timeout_ms: Option<u64>,
    /// How many bad results in a row change the status from `ok`.
    #[schemars(range(min = THRESHOLD.min, max = THRESHOLD.max))]
    pub(super) failure_threshold: Option<u32>,
    /// How many good results in a row change the status back to `ok`.
    #[schemars(range(min = THRESHOLD.min, max = THRESHOLD.max))]
    pub(super) success_threshold: Option<u32>,
    /// The groups that the check belongs to. `/readyz` reports on the group `ready`.
    #[schemars(length(max = MAX_GROUPS))]
    pub(super) groups: Option<Vec<String>>,
    /// The settings that only this check has. For a plugin, set `plugins[].config` instead.
    pub(super) config: Option<Value>,
}

impl Check {
    /// The weight that the two keys ask for; `None` where they leave it to the check.
    pub(super) fn weight(&self) -> Option<Weight> {
        match (self.critical, self.advisory) {
            (Some(true), _) => Some(Weight::Critical),
            (_, Some(true)) => Some(Weight::Advisory),
            (Some(false), _) => Some(Weight::Ordinary),
            (None, _) => None,
        }
    }
}

/// A check of your own: a WebAssembly component.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Plugin {
    /// The name of the check in the report. No other check may have the same name.
    #[schemars(regex(pattern = NAME))]
    pub(super) name: String,
    /// The file of the component. A relative path starts from `--root`.
    #[schemars(length(min = 1, max = MAX_PATH))]
    pub(super) component: String,
    /// The settings of the plugin, which it receives unchanged. The default is `{}`.
    pub(super) config: Option<Value>,
    /// What the plugin may access. By default, nothing.
    pub(super) grants: Option<Grants>,
    /// How much the plugin may use.
    pub(super) limits: Option<Limits>,
}

/// What a plugin may access. By default, nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Grants {
    /// Whether the plugin may read the registry with SQL.
    #[schemars(extend("default" = RegistryGrant::default()))]
    pub(super) registry: Option<RegistryGrant>,
    /// Origins that the plugin may send HTTP requests to. It has to be empty, because this version does not offer it.
    #[schemars(length(max = MAX_GRANTS))]
    pub(super) http: Option<Vec<String>>,
    /// Folders that the plugin may read. It has to be empty, because this version does not offer it.
    #[schemars(length(max = MAX_GRANTS))]
    pub(super) files: Option<Vec<String>>,
    /// Secrets that the plugin may read by name. It has to be empty, because this version does not offer it.
    #[schemars(length(max = MAX_GRANTS))]
    pub(super) secrets: Option<Vec<String>>,
    /// Whether the plugin may store values between runs. It has to be `false`, because this version does not offer it.
    #[schemars(extend("default" = false))]
    pub(super) state: Option<bool>,
}

/// The access of a plugin to the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum RegistryGrant {
    /// Run read-only SQL.
    Read,
    /// Nothing.
    #[default]
    None,
}

/// The limits of one run of a plugin. A message about a limit names it as it is called here.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Limits {
    /// The time limit of one run, waiting included, in milliseconds.
    #[schemars(range(min = TIMEOUT_MS.min, max = TIMEOUT_MS.max), extend("default" = defaults::millis(vitalsign_plugin_runtime::Limits::default().time)))]
    pub(super) timeout_ms: Option<u64>,
    /// The limit for all memories of the plugin together, in bytes.
    #[schemars(range(min = MEMORY_BYTES.min, max = MEMORY_BYTES.max), extend("default" = vitalsign_plugin_runtime::Limits::default().memory_bytes))]
    pub(super) memory_bytes: Option<u64>,
    /// The limit for the entries of all WebAssembly tables of the plugin together.
    #[schemars(range(min = TABLE_ELEMENTS.min, max = TABLE_ELEMENTS.max), extend("default" = vitalsign_plugin_runtime::Limits::default().table_elements))]
    pub(super) table_elements: Option<u64>,
    /// The limit for core instances in the component.
    #[schemars(range(min = INSTANCES.min, max = INSTANCES.max), extend("default" = vitalsign_plugin_runtime::Limits::default().instances))]
    pub(super) instances: Option<u64>,
    /// The limit for the report of one run, in bytes.
    #[schemars(range(min = COPIED_BYTES.min, max = COPIED_BYTES.max), extend("default" = vitalsign_plugin_runtime::Limits::default().output_bytes))]
    pub(super) output_bytes: Option<u64>,
    /// The limit for all log lines of one run together, in bytes. Further lines are dropped.
    #[schemars(range(min = COPIED_BYTES.min, max = COPIED_BYTES.max), extend("default" = vitalsign_plugin_runtime::Limits::default().log_bytes))]
    pub(super) log_bytes: Option<u64>,
    /// The limit for the rows of one query. Further rows are cut off, and the result says so.
    #[schemars(range(min = SQL_ROWS.min, max = SQL_ROWS.max), extend("default" = vitalsign_plugin_runtime::Limits::default().sql_rows))]
    pub(super) sql_rows: Option<u64>,
    /// The limit for the values of one query, in bytes. Further rows are cut off, and the result says so.
    #[schemars(range(min = COPIED_BYTES.min, max = COPIED_BYTES.max), extend("default" = vitalsign_plugin_runtime::Limits::default().sql_bytes))]
    pub(super) sql_bytes: Option<u64>,
    /// The time limit of one query, in milliseconds. A query holds a read transaction.
    #[schemars(range(min = SQL_TIME_MS.min, max = SQL_TIME_MS.max), extend("default" = defaults::millis(vitalsign_plugin_runtime::Limits::default().sql_time)))]
    pub(super) sql_time_ms: Option<u64>,
    /// The limit for the file of the component, in bytes.
    #[schemars(range(min = COMPONENT_BYTES.min, max = COMPONENT_BYTES.max), extend("default" = vitalsign_plugin_runtime::Limits::default().component_bytes))]
    pub(super) component_bytes: Option<u64>,
    /// The time limit for compiling the component, in milliseconds. It is compiled once.
    #[schemars(range(min = COMPILE_TIME_MS.min, max = COMPILE_TIME_MS.max), extend("default" = defaults::millis(vitalsign_plugin_runtime::Limits::default().compile_time)))]
    pub(super) compile_time_ms: Option<u64>,
}

/// How backups are made, and which archives are kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Backup {
    /// The folder for archives. A relative path starts from `--root`.
    #[schemars(length(min = 1, max = MAX_PATH), extend("default" = defaults::BACKUP_DIR))]
    pub(super) dir: Option<String>,
    /// A name that tells this database from all others whose archives are in the same folder. Set it where the file or the host changes, as in many containers. Without it, and for another database that `--db` names, an identity of the file is used.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(super) identity: Option<String>,
    /// The compression of archives.
    #[schemars(extend("default" = Compression::default()))]
    pub(super) compression: Option<Compression>,
    /// The compression level: up to 12 for gzip, up to 19 for zstd. The default is 1 for gzip and 2 for zstd.
    #[schemars(range(min = LEVEL.min, max = LEVEL.max))]
    pub(super) level: Option<u8>,
    /// From this age in seconds on, the newest archive is too old. It applies if anything is set under `backup`.
    #[schemars(range(min = AGE_SECONDS.min, max = AGE_SECONDS.max), extend("default" = defaults::BACKUP_AGE.as_secs()))]
    pub(super) max_age_seconds: Option<u64>,
    /// When `serve` makes a backup, in the syntax of cron and in UTC. Without it, `serve` makes none.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(super) schedule: Option<String>,
    /// How often `serve` verifies archives again, in seconds; 0 for never. The default is a day if `backup.schedule` is set, otherwise 0.
    #[schemars(range(min = VERIFY_INTERVAL_SECONDS.min, max = VERIFY_INTERVAL_SECONDS.max))]
    pub(super) verify_interval_seconds: Option<u64>,
    /// After this time, in seconds, `serve` begins to verify no further archive until the next interval.
    #[schemars(range(min = VERIFY_BUDGET_SECONDS.min, max = VERIFY_BUDGET_SECONDS.max), extend("default" = defaults::VERIFY_BUDGET.as_secs()))]
    pub(super) verify_budget_seconds: Option<u64>,
    /// From this age in seconds on, the proof of an archive is too old; 0 for no limit. The default is 60 days if `serve` verifies archives again, otherwise 0.
    #[schemars(range(min = PROOF_AGE_SECONDS.min, max = PROOF_AGE_SECONDS.max))]
    pub(super) max_proof_age_seconds: Option<u64>,
    /// The time limit for the read transaction of a backup, in seconds.
    #[schemars(range(min = HOLD_SECONDS.min, max = HOLD_SECONDS.max), extend("default" = defaults::BACKUP_TIME.as_secs()))]
    pub(super) time_limit_seconds: Option<u64>,
    /// How much the write-ahead log may grow during a backup, in bytes.
    #[schemars(range(min = WAL_GROWTH_BYTES.min, max = WAL_GROWTH_BYTES.max), extend("default" = defaults::BACKUP_WAL_GROWTH))]
    pub(super) max_wal_growth_bytes: Option<u64>,
    /// Which archives to keep. Without it, no archive is removed.
    pub(super) keep: Option<Keep>,
    /// Other databases, files and folders of the registry that go into each archive. A relative path starts from `--root`.
    #[schemars(length(max = MAX_INCLUDE), inner(length(min = 1, max = MAX_PATH)))]
    pub(super) include: Option<Vec<String>>,
}

/// Which archives to keep. An archive that one of these keys keeps is not removed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keep {
    /// How many of the newest archives to keep.
    #[schemars(range(min = KEEP.min, max = KEEP.max), extend("default" = 0))]
    pub(super) last: Option<u32>,
    /// For how many hours to keep the newest archive of the hour.
    #[schemars(range(min = KEEP.min, max = KEEP.max), extend("default" = 0))]
    pub(super) hourly: Option<u32>,
    /// For how many days to keep the newest archive of the day.
    #[schemars(range(min = KEEP.min, max = KEEP.max), extend("default" = 0))]
    pub(super) daily: Option<u32>,
    /// For how many weeks to keep the newest archive of the week.
    #[schemars(range(min = KEEP.min, max = KEEP.max), extend("default" = 0))]
    pub(super) weekly: Option<u32>,
    /// For how many months to keep the newest archive of the month.
    #[schemars(range(min = KEEP.min, max = KEEP.max), extend("default" = 0))]
    pub(super) monthly: Option<u32>,
    /// For how many years to keep the newest archive of the year.
    #[schemars(range(min = KEEP.min, max = KEEP.max), extend("default" = 0))]
    pub(super) yearly: Option<u32>,
}

/// The HTTP server of `vitalsign serve`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Server {
    /// The host and port to listen on. The host is an IP address or a name, or is left out for every address of this machine. Port 0 is any free port.
    #[schemars(length(min = 1, max = MAX_NAME), extend("default" = defaults::LISTEN.to_string()))]
    pub(super) listen: Option<String>,
    /// Who can see more than the status.
    #[schemars(extend("default" = Details::default()))]
    pub(super) details: Option<Details>,
    /// The file that holds the bearer token, for `"details": "token"`. A relative path starts from `--root`.
    #[schemars(length(min = 1, max = MAX_PATH))]
    pub(super) token_file: Option<String>,
    /// The environment variable that holds the bearer token, for `"details": "token"`.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(super) token_env: Option<String>,
}

/// Who can see more than the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Details {
    /// Everybody who can connect.
    #[default]
    Always,
    /// Nobody.
    Never,
    /// Whoever sends the bearer token.
    Token,
}

/// The JSON Schema of the configuration, with the configuration of each built-in check in its place.
pub(super) fn schema(builtins: &[CheckInfo]) -> Value {
    let mut generator =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let configs: Vec<(&str, Schema)> =
        builtins.iter().map(|row| (row.name, (row.config_schema)(&mut generator))).collect();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    if let Some(checks) = schema.pointer_mut("/properties/health/properties/checks") {
        let general = checks.get("additionalProperties").cloned().unwrap_or_default();
        let known = configs.into_iter().map(|(name, config)| {
            let mut one = general.clone();
            let mut config = config.to_value();
            if let (Some(own), Some(place)) = (config.as_object_mut(), one.pointer_mut("/properties/config")) {
                own.insert("description".to_owned(), format!("The configuration of the check `{name}`.").into());
                *place = config;
            }
            (name.to_owned(), one)
        });
        let known: Map<String, Value> = known.collect();
        checks["properties"] = known.into();
    }
    tidy(&mut schema);
    unit::allow_text(&mut schema);
    schema
}

/// Takes out what the generator adds for Rust's sake: `null` for keys that may be left out, and number formats.
///
/// A key that is there has a value; whoever wants the default leaves the key out.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::Object(object) => {
            let kind = object.get("type").filter(|kind| !kind.is_object()).map(Value::to_string).unwrap_or_default();
            if kind.contains("integer") || kind.contains("number") {
                object.remove("format");
            }
            if let Some(Value::Array(kinds)) = object.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [one] = kinds.as_slice() {
                    let one = one.clone();
                    object.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(words)) = object.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(cases)) = object.get_mut("anyOf") {
                cases.retain(|case| case.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(one)] = cases.as_slice() {
                    let one = one.clone();
                    object.remove("anyOf");
                    for (key, value) in one {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            object.values_mut().for_each(tidy);
        }
        _ => {}
    }
}
