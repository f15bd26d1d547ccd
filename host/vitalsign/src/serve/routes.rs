//! The routes: what is asked, who may see what, and the status code that says it.
//!
//! Knows no socket, so it is tested without one. Every answer comes from what the runner last saw; nothing here runs a check.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
    routing::get,
};
use serde_json::json;

use super::{
    access::Access,
    cache::{Rendered, ReportCache},
};
use crate::run::{Runner, Selection};
use vitalsign_base::{clock::Stopwatch, value};
use vitalsign_check::{
    READY_GROUP,
    report::{Severity, Status, Weight, severity},
};

/// The longest part of an unknown path that an answer repeats, in bytes.
const MAX_PATH_BYTES: usize = 200;

/// The methods that are answered.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// The server's routes and what they share.
pub struct Routes {
    shared: Arc<RouteState>,
}

struct RouteState {
    runner: Arc<Runner>,
    access: Access,
    whole: ReportCache,
    /// `None` when no enabled check counts for readiness.
    ready: Option<ReportCache>,
    stopping: AtomicBool,
    started: Stopwatch,
}

/// The routes over what `runner` knows, with details for whom `access` allows.
#[must_use]
pub fn routes(runner: Arc<Runner>, access: Access) -> Routes {
    let group = Selection { group: Some(READY_GROUP.to_owned()), ..Selection::default() };
    let ready = runner.choose(&group).ok().map(|chosen| ReportCache::new(Some(chosen)));
    let whole = ReportCache::new(None);
    let (stopping, started) = (AtomicBool::new(false), Stopwatch::start());
    Routes { shared: Arc::new(RouteState { runner, access, whole, ready, stopping, started }) }
}

impl Routes {
    /// The routes, to be served or called.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health", get(health).options(options))
            .route("/health/{check}", get(one).options(options))
            .route("/livez", get(livez).options(options))
            .route("/readyz", get(readyz).options(options))
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .with_state(Arc::clone(&self.shared))
    }

    /// From now on `/readyz` says that nothing more should be sent here. Everything else stays as it is.
    pub fn begin_stopping(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }
}

type HttpResponse = Response<Body>;

async fn health(State(app): State<Arc<RouteState>>, headers: HeaderMap) -> HttpResponse {
    let Rendered { severity, body } = app.whole.get(&app.runner);
    let code = code(severity);
    if app.access.allows(&headers) { answer(code, body) } else { answer(code, status_only(severity.as_str())) }
}

async fn one(
    State(app): State<Arc<RouteState>>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> HttpResponse {
    // A path that is not even text names no check.
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let allowed = app.access.allows(&headers);
    match app.runner.entry(&name) {
        Ok(entry) => {
            // Asked for by itself, a check answers for itself, whether or not it is critical to the whole.
            let code = code(severity(entry.status, Weight::Critical));
            let full = || serde_json::to_vec(&entry).unwrap_or_default().into();
            answer(code, if allowed { full() } else { status_only(entry.status.as_str()) })
        }
        Err(error) if allowed => sentence(StatusCode::NOT_FOUND, &error.to_string()),
        Err(_) => sentence(StatusCode::NOT_FOUND, "there is no such check"),
    }
}

async fn livez(State(app): State<Arc<RouteState>>, RawQuery(query): RawQuery, headers: HeaderMap) -> HttpResponse {
    if is_verbose(query.as_deref()) && app.access.allows(&headers) {
        let body = json!({
            "status": Status::Ok,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": app.started.elapsed().as_secs(),
        });
        return answer(StatusCode::OK, body.to_string().into());
    }
    answer(StatusCode::OK, status_only(Status::Ok.as_str()))
}

async fn readyz(State(app): State<Arc<RouteState>>, RawQuery(query): RawQuery, headers: HeaderMap) -> HttpResponse {
    let verbose = is_verbose(query.as_deref()) && app.access.allows(&headers);
    let unready = |reason: String| Rendered {
        severity: Severity::Error,
        body: json!({ "status": Severity::Error, "warnings": [], "errors": [reason], "checks": [] }).to_string().into(),
    };
    let Rendered { severity, body } = match &app.ready {
        _ if app.stopping.load(Ordering::Relaxed) => unready("the server is stopping".to_owned()),
        Some(ready) => ready.get(&app.runner),
        None => unready(format!(
            "no enabled check is in the group `{READY_GROUP}`; add one to it with `health.checks.NAME.groups`"
        )),
    };
    answer(code(severity), if verbose { body } else { status_only(severity.as_str()) })
}

/// What balancers ask by default (`option httpchk` of HAProxy): whether anybody answers. It says nothing of the registry.
async fn options() -> HttpResponse {
    let mut answer = answer(StatusCode::OK, Bytes::new());
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::ALLOW, ALLOWED);
    answer
}

async fn no_such_path(method: Method, uri: Uri) -> HttpResponse {
    // `*` asks about the server as a whole, and so does `/` of those who cannot send that.
    if method == Method::OPTIONS && matches!(uri.path(), "/" | "*") {
        return options().await;
    }
    let path = value::printable(uri.path(), MAX_PATH_BYTES);
    let known = "/health, /health/NAME, /livez and /readyz";
    sentence(StatusCode::NOT_FOUND, &format!("the path {path} does not exist; the paths are {known}"))
}

async fn no_such_method() -> HttpResponse {
    let text = "only GET, HEAD and OPTIONS are allowed";
    let mut answer = sentence(StatusCode::METHOD_NOT_ALLOWED, text);
    answer.headers_mut().insert(header::ALLOW, ALLOWED);
    answer
}

/// The answer to a request that breaks a rule of HTTP.
pub(super) fn bad_request(why: &str) -> HttpResponse {
    sentence(StatusCode::BAD_REQUEST, why)
}

fn code(severity: Severity) -> StatusCode {
    match severity {
        Severity::Ok | Severity::Warn => StatusCode::OK,
        Severity::Error => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether the query has the word `verbose`, with any value but `false` and `0`.
fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        query.split('&').any(|pair| match pair.split_once('=') {
            Some((key, value)) => key == "verbose" && !matches!(value, "false" | "0"),
            None => pair == "verbose",
        })
    })
}

/// All that whoever may not see details is shown.
fn status_only(status: &'static str) -> Bytes {
    match status {
        "ok" => Bytes::from_static(br#"{"status":"ok"}"#),
        "warn" => Bytes::from_static(br#"{"status":"warn"}"#),
        "unknown" => Bytes::from_static(br#"{"status":"unknown"}"#),
        "skipped" => Bytes::from_static(br#"{"status":"skipped"}"#),
        _ => Bytes::from_static(br#"{"status":"error"}"#),
    }
}

fn sentence(code: StatusCode, text: &str) -> HttpResponse {
    answer(code, json!({ "error": text }).to_string().into())
}

fn answer(code: StatusCode, body: Bytes) -> HttpResponse {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
