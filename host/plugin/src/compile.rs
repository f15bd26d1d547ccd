//! Compiling a component in a child process, under a deadline and resource limits.
//!
//! Hostile WebAssembly can make a compiler take any time and memory, so it never compiles in the process that watches the
//! registry. The child is this same binary. Its standard input carries a header (the memory layout and the component's
//! length), the component, and then nothing until this process closes it: the end of the input is how the child learns that
//! its parent has ended, by whatever signal, and it ends too. The compiled code goes to its standard output.

use std::{
    io::{self, Read, Write},
    path::Path,
    process::{self, Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::engine::{self, MemoryLayout};
use vitalsign_base::{
    clock::Deadline,
    value::{bytes, printable},
};

/// The hidden command that a compiling child is started with.
pub const CHILD_COMMAND: &str = "__compile";

/// Address space of a compiling child: a JavaScript engine of 12 MiB takes about 1 GiB.
const CHILD_MEMORY_BYTES: u64 = 4 << 30;

/// Compiled code larger than this is refused: about twenty times that of the largest component.
pub(super) const MAX_CODE_BYTES: u64 = 1 << 30;

/// The largest component that a child takes: far above any `componentBytes`.
const MAX_COMPONENT_BYTES: u64 = 1 << 32;

/// How much of a child's error message is kept.
const MAX_COMPLAINT_BYTES: u64 = 4096;

/// The header of a child's input: one byte for the layout, eight for the component's length.
const HEADER_BYTES: usize = 9;

/// How long a child may take to end once it has closed its outputs or was killed. It takes milliseconds, unless it hangs in
/// a file system; then it is left to the system, so that it does not hang its parent.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused it.
    #[error("does not compile: {0}")]
    Refused(String),
    /// It took longer than `compileTimeMs`.
    #[error("was not compiled within its limit of {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// The child was ended by a signal, most likely because it ran out of memory.
    #[error("could not be compiled: the compiling process ended with {status}; it may use {} of address space", bytes(*.memory_bytes))]
    Died {
        /// How the child ended.
        status: ExitStatus,
        /// The address space that it had.
        memory_bytes: u64,
    },
    /// The child could not be started, or the connection to it broke.
    #[error("could not be compiled, because the compiling process could not be run: {0}")]
    Process(io::Error),
}

/// Compiles `component` for memories of `layout` in a child of `binary`. Blocks until `limit` and a second at the latest.
///
/// # Errors
/// [`CompileError`]; the child is killed in every case.
pub(super) fn in_child(
    binary: &Path,
    layout: MemoryLayout,
    component: &Arc<Vec<u8>>,
    limit: Duration,
) -> Result<Vec<u8>, CompileError> {
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
    let answer = converse(&mut child, layout, component, deadline);
    if answer.is_none() {
        // An error would mean that it has ended by itself.
        let _ = child.kill();
    }
    let status = ended(child);
    match answer {
        None => Err(CompileError::TooSlow(limit)),
        Some(Err(error)) => Err(CompileError::Process(error)),
        Some(Ok((code, _))) if !code.is_empty() && status.is_some_and(|status| status.success()) => Ok(code),
        Some(Ok((_, complaint))) => Err(match status {
            Some(status) if status.code().is_some() && !complaint.is_empty() => CompileError::Refused(complaint),
            Some(status) => CompileError::Died { status, memory_bytes: memory_limit_bytes() },
            None => CompileError::Process(io::Error::other("it does not end")),
        }),
    }
}

/// How a child ended that has closed its outputs or was killed; `None` when it does not end.
fn ended(mut child: Child) -> Option<ExitStatus> {
    let (tell, told) = mpsc::channel();
    // On a thread of its own, which also reaps a child that ends later. The receiver is gone then.
    thread::spawn(move || tell.send(child.wait()));
    told.recv_timeout(REAP_LIMIT).ok()?.ok()
}

/// Feeds the child and collects its code and its error message; `None` when the deadline comes first.
///
/// The threads that do so hold nothing of the caller's, so that a child that cannot even be killed does not hold it up.
fn converse(
    child: &mut Child,
    layout: MemoryLayout,
    component: &Arc<Vec<u8>>,
    deadline: Deadline,
) -> Option<io::Result<(Vec<u8>, String)>> {
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let component = Arc::clone(component);
    // Kept to the end of this function, for what it returns.
    let _feed = thread::spawn(move || {
        // A child that refuses early closes the pipe, and says why on its standard error.
        let send = |pipe: &mut ChildStdin| {
            pipe.write_all(&header(layout, &component)).and_then(|()| pipe.write_all(&component))
        };
        let _ = stdin.as_mut().map(send);
        // Stays open: the child takes the end of its input for the end of this process.
        stdin
    });
    let (complain, complaint) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        stderr.map(|pipe| pipe.take(MAX_COMPLAINT_BYTES).read_to_end(&mut text));
        // Each receiver is gone only when the deadline has passed.
        let _ = complain.send(String::from_utf8_lossy(&text).trim().to_owned());
    });
    let (deliver, delivered) = mpsc::channel();
    thread::spawn(move || {
        let mut code = Vec::new();
        let read = stdout.map_or(Ok(0), |pipe| pipe.take(MAX_CODE_BYTES).read_to_end(&mut code));
        let _ = deliver.send(read.map(|_| code));
    });
    let code = delivered.recv_timeout(deadline.remaining()).ok()?;
    let complaint = complaint.recv_timeout(deadline.remaining()).ok()?;
    Some(code.map(|code| (code, printable(&complaint, 1000))))
}

