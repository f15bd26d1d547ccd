//! The server that `/health` is measured against: one axum route that returns a file's bytes, and nothing else.
//!
//! `bare_axum ADDRESS FILE`, run by `cargo xtask bench`.
#![expect(clippy::disallowed_methods, reason = "not part of the product: it reads its one file as plainly as it can")]

use std::{error::Error, fs};

use axum::{Router, body::Bytes, http::header, routing::get};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(file)) = (words.next(), words.next()) else {
        return Err("usage: bare_axum ADDRESS FILE".into());
    };
    let body = Bytes::from(fs::read(file)?);
    let route = get(move || async move { ([(header::CONTENT_TYPE, "application/json")], body) });
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, Router::new().route("/health", route)).await?;
    Ok(())
}
