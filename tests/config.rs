//! The configuration through the whole binary: found, checked, shown, written.

use serde_json::{Value, json};

use crate::env::Place;

#[test]
fn a_mistake_is_named_with_its_place() {
    let place = Place::with_registry(1);
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
    3: vitalsign: --config names the configuration `gone.json`, which cannot be reached: No such file or directory (os error 2)
      → check the path; a relative one begins at `--root`
    ");
}

#[test]
fn show_says_where_each_value_comes_from() {
    let place = Place::with_registry(1);
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
    let schema: Value = serde_json::from_str(&Place::empty().run(["config", "schema"]).stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    assert!(schema["properties"]["dbPath"]["description"].is_string());
}

#[test]
fn init_writes_a_configuration_that_holds() {
    let place = Place::with_registry(5);
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
    let nothing = Place::empty().run(["init"]);
    insta::assert_snapshot!(format!("{}: {}", nothing.code, nothing.stderr), @"
    6: vitalsign: there is no database at `var/registry.sqlite`
      → name another database with --db PATH
    ");
}

#[test]
fn init_writes_where_it_is_told() {
    let place = Place::with_registry(5);
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
    let place = Place::with_registry(1);
    place.configure(|config| config["plugins"] = json!([{ "name": "mine", "component": "mine.wasm" }]));
    let check = |args: &[&str]| {
        let mut command = place.command(args);
        place.finish(command.env_remove("HOME").env_remove("VITALSIGN_CACHE_DIR").output().unwrap())
    };
    let said = check(&["check", "--only", "wal"]).stderr;
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
    let said = check(&["check", "--only", "wal"]).stderr;
    assert!(!said.contains("not pinned"), "{said}");
}

#[test]
fn the_command_line_is_checked() {
    let place = Place::empty();
    for args in [["chekc"].as_slice(), &["check", "--format", "yaml"], &["guard"], &["check", "--wait", "soon"], &[]] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
    assert_eq!(place.run(["--version"]).code, 0);
    assert_eq!(place.run(["check", "--help"]).code, 0);
}
