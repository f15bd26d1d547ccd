//! The configuration as it holds: validated, every default filled in, each value with its origin.
//!
//! Hands each room the settings that the room defines. Knows no format but what `raw` says, and opens no file.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    ConfigRequest, defaults,
    discover::{ChosenFile, within},
    json_cursor::{self, Cursor, JsonNode},
    mistake::{Mistakes, UnlocatedMistake},
    position::{ConfigText, Position},
    raw, schema_check,
    show::{EffectiveValue, EffectiveValues, ValueSource},
    unit,
};
use crate::{
    backup, checks,
    serve::{self, Listen},
};
use vitalsign_base::{
    files,
    value::{self, Name},
};
use vitalsign_check::{CheckInfo, Overrides, READY_GROUP, Schedule, report::Weight};
use vitalsign_sqlite::TransactionLimits;

/// The file that pins the plugins' digests, beside the configuration.
pub const LOCK_FILE: &str = "vitalsign.lock";

/// The configuration as it holds.
#[derive(Clone, Debug)]
pub struct EffectiveConfig {
    /// The configuration file; `None` when there is none.
    pub config_file: Option<PathBuf>,
    /// Where relative paths begin.
    pub root: PathBuf,
    /// The registry's database.
    pub db: PathBuf,
    /// Where plugin digests are pinned: beside the configuration file, or in the root without one. It need not exist.
    pub lock_file: PathBuf,
    /// For the built-in checks.
    pub checks: checks::Settings,
    /// For the plugins, in the order of the file.
    pub plugins: Vec<vitalsign_plugin_runtime::PluginSettings>,
    /// For the server.
    pub server: serve::Settings,
    /// For the start-up gate of `guard`.
    pub guard: GuardSettings,
    /// For backups.
    pub backup: backup::Settings,
    /// For the check on backups.
    pub backup_check: Overrides,
    pub(super) shown: Vec<EffectiveValue>,
    /// What is written, for messages about it that come later.
    pub(super) written: Option<Arc<(ConfigText, JsonNode)>>,
}

/// What the start-up gate of `guard` lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardSettings {
    /// Whether there may be no database yet.
    pub allow_missing: bool,
    /// Which schema versions are accepted beside the expected one.
    pub schema_policy: checks::SchemaPolicy,
}

/// Settles what is written in `file`, if there is one, under what the command line asks.
pub(super) fn resolve(
    file: Option<(&ConfigText, ValueSource)>,
    asked: &ConfigRequest<'_>,
    builtins: &[CheckInfo],
) -> Result<EffectiveConfig, Mistakes> {
    let (source, by) = file.unzip();
    let tree = source.map(json_cursor::parse).transpose().map_err(|wrong| Mistakes::new(wrong, source))?;
    let top = Cursor::top(source.zip(tree.as_ref()));
    let mut wrong = Vec::new();
    let config = match &tree {
        None => raw::Config::default(),
        Some(tree) => {
            // To describe a check that the file does not name would only cost time.
            let named = top.key("health").key("checks");
            let is_named = |row: &&CheckInfo| named.members().iter().any(|member| member.key == row.name);
            let schema = raw::schema(&builtins.iter().filter(is_named).copied().collect::<Vec<_>>());
            schema_check::compare(&schema, &top, &mut wrong);
            if !wrong.is_empty() {
                return Err(Mistakes::new(wrong, source));
            }
            read(&unit::numbers(tree, &schema), &top).map_err(|mistake| Mistakes::new(vec![mistake], source))?
        }
    };
    let choice = source.zip(by).map(|(source, by)| ChosenFile { file: source.file.clone(), by });
    let mut settler = Resolver { asked, builtins, effective_values: EffectiveValues::default(), wrong };
    let effective = settler.all(&config, &top, choice);
    let Resolver { effective_values, wrong, .. } = settler;
    if wrong.is_empty() {
        Ok(EffectiveConfig { shown: effective_values.0, written: source.cloned().zip(tree).map(Arc::new), ..effective })
    } else {
        Err(Mistakes::new(wrong, source))
    }
}

/// The schema has been held against the text already; this catches what a schema cannot say.
fn read(value: &serde_json::Value, top: &Cursor<'_>) -> Result<raw::Config, UnlocatedMistake> {
    serde_path_to_error::deserialize(value)
        .map_err(|why| top.follow(why.path()).mistake(json_cursor::plain(why.inner())))
}

