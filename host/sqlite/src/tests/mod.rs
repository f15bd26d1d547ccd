//! What the room promises, shown on databases in every state that other programs leave them in.

mod beside_writers;
mod counts;
mod odd_files;
mod options;
mod queries;
mod references;
mod states;
mod structure;
