//! The documentation, held against the product: its commands are run, its configurations checked, its tables compared
//! with what the binary says of itself, its links followed.
//!
//! ```` ```json some.file ```` also writes the block to that file in the page's folder, for the commands that follow.
//! Other blocks of JSON are a configuration, an entry of `plugins`, or a report.

mod numbers;
mod page;
mod session;

use std::{collections::BTreeSet, fs, thread};

use serde_json::{Value, json};

use crate::env::TestEnv;
use page::{Page, SUMMARY, root, source};

/// Fails with everything that is wrong, not with the first of it.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn schema() -> Value {
    serde_json::from_str(&TestEnv::empty().run(["config", "schema"]).stdout).unwrap()
}

#[test]
fn commands_do_what_the_pages_say() {
    let pages = Page::all();
    let wrong: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = pages.iter().map(|page| scope.spawn(|| session::run(page))).collect();
        running.into_iter().flat_map(|page| page.join().expect("its own message stands above")).collect()
    });
    none(&wrong);
}

#[test]
fn configurations_are_valid() {
    let place = TestEnv::empty();
    let mut wrong = Vec::new();
    for page in Page::all() {
        for block in page.blocks().iter().filter(|block| block.language == "json") {
            let at = format!("{}:{}", page.name, block.line);
            let value: Value = serde_json::from_str(&block.text).unwrap_or_else(|error| panic!("{at}: {error}"));
            let config = match &value {
                report if report.get("status").is_some() => continue,
                lock if lock.get("version").is_some() => continue,
                plugin if plugin.get("component").is_some() => json!({ "plugins": [plugin] }).to_string(),
                _ => block.text.clone(),
            };
            place.write("page.json", config);
            // Not `check`, which would load the plugins that pages only name.
            let ran = place.run(["config", "show", "--config", "page.json"]);
            if ran.code != 0 {
                wrong.push(format!("{at}: {}", ran.stderr));
            }
        }
    }
    none(&wrong);
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in Page::all() {
        for (line, target) in page.links() {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            if file.contains("://") {
                continue;
            }
            let folder = root().join(&page.name).parent().unwrap().to_owned();
            let path = if file.is_empty() { root().join(&page.name) } else { folder.join(file) };
            let there = match fs::canonicalize(&path) {
                Ok(path) if anchor.is_empty() => path.starts_with(fs::canonicalize(root()).unwrap()),
                Ok(_) => {
                    let text = fs::read_to_string(&path).unwrap_or_default();
                    Page { name: target.clone(), text }.anchors().contains(&anchor.to_owned())
                }
                Err(_) => false,
            };
            if !there {
                wrong.push(format!("{}:{line}: {target} leads nowhere", page.name));
            }
        }
        for block in page.blocks().iter().filter(|block| block.language.is_empty()) {
            wrong.push(format!("{}:{}: a block without a language", page.name, block.line));
        }
    }
    let linked: BTreeSet<String> = Page::read("README.md").links().into_iter().map(|(_, target)| target).collect();
    let pages =
        Page::all().into_iter().filter(|page| page.name.starts_with("docs/") || page.name == "plugins/README.md");
    wrong.extend(pages.filter(|page| !linked.contains(&page.name)).map(|page| format!("README.md: no {}", page.name)));
    none(&wrong);
}

/// The widest line of prose, in characters: what two columns of a diff show.
const MAX_COLUMNS: usize = 100;

#[test]
fn prose_is_wrapped() {
    let mut wrong = Vec::new();
    for page in Page::all() {
        let mut is_code = false;
        for (number, line) in page.text.lines().enumerate() {
            is_code ^= line.starts_with("```");
            let is_prose = !is_code && !line.starts_with(['|', '#']);
            // A word that has no space in it cannot be wrapped.
            if is_prose && line.chars().count() > MAX_COLUMNS && line.trim().contains(' ') {
                wrong.push(format!("{}:{}: wider than {MAX_COLUMNS} columns", page.name, number + 1));
            }
        }
    }
    none(&wrong);
}

#[test]
fn every_page_is_in_the_book() {
    let pages: BTreeSet<String> = Page::all().into_iter().map(|page| page.name).collect();
    let links: Vec<String> = Page::read(SUMMARY).links().into_iter().map(|(_, target)| target).collect();
    let shown: BTreeSet<String> = links
        .iter()
        .map(|target| target.strip_prefix("../").map_or_else(|| format!("docs/{target}"), str::to_owned))
        .collect();
    assert_eq!(shown, pages);
    assert_eq!(links.len(), shown.len(), "a page is in the book twice");
}

