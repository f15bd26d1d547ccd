//! Tests that hold the structure of `host/`: layers, which room may use which library, headers, and the length of files.
//!
//! A *room* is a module with a folder of its own, or a crate. Its `mod.rs` (or `lib.rs`) declares the modules inside it in
//! groups, lowest layer first, with a blank line between two groups. A module imports only from lower groups. Reads source
//! text; does not know what the modules do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::tool::root;

/// The longest source file, in lines: a longer one does two things.
const MAX_FILE_LINES: usize = 600;

/// Files that are longer than they may be. This list only gets shorter.
const LONG: &[&str] = &["tests/backup.rs"];

/// Libraries that only one place may name: the crates and modules are paths below `host/`.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("rusqlite", &["sqlite"]),
    ("libsqlite3_sys", &["sqlite"]),
    ("tar", &["archive"]),
    ("flate2", &["archive"]),
    ("libdeflater", &["archive"]),
    ("zstd", &["archive"]),
    ("wasmtime", &["plugin"]),
    ("wasmtime_wasi", &["plugin"]),
    ("axum", &["vitalsign/src/serve"]),
    ("clap", &["vitalsign/src/cli"]),
    ("tracing_subscriber", &["vitalsign/src/cli"]),
    ("indicatif", &["vitalsign/src/cli"]),
    ("croner", &["vitalsign/src/backup"]),
    ("fs4", &["base/src/files"]),
];

/// A source file: the path of its module from the root of its crate, and what it says.
struct SourceFile {
    path: PathBuf,
    module: Vec<String>,
    text: String,
}

/// A module inside a room: its layer there, and whether only tests have it.
#[derive(Clone, Copy, Debug)]
struct ModuleInfo {
    layer: usize,
    test: bool,
}

/// What the face of a room (`mod.rs`, `lib.rs`) declares.
#[derive(Debug, Default)]
struct RoomDeclaration {
    modules: BTreeMap<String, ModuleInfo>,
    /// The module from which the face exports a name.
    exports: BTreeMap<String, String>,
}

/// Every Rust file below `folder`.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

/// The crates in `host/`.
fn crates() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("host")).unwrap().map(|entry| entry.unwrap().path());
    let mut out: Vec<PathBuf> = entries.filter(|path| path.join("Cargo.toml").exists()).collect();
    out.sort();
    out
}

/// The sources of the crate in `folder`.
fn sources(folder: &Path) -> Vec<SourceFile> {
    let src = folder.join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let source = |path: PathBuf| {
        let inside = path.strip_prefix(&src).unwrap().with_extension("");
        let mut module: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
            module.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        SourceFile { path, module, text }
    };
    paths.into_iter().map(source).collect()
}

/// Reads what a face declares: `mod` lines in groups, and what it exports of them.
fn face(text: &str) -> RoomDeclaration {
    let mut face = RoomDeclaration::default();
    let mut layer = 0;
    let mut test = false;
    for line in text.lines() {
        let declared = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        if line.is_empty() {
            layer += 1;
        } else if line.starts_with("#[cfg(") && line.contains("test") {
            test = true;
        } else if let Some(module) = declared.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            face.modules.insert(module.to_owned(), ModuleInfo { layer, test });
            test = false;
        }
    }
    for (exported, path) in uses(&text.parse().unwrap()) {
        if let [module, .., name] = path.as_slice()
            && exported
            && face.modules.contains_key(module)
        {
            face.exports.insert(name.clone(), module.clone());
        }
    }
    face
}

/// Every path of every `use` at the top of a file, and whether it is exported.
fn uses(tokens: &TokenStream) -> Vec<(bool, Vec<String>)> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut out = Vec::new();
    let mut exported = false;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "pub" => exported = true,
            TokenTree::Ident(word) if word == "use" => {
                let mut paths = Vec::new();
                at += path(&tokens[at + 1..], &[], &mut paths);
                out.extend(paths.into_iter().map(|path| (exported, path)));
                exported = false;
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {}
            _ => exported = false,
        }
        at += 1;
    }
    out
}

/// Reads the path that starts `tokens`, with its groups in braces; how many tokens it takes.
fn path(tokens: &[TokenTree], before: &[String], out: &mut Vec<Vec<String>>) -> usize {
    let mut here = before.to_vec();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if here.len() == before.len() || colons(tokens, at) => here.push(word.to_string()),
            TokenTree::Punct(mark) if mark.as_char() == ':' && colons(tokens, at + 2) => at += 1,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && (at == 0 || colons(tokens, at)) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for entry in inner.split(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')) {
                    path(entry, &here, out);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
    }
    if here.len() > before.len() {
        out.push(here);
    }
    at
}

/// Whether `::` stands before the token at `at`.
fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    at >= 2 && colon(at - 1) && colon(at - 2)
}

/// Every path that starts with `crate`, `self` or `super`, from the root of the crate. `module` is where `tokens` stand.
/// Inline modules for tests are left out.
fn imports(tokens: TokenStream, module: &[String], out: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(word) if word == "mod" => {
                // `mod tests { … }`: what only tests import is no matter of layers.
                at += if matches!(tokens.get(at + 2), Some(TokenTree::Group(_))) { 2 } else { 1 };
            }
            TokenTree::Ident(word)
                if (word == "crate" || word == "super" || word == "self") && !colons(&tokens, at) =>
            {
                let mut paths = Vec::new();
                at += path(&tokens[at..], &[], &mut paths).max(1) - 1;
                out.extend(paths.iter().filter_map(|path| absolute(path, module)));
            }
            TokenTree::Group(group) => imports(group.stream(), module, out),
            _ => {}
        }
        at += 1;
    }
}

