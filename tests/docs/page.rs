//! A page of the documentation, cut into blocks, rows, links and headings. Knows nothing of what they mean.

use std::{fs, path::PathBuf};

/// The table of contents of the book.
pub const SUMMARY: &str = "docs/SUMMARY.md";

/// The repository's folder.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The text of a source file, named by its crate and its path in it, as `sqlite/problem.rs`. The product's modules need no
/// name of a crate.
pub fn source(file: &str) -> String {
    let host = root().join("host");
    let own = file.split_once('/').map(|(name, rest)| host.join(name).join("src").join(rest));
    let path = own.filter(|path| path.exists()).unwrap_or_else(|| host.join("vitalsign/src").join(file));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One Markdown file.
pub struct Page {
    /// Its path in the repository.
    pub name: String,
    pub text: String,
}

/// A fenced block of code. Its first line may name a file: ```` ```json registry.config.json ````.
pub struct Block {
    pub language: String,
    pub file: Option<String>,
    /// The line of its opening fence, counted from 1.
    pub line: usize,
    pub text: String,
}

impl Page {
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Every page that users read. The summary of the book is not one.
    pub fn all() -> Vec<Self> {
        let mut names = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "plugins/README.md"]
            .map(str::to_owned)
            .to_vec();
        for folder in ["docs", "plugins/*"] {
            let (parent, below) = folder.split_once("/*").map_or((folder, ""), |(parent, _)| (parent, "/README.md"));
            for entry in fs::read_dir(root().join(parent)).unwrap() {
                let name = format!("{parent}/{}{below}", entry.unwrap().file_name().to_str().unwrap());
                let is_page = name.ends_with(".md") && name != SUMMARY && root().join(&name).is_file();
                if is_page && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names.sort();
        names.iter().map(|name| Self::read(name)).collect()
    }

    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (at, line) in self.text.lines().enumerate() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(info), None) => {
                    let mut words = info.split_whitespace().map(str::to_owned);
                    let (language, file) = (words.next().unwrap_or_default(), words.next());
                    open = Some(Block { language, file, line: at + 1, text: String::new() });
                }
                (None, Some(block)) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.name);
        blocks
    }

    /// The lines outside of blocks, with their numbers.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let numbered = self.text.lines().enumerate().map(|(at, line)| (at + 1, line));
        numbered
            .filter(|(_, line)| {
                let fence = line.starts_with("```");
                inside ^= fence;
                !inside && !fence
            })
            .collect()
    }

    /// The rows of all tables, their cells joined by ` | `; heads and rules are left out.
    pub fn rows(&self) -> Vec<String> {
        let prose = self.prose();
        let is_rule = |line: &str| line.starts_with("|--");
        let rows = prose.iter().enumerate().filter(|(at, (_, line))| {
            let head = prose.get(at + 1).is_some_and(|(_, next)| is_rule(next));
            line.starts_with("| ") && !head
        });
        let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" | ");
        rows.map(|(_, (_, line))| cells(line)).collect()
    }

    /// The targets of all links, with their lines.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            for rest in line.split("](").skip(1) {
                links.extend(rest.split_once(')').map(|(target, _)| (number, target.to_owned())));
            }
        }
        links
    }

    /// What links to a heading can name, made as GitHub does.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().into_iter().filter(|(_, line)| line.starts_with('#'));
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        headings
            .map(|(_, line)| {
                line.trim_matches(['#', ' ']).to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
            })
            .collect()
    }
}