pub(super) struct Resolver<'a> {
    pub(super) asked: &'a ConfigRequest<'a>,
    builtins: &'a [CheckInfo],
    pub(super) effective_values: EffectiveValues,
    wrong: Vec<UnlocatedMistake>,
}

impl Resolver<'_> {
    fn all(&mut self, config: &raw::Config, top: &Cursor<'_>, choice: Option<ChosenFile>) -> EffectiveConfig {
        let root = self.asked.root.to_owned();
        // A link to a configuration leads to its lock file too: both are kept where the real file is.
        let real = choice.as_ref().map(|choice| match files::is_link(&choice.file) {
            true => files::resolved(&choice.file).unwrap_or_else(|_| choice.file.clone()),
            false => choice.file.clone(),
        });
        let lock_file = match real.as_deref().and_then(Path::parent) {
            Some(folder) => folder.join(LOCK_FILE),
            None => within(&root, Path::new(LOCK_FILE)),
        };
        match &choice {
            Some(choice) => self.effective_values.path("(config file)", &choice.file, choice.by.clone()),
            None => self.effective_values.entry("(config file)", serde_json::Value::Null, ValueSource::Default),
        }
        self.effective_values.path("(lock file)", &lock_file, ValueSource::Default);
        let db = self.db(config, top);
        let mut checks = self.checks(config, top);
        let mut taken: HashMap<String, String> =
            self.builtins.iter().map(|row| (row.name.to_owned(), "a built-in check".to_owned())).collect();
        let (assertions, changes) = self.assertions(config, top, &mut taken);
        checks.sql = assertions;
        checks.checks.extend(changes);
        let plugins = self.plugins(config, top, &mut taken);
        self.check_names(config, top);
        let backup = self.backup_of(config, top, &db);
        let server = self.server(config.server.as_ref(), &top.key("server"));
        let guard = self.guard(config.guard.as_ref(), &top.key("guard"));
        let config_file = choice.map(|choice| choice.file);
        let backup_check = checks.checks.get(backup::ROW.name).map(|check| check.overrides.clone()).unwrap_or_default();
        EffectiveConfig {
            config_file,
            root,
            db,
            lock_file,
            checks,
            plugins,
            server,
            guard,
            backup,
            backup_check,
            shown: Vec::new(),
            written: None,
        }
    }

    pub(super) fn fault(&mut self, cursor: &Cursor<'_>, message: impl Into<String>) {
        self.wrong.push(cursor.mistake(message));
    }

    /// A path as it is written, seen from the root.
    fn path(&mut self, cursor: &Cursor<'_>, written: &str) -> PathBuf {
        self.no_nul(cursor, written);
        let path = within(self.asked.root, Path::new(written));
        self.effective_values.path(cursor.path(), &path, ValueSource::of(cursor));
        path
    }

    pub(super) fn no_nul(&mut self, cursor: &Cursor<'_>, written: &str) {
        if written.contains('\0') {
            self.fault(cursor, "it contains a NUL character, which no path or name may contain");
        }
    }

    fn db(&mut self, config: &raw::Config, top: &Cursor<'_>) -> PathBuf {
        match self.asked.db {
            Some(path) => {
                let path = within(self.asked.root, path);
                self.effective_values.path("dbPath", &path, ValueSource::Flag("--db"));
                path
            }
            None => self.path(&top.key("dbPath"), config.db_path()),
        }
    }

    fn checks(&mut self, config: &raw::Config, top: &Cursor<'_>) -> checks::Settings {
        let registry = config.registry.clone().unwrap_or_default();
        let health = config.health.clone().unwrap_or_default();
        let at = top.key("registry");
        self.effective_values.note(&at.key("expectedSchemaVersion"), registry.expected_schema_version);
        let records_table = self.table(&at.key("recordsTable"), registry.records_table, defaults::RECORDS);
        let provenance_table = self.table(&at.key("provenanceTable"), registry.provenance_table, defaults::PROVENANCE);
        let at = top.key("health");
        let min_free_bytes = health.min_free_bytes.unwrap_or(defaults::MIN_FREE_BYTES);
        self.effective_values.note(&at.key("minFreeBytes"), min_free_bytes);
        let written = health.checks.unwrap_or_default();
        let mut checks = BTreeMap::new();
        for row in self.builtins {
            let cursor = at.key("checks").key(row.name);
            let raw = written.get(row.name);
            let (overrides, _) = self.schedule(&cursor, raw, (row.schedule)(), true);
            let config = raw.and_then(|raw| raw.config.clone()).unwrap_or_default();
            let cursor = cursor.key("config");
            if !config.is_null() {
                if let Err(why) = (row.validate)(&config) {
                    self.fault(&cursor.follow(why.path()), json_cursor::plain(why.inner()));
                }
                self.effective_values.note(&cursor, config.clone());
            }
            if raw.is_some() {
                checks.insert(row.name.to_owned(), checks::CheckSettings { overrides, config });
            }
        }
        let expected_schema_version = registry.expected_schema_version;
        let schema_policy = checks::SchemaPolicy::default();
        checks::Settings {
            expected_schema_version,
            schema_policy,
            records_table,
            provenance_table,
            min_free_bytes,
            sql: Vec::new(),
            checks,
        }
    }

    fn table(&mut self, cursor: &Cursor<'_>, written: Option<String>, default: &str) -> checks::Table {
        let pinned = written.is_some();
        let name = written.unwrap_or_else(|| default.to_owned());
        self.no_nul(cursor, &name);
        self.effective_values.note(cursor, name.as_str());
        checks::Table { name, pinned }
    }

    /// What the operator changes of a check's schedule, and the schedule that results.
    pub(super) fn schedule(
        &mut self,
        cursor: &Cursor<'_>,
        raw: Option<&raw::Check>,
        default: Schedule,
        with_timeout: bool,
    ) -> (Overrides, Schedule) {
        let raw = raw.cloned().unwrap_or_default();
        for (index, group) in raw.groups.iter().flatten().enumerate() {
            let at = cursor.key("groups").index(index);
            if is_nearly_ready(group) {
                let message = format!(
                    "`{}` is nearly `{READY_GROUP}`, the group that `/readyz` looks at, and would leave this check out of it; \
                     write `{READY_GROUP}`, or choose a name that cannot be taken for it",
                    value::printable(group, value::MAX_NAME_BYTES)
                );
                self.fault(&at, message);
            } else if Name::parse(group).is_err() {
                self.fault(&at, "a group is 1 to 63 lower-case letters, digits and inner hyphens");
            }
        }
        if (raw.critical, raw.advisory) == (Some(true), Some(true)) {
            self.fault(&cursor.key("advisory"), "a check is either `critical` or `advisory`; keep one of the two");
        }
        let overrides = Overrides {
            enabled: raw.enabled,
            weight: raw.weight(),
            interval: raw.interval_seconds.map(Duration::from_secs),
            timeout: raw.timeout_ms.map(Duration::from_millis),
            failure_threshold: raw.failure_threshold,
            success_threshold: raw.success_threshold,
            groups: raw.groups,
        };
        let schedule = default.with(&overrides);
        self.effective_values.note(&cursor.key("enabled"), schedule.enabled);
        self.effective_values.note(&cursor.key("critical"), schedule.weight == Weight::Critical);
        self.effective_values.note(&cursor.key("advisory"), schedule.weight == Weight::Advisory);
        self.effective_values.note(&cursor.key("intervalSeconds"), schedule.interval.as_secs());
        if with_timeout {
            self.effective_values.note(&cursor.key("timeoutMs"), defaults::millis(schedule.timeout));
        }
        self.effective_values.note(&cursor.key("failureThreshold"), schedule.failure_threshold);
        self.effective_values.note(&cursor.key("successThreshold"), schedule.success_threshold);
        self.effective_values.note(&cursor.key("groups"), schedule.groups.clone());
        (overrides, schedule)
    }

    /// A check's name, which no other check may have.
    pub(super) fn free_name(
        &mut self,
        cursor: &Cursor<'_>,
        name: &str,
        taken: &mut HashMap<String, String>,
    ) -> Option<Name> {
        let at = cursor.key("name");
        let parsed = Name::parse(name).map_err(|why| self.fault(&at, why.to_string())).ok()?;
        if let Some(owner) = taken.insert(name.to_owned(), cursor.path().to_owned()) {
            self.fault(&at, format!("the name `{name}` is used by {owner} already; choose another one"));
        }
        Some(parsed)
    }

    fn plugins(
        &mut self,
        config: &raw::Config,
        top: &Cursor<'_>,
        taken: &mut HashMap<String, String>,
    ) -> Vec<vitalsign_plugin_runtime::PluginSettings> {
        let mut out = Vec::new();
        for (index, raw) in config.plugins.iter().flatten().enumerate() {
            let cursor = top.key("plugins").index(index);
            let Some(name) = self.free_name(&cursor, &raw.name, taken) else { continue };
            out.push(self.plugin(name, raw, config, &cursor, top));
        }
        out
    }

    fn plugin(
        &mut self,
        name: Name,
        raw: &raw::Plugin,
        config: &raw::Config,
        cursor: &Cursor<'_>,
        top: &Cursor<'_>,
    ) -> vitalsign_plugin_runtime::PluginSettings {
        self.effective_values.note(&cursor.key("name"), name.as_str());
        let component = self.path(&cursor.key("component"), &raw.component);
        let own_config = raw.config.clone().unwrap_or_else(|| serde_json::json!({}));
        self.effective_values.note(&cursor.key("config"), own_config.clone());
        let grants = self.grants(raw.grants.as_ref(), &cursor.key("grants"));
        let limits = self.limits(raw.limits.as_ref(), &cursor.key("limits"));
        let at = top.key("health").key("checks").key(name.as_str());
        let check = config.health.as_ref().and_then(|health| health.checks.as_ref()?.get(name.as_str()));
        for (key, there) in [("timeoutMs", "limits.timeoutMs"), ("config", "config")] {
            let place = at.key(key);
            if place.written().is_some() {
                self.fault(&place, format!("`{name}` is a plugin; set this with `{}.{there}`", cursor.path()));
            }
        }
        let (_, schedule) = self.schedule(&at, check, defaults::plugin_schedule(limits.time), false);
        let written = raw.component.clone();
        vitalsign_plugin_runtime::PluginSettings {
            name,
            written,
            component,
            config: own_config,
            grants,
            limits,
            schedule,
        }
    }

    fn grants(&mut self, raw: Option<&raw::Grants>, cursor: &Cursor<'_>) -> vitalsign_plugin_runtime::Grants {
        let raw = raw.cloned().unwrap_or_default();
        let wanted = [
            ("http", raw.http.is_some_and(|list| !list.is_empty())),
            ("files", raw.files.is_some_and(|list| !list.is_empty())),
            ("secrets", raw.secrets.is_some_and(|list| !list.is_empty())),
            ("state", raw.state.unwrap_or(false)),
        ];
        for (key, _) in wanted.iter().filter(|(_, wanted)| *wanted) {
            self.fault(&cursor.key(key), "this version offers only the `registry` grant; remove this one");
        }
        let registry = raw.registry.unwrap_or_default() == raw::RegistryGrant::Read;
        self.effective_values.note(&cursor.key("registry"), if registry { "read" } else { "none" });
        vitalsign_plugin_runtime::Grants { registry }
    }

    fn limits(&mut self, raw: Option<&raw::Limits>, cursor: &Cursor<'_>) -> vitalsign_plugin_runtime::Limits {
        let raw = raw.cloned().unwrap_or_default();
        let usual = vitalsign_plugin_runtime::Limits::default();
        let mut count = |key: &str, written: Option<u64>, default: usize| {
            // A host with less address space than this cannot give it; all it has is then the limit.
            let value = written.map_or(default, |written| usize::try_from(written).unwrap_or(usize::MAX));
            self.effective_values.note(&cursor.key(key), value);
            value
        };
        let memory_bytes = count("memoryBytes", raw.memory_bytes, usual.memory_bytes);
        let table_elements = count("tableElements", raw.table_elements, usual.table_elements);
        let instances = count("instances", raw.instances, usual.instances);
        let output_bytes = count("outputBytes", raw.output_bytes, usual.output_bytes);
        let log_bytes = count("logBytes", raw.log_bytes, usual.log_bytes);
        let sql_rows = count("sqlRows", raw.sql_rows, usual.sql_rows);
        let sql_bytes = count("sqlBytes", raw.sql_bytes, usual.sql_bytes);
        let component_bytes = raw.component_bytes.unwrap_or(usual.component_bytes);
        self.effective_values.note(&cursor.key("componentBytes"), component_bytes);
        let mut time = |key: &str, written: Option<u64>, default: Duration| {
            let value = written.map_or(default, Duration::from_millis);
            self.effective_values.note(&cursor.key(key), defaults::millis(value));
            value
        };
        vitalsign_plugin_runtime::Limits {
            time: time("timeoutMs", raw.timeout_ms, usual.time),
            memory_bytes,
            table_elements,
            instances,
            output_bytes,
            log_bytes,
            sql_rows,
            sql_bytes,
            sql_time: time("sqlTimeMs", raw.sql_time_ms, usual.sql_time),
            component_bytes,
            compile_time: time("compileTimeMs", raw.compile_time_ms, usual.compile_time),
        }
    }

    /// Every name in `health.checks` is a check's; a plugin's counts even if something else is wrong with it.
    fn check_names(&mut self, config: &raw::Config, top: &Cursor<'_>) {
        let plugins = config.plugins.iter().flatten().map(|raw| raw.name.as_str());
        let assertions = config.health.iter().flat_map(|health| health.sql.iter().flatten());
        let others = plugins.chain(assertions.map(|raw| raw.name.as_str()));
        let names: BTreeSet<&str> = self.builtins.iter().map(|row| row.name).chain(others).collect();
        let cursor = top.key("health").key("checks");
        for member in cursor.members() {
            if !names.contains(member.key.as_str()) {
                // Looking for the nearest of thousands of names is worth it only for mistakes that are told.
                let told = self.wrong.len() < Mistakes::MAX_TOLD;
                let near = told.then(|| value::nearest(&member.key, names.iter().copied())).flatten();
                let message = match near {
                    Some(near) => format!("no check has this name; did you mean `{near}`?"),
                    None => {
                        "no check has this name; it is neither built in nor in `health.sql` or `plugins`".to_owned()
                    }
                };
                self.wrong.push(cursor.on(member).mistake(message));
            }
        }
    }

    pub(super) fn backup(&mut self, raw: Option<&raw::Backup>, cursor: &Cursor<'_>) -> backup::Settings {
        let configured = raw.is_some();
        let raw = raw.cloned().unwrap_or_default();
        let dir = self.path(&cursor.key("dir"), raw.dir.as_deref().unwrap_or(defaults::BACKUP_DIR));
        let compression = raw.compression.unwrap_or_default();
        self.effective_values.note(&cursor.key("compression"), compression.as_str());
        self.level(raw.level, compression, &cursor.key("level"));
        // Where nobody has asked for backups, the age of one that was made by hand is nobody's fault.
        let usual_age = configured.then_some(defaults::BACKUP_AGE);
        let max_age = raw.max_age_seconds.map(Duration::from_secs).or(usual_age);
        self.effective_values.note(&cursor.key("maxAgeSeconds"), max_age.map(|age| age.as_secs()));
        let at = cursor.key("schedule");
        let schedule = raw.schedule.as_deref().and_then(|text| match backup::CronSchedule::parse(text) {
            Ok(schedule) => Some(schedule),
            Err(why) => {
                self.fault(&at, why.to_string());
                None
            }
        });
        self.effective_values.note(&at, raw.schedule.as_deref());
        let time = raw.time_limit_seconds.map_or(defaults::BACKUP_TIME, Duration::from_secs);
        self.effective_values.note(&cursor.key("timeLimitSeconds"), time.as_secs());
        let wal_growth = raw.max_wal_growth_bytes.unwrap_or(defaults::BACKUP_WAL_GROWTH);
        self.effective_values.note(&cursor.key("maxWalGrowthBytes"), wal_growth);
        let (reverify, max_proof_age) = self.reverify(&raw, cursor);
        let identity = self.identity(raw.identity.as_ref(), &cursor.key("identity"));
        let keep = self.keep(raw.keep, cursor);
        backup::Settings {
            configured,
            dir,
            identity,
            compression,
            level: raw.level,
            max_age,
            keep,
            schedule,
            reverify,
            max_proof_age,
            limits: TransactionLimits { time, wal_growth },
            include: None,
        }
    }

    fn guard(&mut self, raw: Option<&raw::Guard>, cursor: &Cursor<'_>) -> GuardSettings {
        let raw = raw.cloned().unwrap_or_default();
        let allow_missing = raw.allow_missing.unwrap_or_default();
        let schema_policy = raw.schema_policy.unwrap_or_default();
        self.effective_values.note(&cursor.key("allowMissing"), allow_missing);
        self.effective_values.note(&cursor.key("schemaPolicy"), schema_policy.as_str());
        GuardSettings { allow_missing, schema_policy }
    }

    fn server(&mut self, raw: Option<&raw::Server>, cursor: &Cursor<'_>) -> serve::Settings {
        let raw = raw.cloned().unwrap_or_default();
        let flags = self.asked.serve;
        let at = cursor.key("listen");
        let written = raw.listen.as_ref().and_then(|text| {
            let parsed = text.parse::<Listen>();
            parsed.map_err(|why| self.fault(&at, why.to_string())).ok()
        });
        let flag = flags.and_then(|flags| flags.listen.clone());
        let by = if flag.is_some() { ValueSource::Flag("--listen") } else { ValueSource::of(&at) };
        let listen = flag.or(written).unwrap_or(defaults::LISTEN);
        self.effective_values.entry(at.path(), listen.to_string(), by.clone());
        let details = self.details(&raw, cursor);
        let mut addresses = Vec::new();
        if let Some(flags) = flags {
            let fault = match listen.addresses(&flags.look_up) {
                Ok(found) => {
                    addresses = found;
                    let open = details == serve::DetailsPolicy::Always && !flags.allow_public_details;
                    (open && addresses.iter().any(serve::is_public)).then(|| open_to_all(&listen))
                }
                Err(why) => {
                    Some(format!("no address is found for `{listen}`: {why}; give an IP address, or correct the name"))
                }
            };
            if let Some(message) = fault {
                self.wrong.push(match by {
                    ValueSource::Flag(flag) => UnlocatedMistake::at(Position::START, flag, message),
                    _ => at.mistake(message),
                });
            }
        }
        serve::Settings { listen, addresses, details }
    }

    fn details(&mut self, raw: &raw::Server, cursor: &Cursor<'_>) -> serve::DetailsPolicy {
        let kind = raw.details.unwrap_or_default();
        let word = match kind {
            raw::Details::Always => "always",
            raw::Details::Never => "never",
            raw::Details::Token => "token",
        };
        let at = cursor.key("details");
        self.effective_values.note(&at, word);
        let (file_at, env_at) = (cursor.key("tokenFile"), cursor.key("tokenEnv"));
        let file = raw.token_file.as_ref().map(|written| self.path(&file_at, written));
        if let Some(name) = &raw.token_env {
            if name.contains(['=', '\0']) || name.chars().any(char::is_whitespace) {
                self.fault(
                    &env_at,
                    "this is not the name of an environment variable; write the name of the variable that holds the token, not the token itself",
                );
            }
            self.effective_values.note(&env_at, name.as_str());
        }
        match (kind, file, raw.token_env.clone()) {
            (raw::Details::Token, Some(file), None) => serve::DetailsPolicy::Token(serve::TokenSource::File(file)),
            (raw::Details::Token, None, Some(name)) => serve::DetailsPolicy::Token(serve::TokenSource::Env(name)),
            (raw::Details::Token, None, None) => {
                self.fault(&at, "`token` needs a token; add `tokenFile` or `tokenEnv`");
                serve::DetailsPolicy::Never
            }
            (raw::Details::Token, Some(_), Some(_)) => {
                self.fault(&env_at, "`tokenFile` is set as well; keep one of the two");
                serve::DetailsPolicy::Never
            }
            (_, None, None) if kind == raw::Details::Always => serve::DetailsPolicy::Always,
            (_, None, None) => serve::DetailsPolicy::Never,
            (_, file, _) => {
                let place = if file.is_some() { &file_at } else { &env_at };
                self.fault(place, format!("a token has no effect with `\"details\": \"{word}\"`; set `details` to `token`, or remove this key"));
                serve::DetailsPolicy::Never
            }
        }
    }
}

/// Why details for everybody are refused where somebody else can connect.
fn open_to_all(listen: &Listen) -> String {
    let what = match listen {
        Listen::Every(_) => format!("listening on {listen}, which is every address of this machine,"),
        _ => format!("listening on {listen}"),
    };
    format!(
        "{what} with `\"details\": \"always\"` would show paths, SQL and facts about this host to whoever can connect; set \
         `server.details` to `never` or `token`, or pass `--allow-public-details`"
    )
}

/// Whether `group` is a slip of `ready`: one letter wrong, missing, added or changed with its neighbour, two when it
/// begins alike, or its name in another form. Groups may have any name, so nothing farther away can be called a mistake.
fn is_nearly_ready(group: &str) -> bool {
    let word = group.to_lowercase();
    let distance = strsim::osa_distance(&word, READY_GROUP);
    let alike = word.starts_with('r') && distance == 2;
    let other_form = ["readiness", "readyness", "readinez"].contains(&word.as_str());
    group != READY_GROUP && (distance <= 1 || alike || other_form)
}