/// A path from the root of the crate; `None` when it names nothing below a module.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = others;
    }
    (!rest.is_empty()).then(|| [base.as_slice(), rest].concat())
}

/// The breaches inside one crate.
fn breaches(name: &str, sources: &[SourceFile]) -> Vec<String> {
    let faces: BTreeMap<&[String], RoomDeclaration> =
        sources.iter().map(|source| (source.module.as_slice(), face(&source.text))).collect();
    let mut out = Vec::new();
    for source in sources {
        let mut paths = Vec::new();
        imports(source.text.parse().unwrap(), &source.module, &mut paths);
        for (depth, own) in source.module.iter().enumerate() {
            let room = &source.module[..depth];
            let Some(face) = faces.get(room) else { continue };
            let Some(mine) = face.modules.get(own) else { continue };
            if mine.test {
                break;
            }
            for path in paths.iter().filter(|path| path.len() > depth && path.starts_with(room)) {
                let named = &path[depth];
                let module = face.exports.get(named).filter(|_| !face.modules.contains_key(named)).unwrap_or(named);
                if let Some(other) = face.modules.get(module)
                    && module != own
                    && !other.test
                    && other.layer >= mine.layer
                {
                    out.push(format!("{name}/{}: {own} imports {module}", source.module.join("/")));
                }
            }
        }
    }
    out.dedup();
    out
}

#[test]
fn every_module_imports_only_from_lower_layers() {
    let mut wrong = Vec::new();
    for folder in crates() {
        let sources = sources(&folder);
        assert!(!sources.is_empty(), "{} has no sources", folder.display());
        wrong.extend(breaches(folder.file_name().unwrap().to_str().unwrap(), &sources));
    }
    assert!(wrong.is_empty(), "{} breaches: {wrong:#?}", wrong.len());
}

#[test]
fn every_library_is_used_where_it_belongs() {
    let mut wrong = Vec::new();
    for source in crates().iter().flat_map(|folder| sources(folder)) {
        let inside = source.path.strip_prefix(root().join("host")).unwrap().to_str().unwrap().to_owned();
        let product = source.text.split("\nmod tests {").next().unwrap();
        if inside.contains("/tests") || inside.contains("testing") {
            continue;
        }
        for (library, rooms) in LIBRARIES {
            let named = product.contains(&format!("{library}::"));
            if named && !rooms.iter().any(|room| inside.starts_with(room)) {
                wrong.push(format!("{inside} uses {library}, which belongs to {}", rooms.join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_has_a_header_and_an_end() {
    let mut paths = Vec::new();
    for folder in ["host", "tests", "xtask", "plugins"] {
        files(&root().join(folder), &mut paths);
    }
    let mut wrong = Vec::new();
    for path in paths.iter().filter(|path| !path.iter().any(|part| part == "target")) {
        let text = fs::read_to_string(path).unwrap();
        let inside = path.strip_prefix(root()).unwrap().display();
        if !text.starts_with("//! ") {
            wrong.push(format!("{inside} does not begin with `//!`: what it is, and what it must not know"));
        }
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES && !LONG.contains(&inside.to_string().as_str()) {
            wrong.push(format!("{inside} has {lines} lines, more than {MAX_FILE_LINES}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A crate made of `files`: the path of each module, and its text.
fn made(files: &[(&str, &str)]) -> Vec<SourceFile> {
    let source = |(name, text): &(&str, &str)| SourceFile {
        path: PathBuf::from(name),
        module: name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        text: (*text).to_owned(),
    };
    files.iter().map(source).collect()
}

#[test]
fn a_breach_is_seen_by_every_kind_of_path() {
    let lib = "mod a;\n\nmod b;\npub use b::Thing;\n";
    for import in [
        "use crate::b::X;",
        "use crate::{std_like, b};",
        "use super::{c::{d}, b::{X, Y}};",
        "fn f() { let x = super::b::g(1); }",
        "use super::Thing;",
        "fn f() -> Vec<crate::Thing> { vec![crate::b::X] }",
        "fn f() { println!(\"{}\", crate::b::X) }",
    ] {
        assert_eq!(breaches("c", &made(&[("", lib), ("a", import), ("b", "")])), ["c/a: a imports b"], "{import}");
        let up = made(&[("", lib), ("b", &import.replace("b::", "a::").replace("Thing", "a")), ("a", "")]);
        assert_eq!(breaches("c", &up), Vec::<String>::new(), "{import}");
    }
    let inner = [("", "mod r;"), ("r", "mod low;\n\nmod high;"), ("r/low", "use super::high;"), ("r/high", "")];
    assert_eq!(breaches("c", &made(&inner)), ["c/r/low: low imports high"]);
    let tests = [("", lib), ("a", "mod tests { use crate::b; }"), ("b", "")];
    assert_eq!(breaches("c", &made(&tests)), Vec::<String>::new());
}
