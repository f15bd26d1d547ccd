//! Archives on standard input and standard output, which `-` stands for. Knows no archive format.

use std::{
    env,
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::{
    CommandFailure, Exit,
    interrupt::{self, until_signal},
};
use vitalsign_base::files;

/// The longest archive that is taken from standard input, in bytes: what does not end is not an archive.
const MAX_INPUT_BYTES: u64 = 1 << 42;

/// What an archive from standard input is called in messages.
const INPUT: &str = "standard-input";

/// Whether a path means standard input or output.
pub(super) fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// An archive that came on standard input; dropping it removes it.
pub(super) struct Received {
    /// Where it is kept.
    pub(super) path: PathBuf,
    _folder: tempfile::TempDir,
}

/// A private folder for what passes through, where temporary files go. From now on a signal has it removed first.
pub(super) fn private_folder() -> Result<tempfile::TempDir, CommandFailure> {
    interrupt::note_the_first();
    let scratch = env::temp_dir();
    files::temporary_folder(&scratch).map_err(|error| {
        CommandFailure::io("create a folder in", &scratch, &error).hint("name a folder that can be written with TMPDIR")
    })
}

/// Takes an archive from standard input into a private file: it is read twice.
pub(super) fn received() -> Result<Received, CommandFailure> {
    if io::stdin().is_terminal() {
        let what = "`-` means an archive on standard input, and standard input is a terminal";
        return Err(CommandFailure::new(Exit::Usage, what).hint("pipe an archive into the command, or name a file"));
    }
    let folder = private_folder()?;
    let path = folder.path().join(INPUT);
    let failed = |error: io::Error| {
        CommandFailure::io("copy the archive on standard input to", &path, &error)
            .hint("temporary files go to the folder that TMPDIR names: free some space there, or name another one")
    };
    let mut file = files::create_private(&path).map_err(failed)?;
    // The program before this one in the pipe may send nothing for as long as it likes.
    let taken = until_signal(move || io::copy(&mut io::stdin().lock().take(MAX_INPUT_BYTES), &mut file));
    let taken = taken?.map_err(failed)?;
    if taken == MAX_INPUT_BYTES {
        return Err(CommandFailure::new(
            Exit::Refused,
            format!("standard input has more than {MAX_INPUT_BYTES} bytes"),
        ));
    }
    Ok(Received { path, _folder: folder })
}

/// Refuses a terminal as the destination of an archive.
pub(super) fn refuse_terminal() -> Result<(), CommandFailure> {
    if !io::stdout().is_terminal() {
        return Ok(());
    }
    let what = "`--out -` writes the archive to standard output, and standard output is a terminal";
    Err(CommandFailure::new(Exit::Usage, what).hint("redirect it to a file or a program"))
}

/// Writes a finished archive to standard output.
pub(super) fn send(archive: &Path) -> Result<(), CommandFailure> {
    let mut file = files::open_regular(archive).map_err(|error| CommandFailure::io("read", archive, &error))?;
    // The program after this one in the pipe may read nothing for as long as it likes.
    let sent = until_signal(move || {
        let mut out = io::stdout().lock();
        io::copy(&mut file, &mut out).and_then(|_| out.flush())
    });
    sent?.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandFailure::new(
            Exit::Environment,
            "the program that reads the archive from standard output ended before it had all of it",
        ),
        _ => CommandFailure::new(Exit::Environment, format!("cannot write the archive to standard output: {error}")),
    })
}
