//! `vitalsign serve`: the checks in the background and the report over HTTP, until a signal.
//!
//! It listens whatever state the database is in, since whoever asks has to be told. Only with `--gate` it refuses to start.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{
    CommandFailure, Exit,
    args::{Global, ServeArgs},
    assemble::{Assembly, read_with_timeout, variable},
    gate::StartGate,
    interrupt, print_error, scheduled, status_log,
};
use crate::{
    config::ServeFlags,
    run::Selection,
    serve::{self, DetailsPolicy, Listen, Shutdown, TokenSource},
};
use vitalsign_base::files;

/// The largest token file.
const MAX_TOKEN_BYTES: u64 = 4096;

pub(super) fn run(global: &Global, args: &ServeArgs) -> Result<Exit, CommandFailure> {
    let flags = serve_flags(args.listen.as_ref(), args.allow_public_details);
    let app = Assembly::build(global, Some(flags))?;
    let details = app.effective.server.details.clone();
    let access = read_with_timeout("the token file", move || access(&details))?;
    let none = |error| {
        CommandFailure::of(Exit::Config, &error).hint("set `enabled` for at least one check in `health.checks`")
    };
    app.runner.choose(&Selection::default()).map_err(none)?;
    app.tasks.block_on(answer(&app, access, args.gate)).map(|()| Exit::Done)
}

/// What `serve` and `config check` say about the server; both ask the system for the addresses of a name.
pub(super) fn serve_flags(listen: Option<&Listen>, allow_public_details: bool) -> ServeFlags {
    ServeFlags { listen: listen.cloned(), allow_public_details, look_up: serve::look_up }
}

async fn answer(app: &Assembly, access: serve::Access, is_gated: bool) -> Result<(), CommandFailure> {
    let (mut first, second) = signals()
        .map_err(|error| CommandFailure::new(Exit::Environment, format!("cannot wait for signals: {error}")))?;
    if is_gated {
        let allow_missing = app.effective.guard.allow_missing;
        let how_to_allow = "set `guard.allowMissing` to true in the configuration";
        let gate = StartGate { app, what: "the server", allow_missing, how_to_allow, wait: Duration::ZERO };
        tokio::select! {
            passed = gate.pass() => {
                passed?.iter().for_each(|finding| tracing::warn!("started in spite of this: {finding}"));
            }
            _ = &mut first => return Ok(()),
        }
    }
    let settings = &app.effective.server;
    let listeners = serve::bind(&settings.addresses)
        .await
        .map_err(|error| CommandFailure::of(Exit::Environment, &error).hint("give another address with --listen"))?;
    let bound = settings.listen.bound(&listeners);
    tokio::spawn(status_log::log(app.runner.changes()));
    let _background = app.runner.start();
    let scheduled = scheduled::start(app);
    let turns = scheduled.turns();
    let first = async move {
        let stop = first.await;
        turns.end();
        stop
    };
    print_error(&format!("vitalsign: the report is at http://{bound}/health\n"));
    tokio::select! {
        () = serve::serve(listeners, serve::routes(app.runner.clone(), access), first) => scheduled.ended().await,
        () = second => {}
    }
    Ok(())
}

/// The first resolves at the first signal: SIGTERM comes from an orchestrator that is still sending requests, SIGINT from
/// a person. The second resolves at the second signal, whose sender no longer wants to wait for anything.
///
/// SIGHUP is not one of them: it is what a terminal sends that closes, and what other servers read their configuration at.
fn signals() -> io::Result<(impl Future<Output = Shutdown> + Unpin, impl Future<Output = ()>)> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    interrupt::leave_to_the_command();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP is ignored; restart the server to have it read its configuration again");
        }
    });
    let (tell, told) = oneshot::channel();
    let mut next = async move || {
        tokio::select! {
            _ = term.recv() => Shutdown::Gracefully,
            _ = int.recv() => Shutdown::Now,
        }
    };
    let receiving = tokio::spawn(async move {
        // Nobody listens only when the server has ended by itself.
        let _ended = tell.send(next().await);
        next().await;
    });
    let first = Box::pin(async { told.await.unwrap_or(Shutdown::Now) });
    let second = async move { drop(receiving.await) };
    Ok((first, second))
}

/// Resolves who may see details; a token that is missing or empty is a mistake, not an open door.
pub(super) fn access(details: &DetailsPolicy) -> Result<serve::Access, CommandFailure> {
    let source = match details {
        DetailsPolicy::Always => return Ok(serve::Access::Always),
        DetailsPolicy::Never => return Ok(serve::Access::Never),
        DetailsPolicy::Token(source) => source,
    };
    let (token, place) = match source {
        TokenSource::File(path) => {
            let text = files::read_text(path, MAX_TOKEN_BYTES).map_err(|error| {
                CommandFailure::new(Exit::Config, format!("cannot read the token file {}: {error}", path.display()))
            })?;
            (text, format!("the file {}", path.display()))
        }
        TokenSource::Env(name) => (variable(name).unwrap_or_default(), format!("the environment variable {name}")),
    };
    serve::Token::new(&token).map(serve::Access::Token).ok_or_else(|| {
        CommandFailure::new(
            Exit::Config,
            format!("`server.details` is `token`, but {place} contains no token that a client could send"),
        )
        .hint("put one line of printable ASCII characters there, or set `server.details` to `never`")
    })
}
