//! The signals that end a process, SIGINT, SIGTERM and SIGHUP above all: what they do to a command that may last.
//!
//! - A command that changes nothing is ended by the system, as any program is. Process 1 of a container is not: there a
//!   signal without a handler does nothing, so it is ended from here.
//! - A command that has to tidy up notes the first signal, and whoever does the work asks now and then. A second signal
//!   ends the process at once, which leaves nothing half done either.
//! - `serve` has signals of its own, and says so.
//!
//! A signal that was ignored when the process was started (`nohup`) stays ignored. Knows nothing of what is under way.

use std::{
    ffi::c_int,
    future::poll_fn,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicI32, AtomicU8, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::signals::ENDING;
use super::{CommandFailure, Exit, signals};

/// A signal ends the process.
const ENDS: u8 = 0;
/// The first signal is noted.
const NOTED: u8 = 1;
/// The command looks after signals by itself.
const OWN: u8 = 2;

static MEANING: AtomicU8 = AtomicU8::new(ENDS);
/// The number of the first signal that was noted; 0 before it has come.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Has signals end this process if it is process 1, where the system would not.
pub(super) fn end_process_one() {
    if process::id() == 1 {
        listen();
    }
}

/// Has the first signal noted from now on instead of ending the process.
pub(super) fn note_the_first() {
    MEANING.store(NOTED, Ordering::SeqCst);
    listen();
}

/// From now on the command looks after signals by itself.
pub(super) fn leave_to_the_command() {
    MEANING.store(OWN, Ordering::SeqCst);
}

/// The signal that was noted, if one has come.
pub(super) fn received_signal() -> Option<c_int> {
    Some(RECEIVED.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// How often is looked for a signal while something waits that no signal wakes.
const LOOK: Duration = Duration::from_millis(100);

/// Does `work`, which may wait for another program for ever, unless a signal comes first.
///
/// # Errors
/// When one comes; the work is then left behind, and must hold nothing that the rest of the command waits for.
pub(super) fn until_signal<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CommandFailure> {
    let (tell, told) = mpsc::channel();
    let run = move || {
        // Nobody listens any more once a signal has come.
        let _ = tell.send(work());
    };
    thread::Builder::new().name("pipe".to_owned()).spawn(run).map_err(|error| {
        CommandFailure::new(Exit::Environment, format!("the system starts no thread: {error}"))
            .hint("raise the limit on processes (`ulimit -u`, or that of the container), or try again")
    })?;
    while received_signal().is_none() {
        match told.recv_timeout(LOOK) {
            Ok(done) => return Ok(done),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(CommandFailure::new(Exit::Bug, "the thread that reads or writes a pipe has ended"));
            }
        }
    }
    Err(CommandFailure::new(Exit::Environment, "the command was interrupted"))
}

/// Starts the thread that receives signals, once.
fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let (ready, is_ready) = mpsc::channel();
        let listen = move || {
            let Ok(tasks) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
            tasks.block_on(async {
                let mut streams: Vec<_> = ENDING.iter().filter_map(|one| Some((*one, unless_ignored(*one)?))).collect();
                // Nobody waits any more only when the command is over.
                let _ = ready.send(());
                loop {
                    take(next(&mut streams).await);
                }
            });
        };
        // Without the thread a signal ends the process at once, which is safe as well.
        if thread::Builder::new().name("signals".to_owned()).spawn(listen).is_ok() {
            let _ = is_ready.recv();
        }
    });
}

/// The stream of a signal; `None` for one that was ignored when the process was started, and stays so.
fn unless_ignored(number: c_int) -> Option<Signal> {
    if signals::was_ignored(number) { None } else { signal(SignalKind::from_raw(number)).ok() }
}

/// The number of the next signal.
async fn next(streams: &mut [(c_int, Signal)]) -> c_int {
    poll_fn(|context| {
        for (number, stream) in streams.iter_mut() {
            if stream.poll_recv(context).is_ready() {
                return Poll::Ready(*number);
            }
        }
        Poll::Pending
    })
    .await
}

fn take(signal: c_int) {
    let meaning = MEANING.load(Ordering::SeqCst);
    let is_first = RECEIVED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if meaning == OWN || (meaning == NOTED && is_first) {
        return;
    }
    if meaning == NOTED {
        // Whoever sends it twice no longer wants to wait for anything. Process 1 is not killed by this, and goes on below.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    end(signal);
}

#[expect(clippy::disallowed_methods, reason = "nothing is to be tidied up, and `main` may be blocked for ever")]
fn end(signal: c_int) -> ! {
    process::exit(signals::exit_code(signal).into())
}
