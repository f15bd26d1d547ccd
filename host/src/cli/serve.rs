//! `vitalsign serve`: the startup gate, then the checks in the background and the report over HTTP until a signal.

use std::{future::Future, io};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{
    Exit, Failure,
    args::{Global, ServeArgs},
    assemble::{House, variable},
    complain, scheduled,
};
use crate::{
    config::ServeFlags,
    files,
    serve::{self, Details, Stop, TokenSource},
};

/// The largest token file.
const MAX_TOKEN_BYTES: u64 = 4096;

pub(super) fn run(global: &Global, args: &ServeArgs) -> Result<Exit, Failure> {
    let flags = ServeFlags { listen: args.listen, allow_public_details: args.allow_public_details };
    let house = House::build(global, Some(flags))?;
    let access = access(&house.settled.server.details)?;
    house.gate()?;
    let ended = house.tasks.block_on(answer(&house, access));
    house.tasks.shutdown_background();
    ended.map(|()| Exit::Done)
}

async fn answer(house: &House, access: serve::Access) -> Result<(), Failure> {
    let address = house.settled.server.listen;
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Exit::Environment, format!("cannot listen on {address}: {error}"))
            .hint("give another address with --listen")
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    let (first, second) =
        signals().map_err(|error| Failure::new(Exit::Environment, format!("cannot wait for signals: {error}")))?;
    let _background = house.runner.start();
    let _backups = scheduled::start(house);
    complain(&format!("vitalsign: the report is at http://{bound}/health\n"));
    tokio::select! {
        () = serve::serve(listener, serve::app(house.runner.clone(), access), first) => {}
        () = second => {}
    }
    Ok(())
}

/// The first resolves at the first signal: SIGTERM comes from an orchestrator that is still sending requests, SIGINT from
/// a person. The second resolves at the second signal, whose sender no longer wants to wait for anything.
fn signals() -> io::Result<(impl Future<Output = Stop>, impl Future<Output = ()>)> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (tell, told) = oneshot::channel();
    let mut next = async move || {
        tokio::select! {
            _ = term.recv() => Stop::Gently,
            _ = int.recv() => Stop::Now,
        }
    };
    let first = async { told.await.unwrap_or(Stop::Now) };
    let second = async move {
        // Nobody listens only when the server has ended by itself.
        let _ended = tell.send(next().await);
        next().await;
    };
    Ok((first, second))
}

/// Resolves who may see details; a token that is missing or empty is a mistake, not an open door.
fn access(details: &Details) -> Result<serve::Access, Failure> {
    let source = match details {
        Details::Always => return Ok(serve::Access::Always),
        Details::Never => return Ok(serve::Access::Never),
        Details::Token(source) => source,
    };
    let (token, place) = match source {
        TokenSource::File(path) => {
            let text = files::read_text(path, MAX_TOKEN_BYTES).map_err(|error| {
                Failure::new(Exit::Config, format!("cannot read the token file {}: {error}", path.display()))
            })?;
            (text, format!("the file {}", path.display()))
        }
        TokenSource::Env(name) => (variable(name).unwrap_or_default(), format!("the environment variable {name}")),
    };
    serve::Token::new(&token).map(serve::Access::Token).ok_or_else(|| {
        Failure::new(Exit::Config, format!("server.details is \"token\", but {place} holds none"))
            .hint("put a token there, or set server.details to \"never\"")
    })
}
