//! `vitalsign healthcheck`: asks a running server whether it is healthy, for containers that have no `curl`.
//!
//! Only reads the status code of the answer. Knows no report.

use std::{error::Error, time::Duration};

use hyper::{Request, StatusCode, Uri, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{CommandFailure, Exit, args::HealthcheckArgs, print};
use crate::run::runtime;

/// The port of `http`, for an address without one.
const HTTP_PORT: u16 = 80;

pub(super) fn run(args: &HealthcheckArgs) -> Result<Exit, CommandFailure> {
    let url = &args.url;
    let runtime = runtime().map_err(|error| CommandFailure::of(Exit::Environment, &error))?;
    let limit = args.timeout;
    let status = runtime.block_on(async { tokio::time::timeout(limit, status(url)).await });
    let status = match status {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => {
            let failed = CommandFailure::of(Exit::Environment, error.as_ref());
            return Err(failed.before(&format!("{url} gave no answer")).hint(hint(url)));
        }
        Err(_) => return Err(too_late(url, limit)),
    };
    print(&format!("{url} answered {status}\n"))?;
    Ok(if status.is_success() { Exit::Done } else { Exit::Unhealthy })
}

fn too_late(url: &Uri, limit: Duration) -> CommandFailure {
    let message = format!("{url} gave no answer within {} s", limit.as_secs_f64());
    CommandFailure::new(Exit::Environment, message).hint("give the server more time with --timeout SECONDS")
}

fn hint(url: &Uri) -> String {
    format!("see whether `vitalsign serve` listens on {}", url.authority().map_or("", |place| place.as_str()))
}

/// The status code of the answer to one GET request.
async fn status(url: &Uri) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
    let host = url.host().unwrap_or_default();
    // An IPv6 address stands in brackets in a URL, and without them everywhere else.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((name, url.port_u16().unwrap_or(HTTP_PORT))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or(host, |place| place.as_str());
    let request = Request::get(path).header(HOST, authority).body(String::new())?;
    // The connection has to be driven while the request waits for its answer.
    tokio::select! {
        answer = sender.send_request(request) => Ok(answer?.status()),
        ended = connection => Err(ended.err().map_or_else(|| "the server closed the connection".into(), Into::into)),
    }
}