/// The README shows a plugin; that it builds and runs is shown where `docs/plugins.md` builds and runs the same.
#[test]
fn rust_is_what_the_tutorial_builds() {
    let built = Page::read("docs/plugins.md").blocks().into_iter().find(|block| block.language == "rust").unwrap();
    assert_eq!(built.file.as_deref(), Some("src/lib.rs"));
    for page in Page::all() {
        for block in page.blocks().iter().filter(|block| block.language == "rust") {
            assert_eq!(block.text, built.text, "{}:{}", page.name, block.line);
        }
    }
}

#[test]
fn every_command_and_flag_is_documented() {
    let page = Page::read("docs/commands.md").text;
    let mut wrong = Vec::new();
    let mut left = vec![Vec::<String>::new()];
    while let Some(command) = left.pop() {
        let help = TestEnv::empty().run(command.iter().map(String::as_str).chain(["--help"])).stdout;
        let below = help.split_once("\nCommands:\n").map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default());
        for line in below.unwrap_or_default().lines() {
            let name = line.split_whitespace().next().unwrap_or_default();
            if name != "help" && line.starts_with("  ") && !line.starts_with("   ") {
                left.push([command.clone(), vec![name.to_owned()]].concat());
            }
        }
        let name = format!("`vitalsign {}", command.join(" "));
        if below.is_none() && !page.contains(&name) {
            wrong.push(format!("docs/commands.md: no {name}`"));
        }
        // A command with a section of its own has its flags there, but for those that every command takes.
        let (intro, sections) = page.split_once("\n## ").unwrap();
        let mut sections = sections.split("\n## ").filter(|_| !command.is_empty());
        let own = sections.find(|section| section.starts_with(&name));
        let page = own.map_or_else(|| page.clone(), |own| format!("{intro}{own}"));
        for word in help.split_whitespace().map(|word| word.trim_end_matches([',', '.', '`', ']'])) {
            let flag =
                word.strip_prefix("--").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_alphabetic()));
            if flag && !page.contains(word) {
                wrong.push(format!("docs/commands.md: no {word}"));
            }
        }
    }
    none(&wrong);
}

/// A row of a table of keys, as the schema has it.
fn row(path: &str, schema: &Value, required: bool) -> String {
    let kind = match (schema["oneOf"].as_array().or(schema["enum"].as_array()), schema["type"].as_str()) {
        (Some(words), _) => {
            let words = words.iter().map(|word| word["const"].as_str().or(word.as_str()).unwrap_or_default());
            words.map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" ")
        }
        (None, Some("array")) => "list".to_owned(),
        (None, None) if schema["type"].is_array() && path.ends_with("Bytes") => "size".to_owned(),
        (None, None) if schema["type"].is_array() => "time".to_owned(),
        (None, Some(kind)) => kind.to_owned(),
        (None, None) => "any".to_owned(),
    };
    let default = match &schema["default"] {
        Value::Null if required => "required".to_owned(),
        Value::Null => String::new(),
        Value::Number(number) if path.ends_with("Bytes") => sized(number.as_u64().unwrap()),
        value => format!("`{value}`"),
    };
    let range = match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, _) => String::new(),
        (least, Value::Null) => format!("{least} or more"),
        (least, most) => format!("{least} to {most}"),
    };
    // What such a description adds of text with a unit stands once on the page.
    let meaning = schema["description"].as_str().unwrap_or_default();
    let meaning = meaning.split_once(" A number, or text with a unit").map_or(meaning, |(meaning, _)| meaning);
    format!("`{path}` | {kind} | {default} | {range} | {meaning}")
}

fn sized(bytes: u64) -> String {
    let units = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("`{bytes}` ({} {name})", bytes / unit),
        None => format!("`{bytes}`"),
    }
}

