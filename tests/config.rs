//! The configuration through the whole binary: found, checked, shown, written.

use serde_json::{Value, json};

use crate::{env::TestEnv, other::OtherProcess};

#[test]
fn a_mistake_is_named_with_its_place() {
    let place = TestEnv::with_registry(1);
    place.write(
        "registry.config.json",
        "{\n  \"dbPath\": \"registry.sqlite\",\n  \"health\": {\n    \"minFreBytes\": 1\n  }\n}\n",
    );
    let mut said = String::new();
    for command in [["check"].as_slice(), &["config", "check"], &["serve"], &["guard", "--", "/bin/true"]] {
        let ran = place.run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{command:?}");
        said = ran.stderr;
    }
    insta::assert_snapshot!(said, @"
    vitalsign: registry.config.json:4:5: health.minFreBytes: unknown key; did you mean `minFreeBytes`?
      → `vitalsign config schema` describes every key
    ");
    let ran = place.run(["check", "--config", "gone.json"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"
    3: vitalsign: the configuration file `gone.json`, named by --config, cannot be opened: No such file or directory (os error 2)
      → check the path; a relative path starts from `--root`
    ");
}

#[test]
fn show_says_where_each_value_comes_from() {
    let place = TestEnv::with_registry(1);
    place.configure(|_| ());
    let ran = place.run(["config", "show", "--json", "--db", "other.sqlite"]);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let origin = |key: &str| rows.iter().find(|row| row["key"] == key).map(|row| row["origin"].clone());
    assert_eq!(origin("dbPath"), Some(json!("--db")));
    assert_eq!(origin("registry.recordsTable"), Some(json!("default")));
    let pinned = origin("registry.expectedSchemaVersion").unwrap();
    assert!(pinned.as_str().unwrap().starts_with("registry.config.json:1:"), "{pinned}");
    assert!(place.run(["config", "show"]).stdout.contains("health.minFreeBytes"));
}

#[test]
fn the_schema_is_a_json_schema() {
    let schema: Value = serde_json::from_str(&TestEnv::empty().run(["config", "schema"]).stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    assert!(schema["properties"]["dbPath"]["description"].is_string());
}

#[test]
fn init_writes_a_configuration_that_holds() {
    let place = TestEnv::with_registry(5);
    let before = place.listing();
    let dry = place.run(["init", "--db", "registry.sqlite", "--dry-run"]);
    assert_eq!(place.listing(), before);
    let ran = place.run(["init", "--db", "registry.sqlite"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "registry.config.json\n"), "{}", ran.stderr);
    let written = std::fs::read_to_string(place.path("registry.config.json")).unwrap();
    assert_eq!(written, dry.stdout);
    insta::assert_snapshot!(written, @r#"
    {
      "dbPath": "registry.sqlite",
      "registry": {
        "expectedSchemaVersion": 1,
        "recordsTable": "records",
        "provenanceTable": "provenance"
      }
    }
    "#);
    assert_eq!(place.run(["check"]).code, 0);
    let again = place.run(["init", "--db", "registry.sqlite"]);
    insta::assert_snapshot!(format!("{}: {}", again.code, again.stderr), @"
    4: vitalsign: there is a configuration already: registry.config.json; nothing was changed
      → `vitalsign init --dry-run` prints what would be written
    ");
    let nothing = TestEnv::empty().run(["init"]);
    insta::assert_snapshot!(format!("{}: {}", nothing.code, nothing.stderr), @"
    6: vitalsign: there is no database at `var/registry.sqlite`
      → name another database with --db PATH
    ");
}

#[test]
fn a_schema_version_that_nobody_set_is_not_pinned() {
    let place = TestEnv::with_registry(1);
    OtherProcess::open(&place.path("registry.sqlite"), "PRAGMA user_version = 0").close();
    let ran = place.run(["init", "--db", "registry.sqlite"]);
    insta::assert_snapshot!(format!("{}: {}{}", ran.code, ran.stdout, ran.stderr), @"
0: registry.config.json
vitalsign: `registry.expectedSchemaVersion` is left out, because the `user_version` of registry.sqlite is 0, as in a database whose program never sets it
");
    let written = std::fs::read_to_string(place.path("registry.config.json")).unwrap();
    assert!(!written.contains("expectedSchemaVersion"), "{written}");
    assert_eq!(place.run(["config", "check"]).code, 0);
}

/// What lies where the log should be never answers, as a file system that hangs does not.
#[test]
fn init_gives_up_on_a_file_that_does_not_answer() {
    let place = TestEnv::with_registry(1);
    let fifo = place.path("registry.sqlite-wal");
    place.write("registry.sqlite-shm", "\n");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let ran = place.run(["init", "--db", "registry.sqlite"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("registry.sqlite"), "{}", ran.stderr);
    assert!(!place.path("registry.config.json").exists());
}

/// The timer of the manual, on the evening of `init`.
#[test]
fn after_init_a_backup_is_made_and_prune_leaves_it() {
    let place = TestEnv::with_registry(1);
    assert_eq!(place.run(["init", "--db", "registry.sqlite"]).code, 0);
    let archive = place.run(["backup"]).stdout;
    let ran = place.run(["prune", "--yes"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(place.path(archive.trim()).exists());
}

#[test]
fn without_a_file_the_check_says_where_it_looked() {
    let ran = TestEnv::empty().run(["config", "check"]);
    insta::assert_snapshot!(format!("{}: {}{}", ran.code, ran.stdout, ran.stderr), @"0: there is no configuration file at app/config/registry.config.json or registry.config.json, and none is named with --config or VITALSIGN_CONFIG; the defaults are used, and they are valid");
}

/// Each of these would keep `serve` or a plugin from working after the roll-out, and the check says so before.
#[test]
fn the_check_says_what_serve_would_say() {
    let place = TestEnv::with_registry(1);
    place.write("plugins/text.wasm", "#!/bin/sh\n");
    place.write("plugins/module.wasm", b"\0asm\x01\0\0\0");
    std::fs::copy(crate::env::GUESTS.join("sql_assert.wasm"), place.path("plugins/rules.wasm")).unwrap();
    let plugin = |component: &str, grants: Value, config: Value| json!({ "plugins": [{ "name": "rules", "component": component, "grants": grants, "config": config }] });
    let read = || json!({ "registry": "read" });
    let rule = || json!([{ "name": "any", "sql": "SELECT count(*) FROM records", "atLeast": 1 }]);
    let cases = [
        json!({ "server": { "listen": "127.0.0.1:8080" } }),
        json!({ "server": { "listen": "0.0.0.0:8080" } }),
        json!({ "server": { "listen": ":8080" } }),
        json!({ "server": { "listen": "no_such_host..:8080" } }),
        json!({ "server": { "details": "token", "tokenFile": "no-token" } }),
        json!({ "server": { "details": "token", "tokenEnv": "NO_TOKEN" } }),
        plugin("plugins/rulez.wasm", read(), json!({ "assertions": rule() })),
        plugin("plugins/text.wasm", read(), json!({ "assertions": rule() })),
        plugin("plugins/module.wasm", read(), json!({ "assertions": rule() })),
        plugin("plugins/rules.wasm", read(), json!({ "assertions": rule() })),
        plugin("plugins/rules.wasm", json!({}), json!({ "assertions": rule() })),
        plugin("plugins/rules.wasm", read(), json!({ "asertions": rule() })),
        plugin("plugins/rules.wasm", read(), json!({ "assertions": [{ "name": "any", "sq": "SELECT 1" }] })),
        plugin("plugins/rules.wasm", read(), json!({})),
    ];
    let mut said = String::new();
    for change in cases {
        place.configure(|config| config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        let ran = place.run(["config", "check"]);
        assert!(matches!(ran.code, 0 | 3), "{change}: {}", ran.stderr);
        let first = ran
            .stderr
            .lines()
            .filter(|line| !line.starts_with("  ") && !line.contains("WARN") && !line.contains("INFO"));
        let lines: Vec<&str> = ran.stdout.lines().chain(first).collect();
        said += &format!("{}: {}\n", ran.code, lines.join("\n   "));
    }
    insta::assert_snapshot!(said, @r#"
0: registry.config.json is valid
3: vitalsign: registry.config.json:1:115: server.listen: listening on 0.0.0.0:8080 with `"details": "always"` would show paths, SQL and facts about this host to whoever can connect; set `server.details` to `never` or `token`, or pass `--allow-public-details`
3: vitalsign: registry.config.json:1:115: server.listen: listening on :8080, which is every address of this machine, with `"details": "always"` would show paths, SQL and facts about this host to whoever can connect; set `server.details` to `never` or `token`, or pass `--allow-public-details`
3: vitalsign: registry.config.json:1:115: server.listen: no address is found for `no_such_host..:8080`: failed to lookup address information: Name or service not known; give an IP address, or correct the name
3: vitalsign: cannot read the token file no-token: No such file or directory (os error 2)
3: vitalsign: `server.details` is `token`, but the environment variable NO_TOKEN contains no token that a client could send
3: vitalsign: registry.config.json:1:135: plugins[0].component: the component plugins/rulez.wasm cannot be read (No such file or directory (os error 2)). Check `plugins[].component` of the plugin rules and the permissions of the file.
3: vitalsign: registry.config.json:1:135: plugins[0].component: plugins/text.wasm is not WebAssembly. Set `plugins[].component` of the plugin rules to the .wasm file that its build made.
3: vitalsign: registry.config.json:1:135: plugins[0].component: plugins/module.wasm is a core WebAssembly module, not a component. Build it for a target that makes components, such as wasm32-wasip2.
0: registry.config.json is valid
3: vitalsign: registry.config.json:1:135: plugins[0].component: the plugin rules needs the grant "registry": "read" and does not have it. Add "registry": "read" to `plugins[].grants` of the plugin rules, or remove the plugin.
3: vitalsign: registry.config.json:1:194: plugins[0].config: the key `assertions` is missing
   registry.config.json:1:195: plugins[0].config.asertions: unknown key; did you mean `assertions`?
3: vitalsign: registry.config.json:1:209: plugins[0].config.assertions[0]: the key `sql` is missing
   registry.config.json:1:223: plugins[0].config.assertions[0].sq: unknown key; did you mean `sql`?
3: vitalsign: registry.config.json:1:194: plugins[0].config: the key `assertions` is missing
"#);
    place.configure(|config| config["server"] = json!({ "listen": "0.0.0.0:8080" }));
    assert_eq!(place.run(["config", "check", "--allow-public-details"]).code, 0);
    assert_eq!(place.run(["config", "check", "--listen", "127.0.0.1:0"]).code, 0);
    place.configure(|config| {
        config["plugins"] = plugin("plugins/rules.wasm", read(), json!({ "assertions": rule() }))["plugins"].clone();
    });
    place.write("vitalsign.lock", r#"{"version": 1, "plugins": {}}"#);
    assert!(place.run(["config", "check"]).stderr.contains("is not in the lock file"));
    place.write("vitalsign.lock", "{}");
    let ran = place.run(["config", "check"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.starts_with("vitalsign: vitalsign.lock: "), "{}", ran.stderr);
}

#[test]
fn init_writes_where_it_is_told() {
    let place = TestEnv::with_registry(5);
    std::fs::create_dir(place.path("sub")).unwrap();
    let ran = place.run(["init", "--db", "registry.sqlite", "--config", "new.json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "new.json\n"), "{}", ran.stderr);
    let ran = place.run(["init", "--root", "sub", "--db", "../registry.sqlite", "--config", "new.json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "sub/new.json\n"), "{}", ran.stderr);
    assert_eq!(place.run(["check", "--root", "sub", "--config", "new.json"]).code, 0);
    let by_variable =
        |args: &[&str]| place.finish(place.command(args).env("VITALSIGN_CONFIG", "by-variable.json").output().unwrap());
    let ran = by_variable(&["init", "--db", "registry.sqlite"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "by-variable.json\n"), "{}", ran.stderr);
    // What is there says where the database is, and is never written over.
    let before = place.listing();
    assert_eq!(by_variable(&["init"]).code, 4);
    assert_eq!(by_variable(&["init", "--dry-run"]).code, 0);
    assert_eq!(place.run(["init", "--config", "new.json"]).code, 4);
    place.write("registry.config.json", "{ broken");
    assert_eq!(place.run(["init", "--db", "registry.sqlite"]).code, 4);
    assert_eq!(place.run(["init", "--db", "registry.sqlite", "--dry-run"]).code, 0);
    let usual = place.run(["init", "--dry-run"]);
    assert_eq!(usual.code, 6);
    assert!(usual.stderr.contains("there is no database at `var/registry.sqlite`"), "{}", usual.stderr);
    std::fs::remove_file(place.path("registry.config.json")).unwrap();
    let names = |listing: Vec<String>| {
        listing.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(place.listing()), names(before));
}

#[test]
fn plugins_that_are_not_pinned_or_not_kept_are_told_of() {
    let place = TestEnv::with_registry(1);
    place.configure(|config| config["plugins"] = json!([{ "name": "mine", "component": "mine.wasm" }]));
    let check = |args: &[&str]| {
        let mut command = place.command(args);
        place.finish(command.env_remove("HOME").env_remove("VITALSIGN_CACHE_DIR").output().unwrap())
    };
    assert_eq!(check(&["check", "--only", "wal"]).stderr, "", "who asks for no plugin is told of none");
    let said = check(&["check", "--only", "mine"]).stderr;
    assert_eq!(said.matches("there is no vitalsign.lock; run `vitalsign plugin lock`").count(), 1, "{said}");
    assert_eq!(said.matches("VITALSIGN_CACHE_DIR").count(), 1, "{said}");
    std::os::unix::fs::symlink("nowhere", place.path("vitalsign.lock")).unwrap();
    let ran = check(&["check", "--only", "wal"]);
    insta::assert_snapshot!(format!("{}: {}", ran.code, ran.stderr), @"
    3: vitalsign: vitalsign.lock: the lock file is a link that leads nowhere
      → restore what it leads to, or remove it and run `vitalsign plugin lock`
    ");

    // A configuration is known by a link to it; its lock file is where it really is.
    std::fs::remove_file(place.path("vitalsign.lock")).unwrap();
    place.write("real/vitalsign.lock", r#"{"version": 1, "plugins": {}}"#);
    std::fs::rename(place.path("registry.config.json"), place.path("real/config.json")).unwrap();
    std::os::unix::fs::symlink("real/config.json", place.path("registry.config.json")).unwrap();
    let said = check(&["check", "--only", "mine"]).stderr;
    assert!(!said.contains("not pinned"), "{said}");
}

#[test]
fn the_command_line_is_checked() {
    let place = TestEnv::empty();
    for args in [["chekc"].as_slice(), &["check", "--format", "yaml"], &["guard"], &["check", "--wait", "soon"], &[]] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
    assert_eq!(place.run(["--version"]).code, 0);
    assert_eq!(place.run(["check", "--help"]).code, 0);
}
