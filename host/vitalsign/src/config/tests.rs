//! What the configuration says to people: every kind of mistake, every origin.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::{backup::RetentionRules, serve};
use vitalsign_check::{CheckInfo, Schedule, report::Weight};

mod sql;
mod wrong;

/// The example of the contract, letter for letter.
const CONTRACT: &str = r#"{
  "dbPath": "var/registry.sqlite",
  "registry": { "expectedSchemaVersion": 1, "recordsTable": "records", "provenanceTable": "provenance" },
  "health": { "minFreeBytes": 268435456, "checks": { "disk": { "critical": true, "intervalSeconds": 15, "timeoutMs": 2000,
              "failureThreshold": 1, "successThreshold": 1, "groups": ["ready"], "config": {} } } },
  "plugins": [ { "name": "provenance-chain", "component": "plugins/provenance_chain.wasm", "config": {},
                 "grants": { "registry": "read", "http": [], "files": [], "secrets": [], "state": false },
                 "limits": { "timeoutMs": 2000, "memoryBytes": 67108864 } } ],
  "backup": { "dir": "artifacts/registry/backups", "compression": "gzip", "maxAgeSeconds": 93600, "keep": { "last": 7, "daily": 7, "weekly": 5, "monthly": 12 } },
  "server": { "listen": "127.0.0.1:8080", "details": "always" }
}"#;

/// Built-in checks of our own, so that what is tested here does not change with the real ones.
fn builtins() -> Vec<CheckInfo> {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only what it accepts matters")]
    struct WalConfig {
        /// Warn from so many pages.
        #[schemars(range(min = 0.5, max = 2.5))]
        warn_ratio: Option<f64>,
        /// A size.
        warn_bytes: Option<u64>,
        /// An address, which no schema can judge.
        peer: Option<std::net::IpAddr>,
    }
    fn schedule() -> Schedule {
        Schedule {
            enabled: true,
            weight: Weight::Critical,
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(2),
            failure_threshold: 1,
            success_threshold: 1,
            groups: vec!["ready".to_owned()],
        }
    }
    ["disk", "wal"]
        .map(|name| CheckInfo {
            name,
            schedule,
            config_schema: schemars::SchemaGenerator::subschema_for::<WalConfig>,
            validate: |config| serde_path_to_error::deserialize::<_, WalConfig>(config).map(|_| ()),
            ..super::builtins()[0]
        })
        .to_vec()
}

fn no_env(_: &str) -> Option<OsString> {
    None
}

fn usual() -> ConfigRequest<'static> {
    ConfigRequest { root: Path::new("."), config: None, db: None, serve: None, env: &no_env }
}