/// Every key below `path`, as rows.
fn rows(path: &str, schema: &Value, out: &mut Vec<String>) {
    let required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|name| name == key));
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let items = &below["items"];
        if below["additionalProperties"].is_object() {
            rows(&format!("{path}.NAME"), &below["additionalProperties"], out);
            for (name, check) in below["properties"].as_object().into_iter().flatten() {
                rows(&format!("{path}.{name}.config"), &check["properties"]["config"], out);
            }
        } else if items["properties"].is_object() {
            rows(&format!("{path}[]"), items, out);
        } else if below["properties"].is_object() {
            rows(&path, below, out);
        } else {
            out.push(row(&path, below, required(key)));
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let mut expected = Vec::new();
    rows("", &schema(), &mut expected);
    let page = Page::read("docs/configuration.md");
    let found: Vec<String> = page.rows().into_iter().filter(|row| row.matches(" | ").count() == 4).collect();
    let sorted = |rows: &[String]| rows.iter().cloned().collect::<BTreeSet<_>>();
    let table: Vec<String> = expected.iter().map(|row| format!("| {row} |")).collect();
    assert!(sorted(&found) == sorted(&expected), "the keys are\n{}\n", table.join("\n").replace("  ", " "));
}

#[test]
fn every_limit_of_a_plugin_is_documented() {
    let mut expected = Vec::new();
    rows("", &schema()["properties"]["plugins"]["items"]["properties"]["limits"], &mut expected);
    let page = Page::read("docs/plugins.md").rows();
    let missing = |row: &String| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let start = format!("{} | {} | ", cells[0], cells[2]);
        (!page.iter().any(|row| row.starts_with(&start))).then(|| format!("docs/plugins.md: no row `| {start}`"))
    };
    none(&expected.iter().filter_map(missing).collect::<Vec<_>>());
}

#[test]
fn every_built_in_check_is_documented() {
    let shown = TestEnv::empty().run(["config", "show", "--json"]).stdout;
    let shown: Vec<Value> = serde_json::from_str(&shown).unwrap();
    let setting = |name: &str, key: &str| {
        let key = format!("health.checks.{name}.{key}");
        shown.iter().find(|row| row["key"] == key.as_str()).map(|row| row["value"].clone()).unwrap()
    };
    let schema = schema();
    let checks = schema["properties"]["health"]["properties"]["checks"]["properties"].as_object().unwrap();
    let page = Page::read("docs/checks.md");
    let readme = Page::read("README.md").rows();
    let mut wrong = Vec::new();
    for name in checks.keys() {
        let on = |key| if setting(name, key) == true { "yes" } else { "no" };
        let start = format!(
            "[`{name}`](#{name}) | {} | {} | {} | {} | ",
            on("enabled"),
            on("critical"),
            setting(name, "intervalSeconds"),
            setting(name, "timeoutMs")
        );
        if !page.rows().iter().any(|row| row.starts_with(&start)) {
            wrong.push(format!("docs/checks.md: no row `| {start}`"));
        }
        if !readme.iter().any(|row| row.starts_with(&format!("`{name}` | "))) {
            wrong.push(format!("README.md: no row for `{name}`"));
        }
    }
    none(&wrong);
}

/// Every string that stands after one of `before` in a Rust file, when it looks like a code.
fn codes(file: &str, before: &[&str]) -> BTreeSet<String> {
    let text = source(file);
    let (code, _) = text.split_once("mod tests {").unwrap_or((&text, ""));
    let words = before.iter().flat_map(|mark| code.split(mark).skip(1));
    let quoted = words.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"').map(|(word, _)| word));
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    quoted.filter(|word| !word.is_empty() && word.bytes().all(letter)).map(str::to_owned).collect()
}

