//! The signals of this process as the system knows them: which ones it was started with as ignored, how they are handed on
//! to a program that takes its place, and how a signal ends it.
//!
//! Rust's runtime ignores SIGPIPE before `main` begins, and its `exec` resets SIGPIPE and the mask of blocked signals. So
//! what this process was started with is read by a function that the loader calls before the runtime starts. Knows no
//! command; `interrupt` decides what a signal means for one.

#![expect(unsafe_code, reason = "the standard library has no call for any of this; each use has its argument")]

use std::{
    ffi::c_int,
    mem::MaybeUninit,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
    ptr,
    sync::OnceLock,
};

/// The signals that end a process which does not look after them, apart from those that tell of a bug.
pub(super) const ENDING: [c_int; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGXCPU,
];

/// What this process was started with.
struct Inherited {
    /// Bit n is set when signal n is ignored.
    ignored: u32,
    /// The signals that are blocked.
    blocked: libc::sigset_t,
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// The loader calls every function in this section once, on the only thread, before Rust's runtime starts.
// SAFETY: the section holds pointers to functions of this form, and the function neither unwinds nor needs the runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = note_what_is_inherited;

extern "C" fn note_what_is_inherited() {
    let mut ignored = 0;
    for signal in ENDING.into_iter().chain([libc::SIGPIPE]) {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a null pointer asks for the current action only, which is written to memory of the right type.
        let asked = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
        // SAFETY: the memory was zeroed, which is a valid value of this plain struct, whether or not the call succeeded.
        if asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN {
            ignored |= 1 << signal;
        }
    }
    let mut blocked = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a null set changes nothing, and the current mask is written to memory of the right type.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), blocked.as_mut_ptr()) };
    // SAFETY: the memory was zeroed, which is a valid and empty set.
    let blocked = unsafe { blocked.assume_init() };
    // The function runs once, so nothing is there yet.
    let _ = INHERITED.set(Inherited { ignored, blocked });
}

/// Whether this process was started with the signal ignored, as `nohup` and shells do it.
pub(super) fn was_ignored(signal: c_int) -> bool {
    INHERITED.get().is_some_and(|inherited| inherited.ignored & (1 << signal) != 0)
}

/// Lets the program that `command` puts in this process's place start with the signals that this process was started with.
///
/// A signal that is caught here is at its default there, so one that was ignored must not be caught before.
pub(super) fn inherit_signals(command: &mut Command) {
    let restore = || {
        let Some(inherited) = INHERITED.get() else { return Ok(()) };
        if was_ignored(libc::SIGPIPE) {
            // SAFETY: sets a disposition, and is allowed at any time.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        }
        // SAFETY: sets the mask of this thread to one that it had before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const inherited.blocked, ptr::null_mut()) };
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock; both of its calls may be made between `fork` and `exec`.
    unsafe { command.pre_exec(restore) };
}

/// Ends this process as the signal would have ended it. What comes back is for process 1, which no signal ends by itself:
/// the exit code that shells give for it.
pub(super) fn end_by(signal: c_int) -> ExitCode {
    // SAFETY: resets a disposition and sends a signal to this thread; neither touches memory.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    ExitCode::from(exit_code(signal))
}

/// What shells report for a process that a signal has ended: 128 and the number of the signal.
pub(super) fn exit_code(signal: c_int) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