fn flags(listen: Option<&str>) -> ServeFlags {
    let look_up = |name: &str| match name {
        "localhost" => Ok(vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]),
        "registry.example" => Ok(vec!["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()]),
        _ => Err(io::Error::other("no such name")),
    };
    ServeFlags { listen: listen.map(|text| text.parse().unwrap()), allow_public_details: false, look_up }
}

fn effective(text: &str, asked: &ConfigRequest<'_>) -> Result<EffectiveConfig, Mistakes> {
    let source = ConfigText { file: "c.json".into(), text: text.to_owned() };
    effective::resolve(Some((&source, ValueSource::Found)), asked, &builtins())
}

#[test]
fn details_for_everybody_need_a_flag_where_somebody_else_can_connect() {
    let text = r#"{"server": {"listen": "0.0.0.0:8080"}}"#;
    let serve = |flags: &ServeFlags| effective(text, &ConfigRequest { serve: Some(flags), ..usual() });
    insta::assert_snapshot!(serve(&flags(None)).unwrap_err().render(), @r#"
c.json:1:23: server.listen: listening on 0.0.0.0:8080 with `"details": "always"` would show paths, SQL and facts about this host to whoever can connect; set `server.details` to `never` or `token`, or pass `--allow-public-details`
  1 | {"server": {"listen": "0.0.0.0:8080"}}
    |                       ^
"#);
    assert!(serve(&ServeFlags { allow_public_details: true, ..flags(None) }).is_ok());
    assert!(effective(text, &usual()).is_ok(), "a command that does not serve has nothing to refuse");
    for listen in ["[::]:80", "192.0.2.1:80", ":80", "registry.example:80"] {
        let flags = flags(Some(listen));
        let wrong = effective("{}", &ConfigRequest { serve: Some(&flags), ..usual() }).unwrap_err().to_string();
        assert!(wrong.contains("--allow-public-details") && wrong.starts_with("c.json:1:1: --listen: "), "{wrong}");
    }
    for harmless in [
        r#"{"server": {"listen": "[::1]:8080"}}"#,
        r#"{"server": {"listen": "[::ffff:127.0.0.1]:8080"}}"#,
        r#"{"server": {"listen": "localhost:8080"}}"#,
        r#"{"server": {"listen": "0.0.0.0:8080", "details": "never"}}"#,
        r#"{"server": {"listen": ":8080", "details": "token", "tokenFile": "t"}}"#,
    ] {
        let flags = flags(None);
        assert!(effective(harmless, &ConfigRequest { serve: Some(&flags), ..usual() }).is_ok(), "{harmless}");
    }
}

#[test]
fn a_name_to_listen_on_is_looked_up_only_to_serve() {
    let text = r#"{"server": {"listen": "nowhere:8080"}}"#;
    assert!(effective(text, &usual()).unwrap().server.addresses.is_empty());
    let flags = flags(None);
    let asked = ConfigRequest { serve: Some(&flags), ..usual() };
    insta::assert_snapshot!(effective(text, &asked).unwrap_err(), @"c.json:1:23: server.listen: no address is found for `nowhere:8080`: no such name; give an IP address, or correct the name");
    let effective = effective(r#"{"server": {"listen": "localhost:8080"}}"#, &asked).unwrap();
    let addresses: Vec<String> = effective.server.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["[::1]:8080", "127.0.0.1:8080"]);
    assert_eq!(show(&effective).iter().find(|row| row.key == "server.listen").unwrap().value, "localhost:8080");
}

#[test]
fn text_with_a_unit_is_the_number_that_it_stands_for() {
    let text = r#"{
      "health": { "minFreeBytes": "1.5GiB", "checks": { "disk": { "intervalSeconds": "2min", "timeoutMs": "1.5s", "config": { "warnBytes": "1kB" } } } },
      "plugins": [ { "name": "mine", "component": "m.wasm", "config": { "graceSeconds": "5s" }, "limits": { "timeoutMs": "3s", "memoryBytes": "32MiB" } } ],
      "backup": { "maxAgeSeconds": "26h", "maxWalGrowthBytes": "1GB" }
    }"#;
    let effective = effective(text, &usual()).unwrap();
    assert_eq!(effective.checks.min_free_bytes, 3 << 29);
    let disk = &effective.checks.checks["disk"];
    assert_eq!(
        (disk.overrides.interval, disk.overrides.timeout),
        (Some(Duration::from_secs(120)), Some(Duration::from_millis(1500)))
    );
    assert_eq!(disk.config, json!({ "warnBytes": 1000 }));
    let plugin = &effective.plugins[0];
    assert_eq!((plugin.limits.time, plugin.limits.memory_bytes), (Duration::from_secs(3), 32 << 20));
    assert_eq!(plugin.config, json!({ "graceSeconds": "5s" }), "a plugin's own configuration is its own affair");
    assert_eq!(effective.backup.max_age, Some(Duration::from_secs(93_600)));
    let shown = |key: &str| show(&effective).iter().find(|row| row.key == key).unwrap().value.clone();
    assert_eq!(
        (shown("backup.maxAgeSeconds"), shown("backup.maxWalGrowthBytes")),
        (json!(93_600), json!(1_000_000_000))
    );
}

#[test]
fn what_plugins_say_of_their_configuration_is_held_against_it() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["assertions"],
        "properties": {
            "assertions": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/Assertion" } },
            "graceSeconds": { "type": "integer", "exclusiveMinimum": 0 },
            "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
        },
        "$defs": {
            "Assertion": { "type": "object", "additionalProperties": false, "required": ["sql"], "properties": { "sql": { "type": "string" } } },
            "Mode": { "oneOf": [{ "const": "fast", "type": "string" }, { "const": "slow", "type": "string" }] },
        },
    })
    .to_string();
    let judged = |config: &str, schema: &str| {
        let text = format!(r#"{{"plugins": [{{"name": "rules", "component": "r.wasm"{config}}}]}}"#);
        let effective = effective(&text, &usual()).unwrap();
        match review(&effective, &[Ok(schema.to_owned())]) {
            Ok(()) => "accepted".to_owned(),
            Err(wrong) => wrong.to_string(),
        }
    };
    let configs = [
        r#", "config": {"assertions": [{"sql": "SELECT 1"}], "mode": "fast", "graceSeconds": 1}"#,
        r#", "config": {"assertions": [{"sql": "SELECT 1"}], "mode": null}"#,
        "",
        r#", "config": {"asertions": []}"#,
        r#", "config": {"assertions": [{"sq": "SELECT 1"}], "mode": "fats", "graceSeconds": 0}"#,
        r#", "config": {"assertions": []}"#,
        r#", "config": []"#,
    ];
    insta::assert_snapshot!(configs.map(|config| judged(config, &schema)).join("\n"), @"
accepted
accepted
c.json:1:14: plugins[0].config: the key `assertions` is missing
c.json:1:65: plugins[0].config: the key `assertions` is missing
c.json:1:66: plugins[0].config.asertions: unknown key; did you mean `assertions`?
c.json:1:81: plugins[0].config.assertions[0]: the key `sql` is missing
c.json:1:82: plugins[0].config.assertions[0].sq: unknown key; did you mean `sql`?
c.json:1:110: plugins[0].config.mode: `fats` is not one of `fast`, `slow`; did you mean `fast`?
c.json:1:134: plugins[0].config.graceSeconds: 0 is out of range; it has to be above 0
c.json:1:80: plugins[0].config.assertions: 0 entries are too few; at least 1 are needed
c.json:1:65: plugins[0].config: an object `{…}` is expected, not a list
");
    // What is no schema, or one that goes round in a circle, judges nothing and ends.
    for odd in [
        "",
        "no JSON",
        "true",
        "[]",
        r##"{"$ref": "#"}"##,
        r##"{"$ref": "#/nowhere"}"##,
        r##"{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}"##,
    ] {
        assert_eq!(judged(r#", "config": {"a": 1}"#, odd), "accepted", "{odd}");
    }
    let effective = effective(r#"{"plugins": [{"name": "rules", "component": "r.wasm"}]}"#, &usual()).unwrap();
    insta::assert_snapshot!(review(&effective, &[Err("r.wasm is not WebAssembly".to_owned())]).unwrap_err(), @"c.json:1:45: plugins[0].component: r.wasm is not WebAssembly");
}

#[test]
fn the_contract_is_accepted_letter_for_letter() {
    let effective = effective(CONTRACT, &usual()).unwrap();
    assert_eq!(effective.db, Path::new("var/registry.sqlite"));
    assert_eq!(effective.lock_file, Path::new("vitalsign.lock"));
    assert_eq!(effective.checks.expected_schema_version, Some(1));
    assert_eq!(effective.checks.min_free_bytes, 268_435_456);
    let disk = &effective.checks.checks["disk"];
    assert_eq!(
        (disk.overrides.weight, disk.overrides.interval),
        (Some(Weight::Critical), Some(Duration::from_secs(15)))
    );
    assert_eq!(disk.config, json!({}));
    let [plugin] = effective.plugins.as_slice() else { panic!("one plugin") };
    assert_eq!(
        (plugin.name.as_str(), plugin.grants),
        ("provenance-chain", vitalsign_plugin_runtime::Grants { registry: true })
    );
    assert_eq!(plugin.limits, vitalsign_plugin_runtime::Limits::default());
    assert_eq!(plugin.schedule.timeout, plugin.limits.time);
    assert_eq!(plugin.schedule.weight, Weight::Ordinary);
    let keep = RetentionRules { last: 7, daily: 7, weekly: 5, monthly: 12, ..RetentionRules::default() };
    assert_eq!(effective.backup.keep, Some(keep));
    assert_eq!(effective.backup.max_age, Some(Duration::from_secs(93_600)));
    assert_eq!(effective.server.details, serve::DetailsPolicy::Always);
}

#[test]
fn values_are_taken_as_they_are_written() {
    let effective = effective(r#"{"dbPath": "${HOME}/$x/~/a", "$schema": "./s.json"}"#, &usual()).unwrap();
    assert_eq!(effective.db, Path::new("${HOME}/$x/~/a"));
}

#[test]
fn archives_are_verified_again_where_they_are_made_or_somebody_asks() {
    let day = Duration::from_secs(24 * 3600);
    let of = |backup: &str| {
        let effective = effective(&format!(r#"{{"backup": {backup}}}"#), &usual()).unwrap();
        let reverify = effective.backup.reverify.map(|reverify| (reverify.every, reverify.budget.as_secs()));
        (reverify, effective.backup.max_proof_age)
    };
    assert_eq!(of("{}"), (None, None));
    assert_eq!(of(r#"{"schedule": "@daily"}"#), (Some((day, 600)), Some(60 * day)));
    assert_eq!(of(r#"{"schedule": "@daily", "verifyIntervalSeconds": 0}"#), (None, None));
    assert_eq!(of(r#"{"schedule": "@daily", "maxProofAgeSeconds": 0}"#), (Some((day, 600)), None));
    let own = r#"{"verifyIntervalSeconds": "1w", "verifyBudgetSeconds": "1h", "maxProofAgeSeconds": "90d"}"#;
    assert_eq!(of(own), (Some((7 * day, 3600)), Some(90 * day)));
    assert_eq!(of(r#"{"maxProofAgeSeconds": "90d"}"#), (None, Some(90 * day)), "some other timer verifies them");
    let wrong =
        |identity: &str| effective(&format!(r#"{{"backup": {{"identity": "{identity}"}}}}"#), &usual()).is_err();
    assert!(["", " a", "a\\u0007"].into_iter().all(wrong) && !wrong("the payments of Süd"));
}

#[test]
fn the_name_of_the_registry_is_not_that_of_another_database() {
    let named = |db: Option<&'static str>| {
        let text = r#"{"dbPath": "var/r.sqlite", "backup": {"identity": "payments"}}"#;
        effective(text, &ConfigRequest { db: db.map(Path::new), root: Path::new("/srv"), ..usual() })
            .unwrap()
            .backup
            .identity
    };
    let payments = Some("payments".to_owned());
    assert_eq!(
        (named(None), named(Some("/srv/var/r.sqlite")), named(Some("copy.sqlite"))),
        (payments.clone(), payments, None)
    );
}

#[test]
fn a_plugin_is_scheduled_like_any_check() {
    let text = r#"{"plugins": [{"name": "mine", "component": "m.wasm", "limits": {"timeoutMs": 30}}],
                   "health": {"checks": {"mine": {"critical": true, "intervalSeconds": 5, "enabled": false}}}}"#;
    let effective = effective(text, &ConfigRequest { root: Path::new("/srv"), ..usual() }).unwrap();
    let plugin = &effective.plugins[0];
    assert_eq!((plugin.written.as_str(), plugin.component.as_path()), ("m.wasm", Path::new("/srv/m.wasm")));
    assert_eq!(plugin.config, json!({}), "a config type whose fields all have defaults reads this, and not null");
    assert_eq!((plugin.schedule.weight, plugin.schedule.enabled), (Weight::Critical, false));
    assert_eq!(plugin.schedule.interval, Duration::from_secs(5));
    assert_eq!(plugin.schedule.timeout, Duration::from_millis(30));
}

#[test]
#[expect(clippy::too_many_lines, reason = "the snapshot is the whole list")]
fn every_settled_value_is_shown_with_its_origin() {
    let text = r#"{
  "registry": { "expectedSchemaVersion": 3 },
  "health": { "checks": { "wal": { "timeoutMs": 100, "config": { "warnRatio": 2 } } } },
  "plugins": [ { "name": "mine", "component": "m.wasm" } ],
  "backup": { "keep": { "last": 2 } },
  "server": { "details": "token", "tokenEnv": "TOKEN" }
}"#;
    let asked = ConfigRequest { db: Some(Path::new("other.db")), root: Path::new("/srv"), ..usual() };
    insta::assert_snapshot!(render_text(show(&effective(text, &asked).unwrap())), @r#"
    (config file)                        "c.json"                           found
    (lock file)                          "vitalsign.lock"                   default
    dbPath                               "/srv/other.db"                    --db
    registry.expectedSchemaVersion       3                                  c.json:2:42
    registry.recordsTable                "records"                          default
    registry.provenanceTable             "provenance"                       default
    health.minFreeBytes                  268435456                          default
    health.checks.disk.enabled           true                               default
    health.checks.disk.critical          true                               default
    health.checks.disk.advisory          false                              default
    health.checks.disk.intervalSeconds   15                                 default
    health.checks.disk.timeoutMs         2000                               default
    health.checks.disk.failureThreshold  1                                  default
    health.checks.disk.successThreshold  1                                  default
    health.checks.disk.groups            ["ready"]                          default
    health.checks.wal.enabled            true                               default
    health.checks.wal.critical           true                               default
    health.checks.wal.advisory           false                              default
    health.checks.wal.intervalSeconds    15                                 default
    health.checks.wal.timeoutMs          100                                c.json:3:49
    health.checks.wal.failureThreshold   1                                  default
    health.checks.wal.successThreshold   1                                  default
    health.checks.wal.groups             ["ready"]                          default
    health.checks.wal.config             {"warnRatio":2}                    c.json:3:64
    plugins[0].name                      "mine"                             c.json:4:26
    plugins[0].component                 "/srv/m.wasm"                      c.json:4:47
    plugins[0].config                    {}                                 default
    plugins[0].grants.registry           "none"                             default
    plugins[0].limits.memoryBytes        67108864                           default
    plugins[0].limits.tableElements      100000                             default
    plugins[0].limits.instances          100                                default
    plugins[0].limits.outputBytes        1048576                            default
    plugins[0].limits.logBytes           65536                              default
    plugins[0].limits.sqlRows            10000                              default
    plugins[0].limits.sqlBytes           4194304                            default
    plugins[0].limits.componentBytes     67108864                           default
    plugins[0].limits.timeoutMs          2000                               default
    plugins[0].limits.sqlTimeMs          50                                 default
    plugins[0].limits.compileTimeMs      60000                              default
    health.checks.mine.enabled           true                               default
    health.checks.mine.critical          false                              default
    health.checks.mine.advisory          false                              default
    health.checks.mine.intervalSeconds   60                                 default
    health.checks.mine.failureThreshold  1                                  default
    health.checks.mine.successThreshold  1                                  default
    health.checks.mine.groups            []                                 default
    backup.dir                           "/srv/artifacts/registry/backups"  default
    backup.compression                   "gzip"                             default
    backup.level                         1                                  default
    backup.maxAgeSeconds                 93600                              default
    backup.schedule                      null                               default
    backup.timeLimitSeconds              3600                               default
    backup.maxWalGrowthBytes             4294967296                         default
    backup.verifyIntervalSeconds         0                                  default
    backup.verifyBudgetSeconds           600                                default
    backup.maxProofAgeSeconds            0                                  default
    backup.identity                      null                               default
    backup.keep.last                     2                                  c.json:5:33
    backup.keep.hourly                   0                                  default
    backup.keep.daily                    0                                  default
    backup.keep.weekly                   0                                  default
    backup.keep.monthly                  0                                  default
    backup.keep.yearly                   0                                  default
    backup.include                       []                                 default
    server.listen                        "127.0.0.1:8080"                   default
    server.details                       "token"                            c.json:6:26
    server.tokenEnv                      "TOKEN"                            c.json:6:47
    guard.allowMissing                   false                              default
    guard.schemaPolicy                   "exact"                            default
    "#);
}

#[test]
fn without_a_file_everything_is_at_its_default() {
    let dir = tempfile::tempdir().unwrap();
    let effective = load(&ConfigRequest { root: dir.path(), ..usual() }).unwrap();
    assert_eq!(effective.config_file, None);
    assert_eq!(effective.db, dir.path().join("var/registry.sqlite"));
    assert_eq!(effective.lock_file, dir.path().join("vitalsign.lock"));
    assert_eq!(effective.backup.dir, dir.path().join("artifacts/registry/backups"));
    assert_eq!(effective.backup.keep, None);
    assert_eq!(effective.server.listen.to_string(), "127.0.0.1:8080");
    assert!(show(&effective).iter().all(|row| row.origin == ValueSource::Default), "{:#?}", show(&effective));
    assert!(effective.plugins.is_empty());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "files for the test")]
fn the_file_is_found_where_the_contract_says() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let write = |name: &str| {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), "{}").unwrap();
    };
    let chosen = |config: Option<&str>, variable: &'static str| {
        let env = move |name: &str| (name == VARIABLE).then(|| OsString::from(variable));
        let effective = load(&ConfigRequest { root, config: config.map(Path::new), env: &env, ..usual() }).unwrap();
        let by = show(&effective)[0].origin.to_string();
        (effective.config_file.unwrap().strip_prefix(root).unwrap().display().to_string(), by)
    };
    let is = |name: &str, by: &str| (name.to_owned(), by.to_owned());
    write("registry.config.json");
    assert_eq!(chosen(None, ""), is("registry.config.json", "found"));
    write("app/config/registry.config.json");
    assert_eq!(chosen(None, ""), is("app/config/registry.config.json", "found"));
    write("by/variable.json");
    assert_eq!(chosen(None, "by/variable.json"), is("by/variable.json", "VITALSIGN_CONFIG"));
    write("by/flag.json");
    assert_eq!(chosen(Some("by/flag.json"), "by/variable.json"), is("by/flag.json", "--config"));
    let effective = load(&ConfigRequest { root, config: Some(Path::new("by/flag.json")), ..usual() }).unwrap();
    assert_eq!(effective.lock_file, root.join("by/vitalsign.lock"), "beside the configuration");
    assert_eq!(effective.db, root.join("var/registry.sqlite"), "relative to the root, not to the configuration");
}

/// What is said, causes and hint included, with the folder's name taken out.
fn told(root: &Path, config: Option<&str>, env: &dyn Fn(&str) -> Option<OsString>) -> String {
    let error = load(&ConfigRequest { root, config: config.map(Path::new), env, ..usual() }).unwrap_err();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}\n{}\n", error.hint().unwrap_or("-")).replace(&root.display().to_string(), "ROOT")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "files for the test")]
fn a_file_that_cannot_be_read_is_never_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("latin1.json"), b"{\"dbPath\": \"\xe4\"}").unwrap();
    fs::write(root.join("huge.json"), " ".repeat(1 << 20) + "{}").unwrap();
    fs::write(root.join("wrong.json"), "{\"dbPat\": \"\"}").unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("registry.config.json")).unwrap();
    let variable = |_: &str| Some(OsString::from("missing.json"));
    let all = [
        told(root, Some("missing.json"), &no_env),
        told(root, None, &variable),
        told(&root.join("typo"), None, &no_env),
        told(&root.join("wrong.json"), None, &no_env),
        told(root, Some("folder"), &no_env),
        told(root, Some("/dev/null"), &no_env),
        told(root, Some("latin1.json"), &no_env),
        told(root, Some("huge.json"), &no_env),
        told(root, Some("wrong.json"), &no_env),
        told(root, None, &no_env),
    ];
    insta::assert_snapshot!(all.concat(), @"
the configuration file `ROOT/missing.json`, named by --config, cannot be opened: No such file or directory (os error 2)
check the path; a relative path starts from `--root`
the configuration file `ROOT/missing.json`, named by VITALSIGN_CONFIG, cannot be opened: No such file or directory (os error 2)
correct the variable or unset it; a relative path starts from `--root`
the folder `ROOT`, from which relative paths start, cannot be opened: No such file or directory (os error 2)
give an existing folder with `--root`
the folder `ROOT`, from which relative paths start, cannot be opened: Not a directory (os error 20)
give an existing folder with `--root`
the configuration file `ROOT/folder` cannot be read: it is a directory
name another file with `--config`
the configuration file `/dev/null` cannot be read: it is a pipe or a device, not a file
name another file with `--config`
the configuration file `ROOT/latin1.json` cannot be read: it is not UTF-8 text: the bytes from byte 12 on are not a valid character
a configuration is JSON text; name a database with `--db`
the configuration file `ROOT/huge.json` cannot be read: it is larger than 1.0 MiB
a configuration is JSON text; name a database with `--db`
ROOT/wrong.json:1:2: dbPat: unknown key; did you mean `dbPath`?
`vitalsign config schema` describes every key
the configuration file `ROOT/registry.config.json` cannot be read: No such file or directory (os error 2)
it is a symbolic link to a file that does not exist; correct or remove it
");
    fs::remove_file(root.join("registry.config.json")).unwrap();
    std::os::unix::fs::symlink("real.json", root.join("registry.config.json")).unwrap();
    fs::write(root.join("real.json"), "{\"dbPath\": \"x\"}").unwrap();
    assert_eq!(
        load(&ConfigRequest { root, ..usual() }).unwrap().db,
        root.join("x"),
        "a link that leads to a file is one"
    );
    fs::write(root.join("app"), "a file where a folder could be").unwrap();
    assert!(load(&ConfigRequest { root, ..usual() }).is_ok());
}

/// Every property in `schema` with its key path.
fn properties(schema: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    for (key, one) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        out.push((path.clone(), one.clone()));
        properties(one, &path, out);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(key) {
            properties(inner, &format!("{path}{mark}"), out);
        }
    }
}

#[test]
fn the_schema_describes_every_key_and_bounds_every_number() {
    for schema in [schema(), raw::schema(&builtins())] {
        let mut all = Vec::new();
        properties(&schema, "", &mut all);
        assert!(all.len() > 60, "{}", all.len());
        for (path, one) in &all {
            assert!(one["description"].as_str().is_some_and(|text| text.len() > 8), "{path} is not described");
            // `$schema` is not read, and what a check's own configuration bounds is its own affair.
            if path != "$schema" && !path.contains(".config") && !path.ends_with(".name") {
                let kind = one["type"].as_array().map_or(&one["type"], |kinds| &kinds[0]);
                let bounded = match kind.as_str() {
                    Some("integer") => one.get("minimum").is_some() && one.get("maximum").is_some(),
                    Some("string") => one.get("maxLength").is_some() || one.get("oneOf").is_some(),
                    Some("array") => one.get("maxItems").is_some(),
                    _ => true,
                };
                assert!(bounded, "{path} has no bounds: {one}");
            }
        }
        let text = schema.to_string();
        assert!(!text.contains("\"null\"") && !text.contains("$ref") && !text.contains("uint"), "{text}");
        assert_eq!(schema["title"], "Vitalsign configuration");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn the_schema_knows_every_key_of_the_contract_and_every_built_in_check() {
    fn walk(value: &Value, schema: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let own =
                        schema.pointer(&format!("/properties/{key}")).or_else(|| schema.get("additionalProperties"));
                    let own = own.unwrap_or_else(|| panic!("{path}.{key} is unknown"));
                    walk(value, own, &format!("{path}.{key}"));
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, &schema["items"], &format!("{path}[]"))),
            _ => {}
        }
    }
    let schema = schema();
    walk(&serde_json::from_str(CONTRACT).unwrap(), &schema, "");
    for row in super::builtins() {
        let one = &schema["properties"]["health"]["properties"]["checks"]["properties"][row.name];
        assert!(one["properties"]["config"]["description"].is_string(), "{}", row.name);
    }
}

#[test]
fn the_defaults_in_the_schema_are_the_settled_ones() {
    let text = r#"{"plugins": [{"name": "mine", "component": "m.wasm"}], "backup": {"keep": {"last": 1}}}"#;
    let effective = effective(text, &usual()).unwrap();
    let mut all = Vec::new();
    properties(&raw::schema(&builtins()), "", &mut all);
    let mut compared = 0;
    for row in show(&effective).iter().filter(|row| row.origin == ValueSource::Default) {
        let path = row.key.replace("[0]", "[]");
        if let Some(default) = all.iter().find(|(key, _)| *key == path).and_then(|(_, one)| one.get("default")) {
            assert_eq!(default, &row.value, "{path}");
            compared += 1;
        }
    }
    assert_eq!(compared, 31);
}

#[test]
fn a_proposed_configuration_passes_the_check() {
    let tables = ["Records", "other", "provenance"].map(str::to_owned).to_vec();
    let full = propose(&DatabaseFacts { db: "data/my \"db\".sqlite".to_owned(), schema_version: 7, tables });
    insta::assert_snapshot!(full, @r#"
{
  "dbPath": "data/my \"db\".sqlite",
  "registry": {
    "expectedSchemaVersion": 7,
    "recordsTable": "Records",
    "provenanceTable": "provenance"
  }
}
"#);
    let bare = propose(&DatabaseFacts { db: "x".to_owned(), ..DatabaseFacts::default() });
    insta::assert_snapshot!(bare, @r#"
{
  "dbPath": "x"
}
"#);
    assert!(full.ends_with("}\n"));
    assert_eq!(effective(&full, &usual()).unwrap().checks.records_table.name, "Records");
    assert_eq!(effective(&bare, &usual()).unwrap().checks.records_table.name, "records");
}