fn header(layout: MemoryLayout, component: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [layout.to_byte(); HEADER_BYTES];
    header[1..].copy_from_slice(&(component.len() as u64).to_le_bytes());
    header
}

/// The address space that a compiling child has: its own limit, or less where this process has less.
pub(super) fn memory_limit_bytes() -> u64 {
    getrlimit(Resource::As).current.map_or(CHILD_MEMORY_BYTES, |limit| limit.min(CHILD_MEMORY_BYTES))
}

/// The body of the compiling child: reads a component, writes its compiled code, and ends with its parent.
///
/// # Errors
/// A sentence for standard error: what the compiler or the system said.
pub fn child_main(cpu_seconds: u64) -> Result<(), String> {
    restrict(cpu_seconds).map_err(|error| format!("cannot limit the compiling process: {error}"))?;
    let (layout, component) = input()?;
    let engine = engine::compiling(layout).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    io::stdout().lock().write_all(&code).map_err(|error| format!("cannot hand over the code: {error}"))
}

/// Reads what the parent sends. From then on a thread of its own waits for the end of the input and ends this process.
#[expect(
    clippy::disallowed_methods,
    reason = "this process has nothing to finish when nobody is left to take its code"
)]
fn input() -> Result<(MemoryLayout, Vec<u8>), String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut parent = io::stdin().lock();
        // The receiver waits in this same function.
        let _ = sender.send(read_input(&mut parent));
        // Nothing more is ever sent: this returns when every copy of the other end is closed.
        let _ = parent.read(&mut [0]);
        process::exit(1)
    });
    let read = receiver.recv().map_err(|error| format!("cannot read the component: {error}"))?;
    read.map_err(|error| format!("cannot read the component: {error}"))
}

fn read_input(parent: &mut impl Read) -> io::Result<(MemoryLayout, Vec<u8>)> {
    let mut header = [0; HEADER_BYTES];
    parent.read_exact(&mut header)?;
    let [layout, length @ ..] = header;
    let layout = MemoryLayout::from_byte(layout).ok_or(io::ErrorKind::InvalidData)?;
    let length = u64::from_le_bytes(length).min(MAX_COMPONENT_BYTES);
    let mut component = Vec::new();
    if parent.take(length).read_to_end(&mut component)? as u64 == length {
        Ok((layout, component))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn restrict(cpu_seconds: u64) -> rustix::io::Result<()> {
    let at_most = |resource, limit: u64| {
        // A limit that is lower already stays: only root could raise it, and root does not want to.
        let limit = getrlimit(resource).maximum.map_or(limit, |maximum| limit.min(maximum));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
    };
    // Two cores' worth of the wall-clock limit, which the parent keeps.
    at_most(Resource::Cpu, cpu_seconds.saturating_mul(2))?;
    at_most(Resource::As, memory_limit_bytes())?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_reads_what_the_parent_sends() {
        for layout in [MemoryLayout::Reserved, MemoryLayout::Compact] {
            let sent = [&header(layout, b"abc")[..], b"abc"].concat();
            assert_eq!(read_input(&mut &sent[..]).unwrap(), (layout, b"abc".to_vec()));
            assert!(read_input(&mut &sent[..11]).is_err(), "a component that was cut short is not compiled");
        }
        assert!(read_input(&mut &[9; 20][..]).is_err());
    }
}
