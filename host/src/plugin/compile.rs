//! Compiling a component in a child process, under a deadline and resource limits.
//!
//! Hostile wasm can make a compiler take any time and memory, so it never compiles in the process that watches the registry.
//! The child is this same binary: the component comes on its standard input, the compiled code goes to its standard output.

use std::{
    io::{self, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::engine;
use crate::{
    clock::Deadline,
    value::{bytes, printable},
};

/// The hidden command that a compiling child is started with.
pub const CHILD_COMMAND: &str = "__compile";

/// Address space of a compiling child: a JavaScript engine of 12 MiB takes about 1 GiB.
const CHILD_MEMORY_BYTES: u64 = 4 << 30;

/// Compiled code larger than this is refused: some twenty times the largest component.
const MAX_CODE_BYTES: u64 = 1 << 30;

/// What is kept of a child's complaint.
const MAX_COMPLAINT_BYTES: u64 = 4096;

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it, in its own words.
    #[error("does not compile: {0}")]
    Refused(String),
    /// It took longer than `compileTimeMs`.
    #[error("was still compiling after {0} ms, which is its limit compileTimeMs")]
    TooSlow(u128),
    /// The child ended by a signal: most likely its memory limit.
    #[error("could not be compiled within {} of memory: the compiler ended with {status}", bytes(CHILD_MEMORY_BYTES))]
    Died {
        /// How the child ended.
        status: ExitStatus,
    },
    /// The child could not be started or talked to.
    #[error("could not be compiled, since the compiling process could not be run")]
    Process(#[source] io::Error),
}

/// Compiles `component` in a child of `binary`.
///
/// # Errors
/// [`CompileError`]; the child is gone in every case.
pub(super) fn in_child(binary: &Path, component: &[u8], limit: std::time::Duration) -> Result<Vec<u8>, CompileError> {
    let deadline = Deadline::after(limit);
    let mut child = Command::new(binary)
        .arg(CHILD_COMMAND)
        .arg(limit.as_secs().max(1).to_string())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(CompileError::Process)?;
    let answer = converse(&mut child, component, deadline);
    // Without effect on a child that has ended.
    let killed = child.kill();
    let status = child.wait().map_err(CompileError::Process)?;
    killed.map_err(CompileError::Process)?;
    match answer {
        None => Err(CompileError::TooSlow(limit.as_millis())),
        Some(Err(error)) => Err(CompileError::Process(error)),
        Some(Ok((code, _))) if status.success() && !code.is_empty() => Ok(code),
        Some(Ok((_, complaint))) if status.code().is_some() && !complaint.is_empty() => {
            Err(CompileError::Refused(complaint))
        }
        Some(Ok(_)) => Err(CompileError::Died { status }),
    }
}

/// Feeds the child and collects its code and its complaint; `None` when the deadline comes first.
fn converse(child: &mut Child, component: &[u8], deadline: Deadline) -> Option<io::Result<(Vec<u8>, String)>> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A child that refuses early closes the pipe; its complaint says why.
            stdin.map(|mut pipe| pipe.write_all(component))
        });
        let complaint = scope.spawn(move || {
            let mut text = Vec::new();
            stderr.map(|pipe| pipe.take(MAX_COMPLAINT_BYTES).read_to_end(&mut text));
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        scope.spawn(move || {
            let mut code = Vec::new();
            let read = stdout.map_or(Ok(0), |pipe| pipe.take(MAX_CODE_BYTES).read_to_end(&mut code));
            // The receiver is gone only when the deadline has passed.
            let _ = sender.send(read.map(|_| code));
        });
        let Ok(code) = receiver.recv_timeout(deadline.remaining()) else {
            // Ends the pipes, and with them the threads of this scope.
            let _ = child.kill();
            return None;
        };
        let complaint = complaint.join().unwrap_or_default();
        // The exit code is read only once the child has ended by itself.
        let _ = child.wait();
        Some(code.map(|code| (code, printable(&complaint, 1000))))
    })
}

/// The body of the compiling child: reads a component, writes its compiled code.
///
/// # Errors
/// A sentence for standard error: what the compiler or the system said.
pub fn child_main(cpu_seconds: u64) -> Result<(), String> {
    restrict(cpu_seconds).map_err(|error| format!("cannot limit the compiling process: {error}"))?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| format!("cannot read the component: {error}"))?;
    let engine = engine::compiling().map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    io::stdout().lock().write_all(&code).map_err(|error| format!("cannot hand over the code: {error}"))
}

fn restrict(cpu_seconds: u64) -> rustix::io::Result<()> {
    let at_most = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    // Two cores' worth of the wall-clock limit, which the parent keeps.
    setrlimit(Resource::Cpu, at_most(cpu_seconds.saturating_mul(2)))?;
    setrlimit(Resource::As, at_most(CHILD_MEMORY_BYTES))?;
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::Fsize, at_most(0))
}
