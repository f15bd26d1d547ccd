//! `cargo xtask dist`: what is published, in `target/dist`.
//!
//! One static binary for each processor, and around it: tarballs, a `.deb`, an `.rpm`, an OCI image layout, a list of what is in
//! the binary (SBOM), and the sums of all of these. Each file below makes one kind. Programs that exist do the packing, and
//! everything has the time of the last commit, so that the same commit gives the same files.

mod build;
mod files;
mod image;
mod packages;
mod sbom;
mod test;

use std::{fs, path::PathBuf, process::ExitCode};

use crate::{
    Result,
    tool::{at, output, root, say, target, write},
};
use build::{Architecture, Build};

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Build for 64-bit Arm as well.
    arm: bool,
    /// Only look whether what was built works in an empty root.
    test: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            match *word {
                "--arm" => options.arm = true,
                "--test" => options.test = true,
                other => return Err(format!("dist: unknown option `{other}`; use `--arm` or `--test`")),
            }
        }
        Ok(options)
    }
}

/// Where the results stand.
fn folder() -> PathBuf {
    target().join("dist")
}

/// The time of every file that is packed, in seconds since 1970: `SOURCE_DATE_EPOCH`, or that of the last commit. Sources that came
/// without their history have the first second.
fn commit_time() -> Result<String> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return time.parse::<u64>().map(|time| time.to_string()).map_err(|error| format!("SOURCE_DATE_EPOCH: {error}"));
    }
    let git = output(std::process::Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()));
    Ok(git.map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned()))
}

/// Makes everything that is published, and looks whether it works.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let out = folder();
    if !options.test {
        if out.exists() {
            at(&out, fs::remove_dir_all(&out))?;
        }
        at(&out, fs::create_dir_all(&out))?;
        let time = commit_time()?;
        let mut architectures = vec![Architecture::X86];
        architectures.extend(options.arm.then_some(Architecture::Arm));
        let builds = architectures.into_iter().map(Build::make).collect::<Result<Vec<_>>>()?;
        // What the binary prints of itself is the same on every processor, so the one that runs here prints it.
        let tree = files::tree(&builds[0], &time)?;
        for build in &builds {
            files::tarball(build, &tree, &out, &time)?;
            packages::deb(build, &tree, &out, &time)?;
            packages::rpm(build, &tree, &out, &time)?;
        }
        image::layout(&builds[0], &out, &time)?;
        write(&out.join("vitalsign.cdx.json"), &sbom::document()?)?;
        sums(&out)?;
    }
    test::empty_root(&out)?;
    at(&out, fs::remove_dir_all(out.join("work")))?;
    say(&format!("what is published is in {}", out.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes `SHA256SUMS` of every file in the folder, as `sha256sum --check` reads it.
fn sums(out: &std::path::Path) -> Result<()> {
    let mut names = Vec::new();
    for entry in at(out, fs::read_dir(out))? {
        let entry = at(out, entry)?;
        if entry.path().is_file() {
            names.push(entry.file_name());
        }
    }
    names.sort();
    let sums = output(std::process::Command::new("sha256sum").arg("--").args(names).current_dir(out))?;
    write(&out.join("SHA256SUMS"), &sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        assert_eq!(Options::parse(&[]), Ok(Options::default()));
        assert_eq!(Options::parse(&["--arm"]), Ok(Options { arm: true, test: false }));
        assert!(Options::parse(&["--armed"]).unwrap_err().contains("`--armed`"));
    }
}
