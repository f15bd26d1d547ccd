//! The report over HTTP.
//!
//! The only room that knows axum. A GET reads what the runner last saw and never runs a check.

mod access;
mod cache;
mod host;
mod listen;

mod routes;

mod connection;

mod server;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf};

pub use access::{Access, Token};
pub use listen::{BadListen, BindError, Listen, bind, is_public, look_up};
pub use routes::{Routes, routes};
pub use server::{Shutdown, serve};

/// What the server is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen, as it is written.
    pub listen: Listen,
    /// The addresses that this stands for; none where nothing is to be served, since a name would have to be looked up.
    pub addresses: Vec<SocketAddr>,
    /// Who is shown more than the status.
    pub details: DetailsPolicy,
}

/// Who is shown more than `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetailsPolicy {
    /// Everybody who can connect.
    Always,
    /// Nobody.
    Never,
    /// Whoever sends this bearer token.
    Token(TokenSource),
}

/// Where the bearer token comes from; it never stands in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// The content of a file, trailing white space removed.
    File(PathBuf),
    /// An environment variable of this name.
    Env(String),
}
