//! Ctrl-C and SIGTERM during a command that takes long: the first is asked about, the second ends the process.
//!
//! Knows nothing of what is under way; whoever does it asks now and then, and tidies up after itself.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Has the first signal noted from now on instead of ending the process.
pub(super) fn note_the_first() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let listen = move || {
            let Ok(tasks) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
            tasks.block_on(async {
                let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                // Nobody waits any more only when the command is over.
                let _ = ready.send(());
                for count in 0.. {
                    tokio::select! {
                        _ = int.recv() => {}
                        _ = term.recv() => {}
                    }
                    INTERRUPTED.store(true, Ordering::SeqCst);
                    if count > 0 {
                        // Whoever sends it twice no longer wants to wait for anything, and a kill leaves nothing half done.
                        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                    }
                }
            });
        };
        // Without the thread a signal ends the process at once, which is safe as well.
        if std::thread::Builder::new().name("signals".to_owned()).spawn(listen).is_ok() {
            let _ = is_ready.recv();
        }
    });
}

/// Whether a signal has come.
pub(super) fn has_come() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
