//! Tests the layers of `lib.rs`: no module imports from its own layer or a higher one.
//!
//! Reads source text; does not know what the modules do.

use std::{collections::BTreeMap, fs, path::Path};

/// The modules of `lib.rs` with their layer, lowest first.
fn layers(lib: &str) -> BTreeMap<String, usize> {
    let mut layer = 0;
    let mut out = BTreeMap::new();
    for line in lib.lines() {
        if line.trim().is_empty() {
            layer += 1;
        } else if let Some(module) = line.strip_prefix("pub mod ") {
            out.insert(module.trim_end_matches(';').to_owned(), layer);
        }
    }
    out
}

/// Every module named after `crate::` in `source`, also inside `use crate::{a, b::c}`.
fn imports(source: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        match rest.strip_prefix('{') {
            None => out.push(word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (index, ch) in group.char_indices() {
                    match ch {
                        '{' => depth += 1,
                        ',' if depth == 0 => {
                            out.push(word(&group[start..index]));
                            start = index + 1;
                        }
                        '}' if depth == 0 => {
                            out.push(word(&group[start..index]));
                            break;
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    out.retain(|module: &String| !module.is_empty());
    out
}

fn sources(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that reads the source tree")]
fn every_module_imports_only_from_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layers = layers(&fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(layers.len() > 10, "the layers were read: {layers:?}");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut breaches = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(own) = layers.get(&room) else { continue };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            match layers.get(&import) {
                Some(layer) if import != room && layer >= own => {
                    breaches.push(format!("{} imports {import}", inside.display()));
                }
                Some(_) => {}
                None => breaches.push(format!("{} imports {import}, which is in no layer", inside.display())),
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn a_breach_is_seen() {
    assert_eq!(imports("use crate::{\n a::{b, c}, d,\n e::F,\n};"), ["a", "d", "e"]);
    assert_eq!(imports("crate::x::y(crate::z)"), ["x", "z"]);
}