#[test]
fn every_code_of_a_finding_is_documented() {
    let statuses = ["Skipped", "Ok", "Warn", "Unknown", "Error"].map(|status| format!("Status::{status}, "));
    let wrapped = ["Skipped", "Ok", "Warn", "Unknown", "Error"].map(|status| format!("Status::{status},\n"));
    let marks: Vec<&str> = statuses.iter().chain(&wrapped).map(String::as_str).chain(["warn("]).collect();
    let mut wrong = Vec::new();
    let mut hold = |page: &str, file: &str, codes: BTreeSet<String>| {
        assert!(!codes.is_empty(), "no code was found in {file}");
        let text = Page::read(page).text;
        let missing = codes.into_iter().filter(|code| !text.contains(&format!("`{code}`")));
        wrong.extend(missing.map(|code| format!("{page}: no code `{code}`, which {file} gives")));
    };
    for check in ["disk", "foreign_keys", "integrity", "mod", "records", "schema", "sql", "sqlite", "wal"] {
        let file = format!("checks/{check}.rs");
        hold("docs/checks.md", &file, codes(&file, &marks));
    }
    hold("docs/checks.md", "backup/check.rs", codes("backup/check.rs", &marks));
    hold("docs/checks.md", "sqlite/error.rs", codes("sqlite/error.rs", &["} =>", "(_) =>"]));
    hold("docs/checks.md", "sqlite/read/location.rs", codes("sqlite/read/location.rs", &["} =>"]));
    hold(
        "docs/checks.md",
        "sqlite/read/detached_processes.rs",
        codes(
            "sqlite/read/detached_processes.rs",
            &["Self::Deleted =>", "Self::Renamed =>", "Elsewhere =>", "Folder =>"],
        ),
    );
    hold("docs/severity.md", "run/mod.rs", codes("run/mod.rs", &marks));
    hold("docs/severity.md", "run/slot.rs", codes("run/slot.rs", &marks));
    hold("docs/plugins.md", "plugin/load.rs", codes("plugin/load.rs", &["} =>"]));
    let answers = codes("plugin/check.rs", &["(why) => (", "(_) => (", "} => (", "Status::Ok, ", "Status::Unknown, "]);
    hold("docs/plugins.md", "plugin/check.rs", answers);
    none(&wrong);
}

#[test]
fn everything_that_a_plugin_can_import_is_documented() {
    let rows = Page::read("docs/plugins.md").rows();
    for import in vitalsign_plugin_runtime::OFFERED {
        let (package, interface) = import.split_once('/').unwrap();
        let row = rows.iter().find(|row| row.starts_with(&format!("`{package}` ")));
        assert!(row.is_some_and(|row| row.contains(&format!("`{interface}`"))), "docs/plugins.md: no {import}");
    }
}

#[test]
fn every_layer_and_dependency_is_documented() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let groups = read("host/vitalsign/src/lib.rs");
    let groups = groups.split("\n\n").map(|group| {
        let modules = group.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        modules.map(|module| format!("`{module}`")).collect::<Vec<_>>().join(" ")
    });
    let layers: Vec<String> = groups.filter(|group| !group.is_empty()).collect();
    let rows = Page::read("docs/ARCHITECTURE.md").rows();
    let shown: Vec<String> = rows.iter().filter_map(|row| row.split(" | ").nth(1)).map(str::to_owned).collect();
    assert_eq!(shown[..layers.len()], layers.into_iter().rev().collect::<Vec<_>>());

    let page = read("docs/DEPENDENCIES.md");
    let crates =
        fs::read_dir(root().join("host")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let crates: Vec<String> = crates.map(|name| format!("host/{name}")).collect();
    for folder in &crates {
        assert!(rows.iter().any(|row| row.starts_with(&format!("`{folder}` | "))), "docs/ARCHITECTURE.md: no {folder}");
    }
    let guests = ["plugins/sdk", "plugins/provenance-chain"].map(str::to_owned);
    let manifests = crates.iter().chain(&guests).map(|folder| read(&format!("{folder}/Cargo.toml")));
    for line in manifests.collect::<Vec<_>>().iter().flat_map(|text| text.lines()) {
        let name = line.split_once(".workspace = true").map_or("", |(name, _)| name);
        let is_key = ["version", "edition", "rust-version", "license", "publish"].contains(&name);
        let ours = name.starts_with("vitalsign-");
        assert!(
            is_key || ours || page.contains(&format!("`{name}`")) || name.is_empty(),
            "docs/DEPENDENCIES.md: no {name}"
        );
    }
}

/// The path of every key in a value: `checks[].findings[].code`.
fn paths(path: &str, value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, below) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                paths(&path, below, out);
                out.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|below| paths(&format!("{path}[]"), below, out)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_report_is_documented() {
    let place = TestEnv::with_registry(1);
    place.configure(|config| config["plugins"] = json!([{ "name": "gone", "component": "gone.wasm" }]));
    let mut keys = BTreeSet::new();
    paths("", &place.check(), &mut keys);
    let page = Page::read("docs/report.md");
    let documented: BTreeSet<String> =
        page.rows().iter().filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect();
    assert_eq!(documented, keys);
}
