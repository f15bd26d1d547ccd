//! A progress bar on standard error, where that is a terminal.
//!
//! The only file that knows the library for it.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt;
use crate::backup::Progress;

/// How often the bar is drawn anew by itself, in milliseconds: while a database is checked nothing else moves it.
const TICK_MS: u64 = 200;

/// Whether standard error is a terminal, so that somebody may be watching.
pub(super) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// The bar of the command; shows nothing where nobody watches.
pub(super) struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    pub(super) fn new() -> Self {
        interrupt::note_the_first();
        Self(Mutex::new(None))
    }

    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn begin(&self, doing: &'static str, bytes: u64) {
        if !is_watched() {
            return;
        }
        let (bar, template) = match bytes {
            0 => (ProgressBar::new_spinner(), "{spinner} {msg}, {elapsed}"),
            _ => (
                ProgressBar::new(bytes),
                "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
            ),
        };
        // The templates are constants that are right.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(doing);
        bar.enable_steady_tick(std::time::Duration::from_millis(TICK_MS));
        self.with(|shown| *shown = Some(bar));
    }

    fn is_cancelled(&self) -> bool {
        interrupt::received_signal().is_some()
    }

    fn at(&self, bytes: u64) {
        self.with(|shown| {
            if let Some(bar) = shown {
                bar.set_position(bytes);
            }
        });
    }

    fn end(&self) {
        self.with(|shown| {
            if let Some(bar) = shown.take() {
                bar.finish_and_clear();
            }
        });
    }
}
