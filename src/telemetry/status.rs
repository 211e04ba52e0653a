//! The status listener: `/status`, `/status/ready`, `/metrics` and the log level.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::prometheus::{self, Wanted};
use super::{LogLevel, standings, tokens, upstreams};
use crate::loader::History;
use crate::server::proxy_protocol;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// What the status listener can tell.
pub struct Status {
    /// The process.
    pub shared: Arc<Shared>,
    /// The configuration in force.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// What was loaded when.
    pub history: Arc<History>,
    /// The process is on its way out, or somebody has said so beforehand.
    pub draining: AtomicBool,
    /// Workers that take requests.
    pub ready: Arc<AtomicUsize>,
    /// What is logged.
    pub log_level: LogLevel,
}

/// A listener that is bound and not served yet.
pub struct StatusListener {
    /// The socket.
    pub listener: std::net::TcpListener,
    /// TLS, if it speaks that.
    pub tls: Option<Arc<ServerConfig>>,
    /// A PROXY header comes first; whom it names is of no matter here.
    pub proxy_protocol: bool,
}

/// The longest body of a request to the status listener, bytes.
const ANNOUNCEMENT: usize = 1024;

/// Connections at once: probes and scrapers need a handful.
const CONNECTIONS: usize = 256;
/// How long a PROXY header, a handshake or a head may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers on a listener until its task is dropped.
pub async fn serve(listening: StatusListener, status: Arc<Status>) {
    let StatusListener { listener, tls, proxy_protocol } = listening;
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("status_listen: {error}"),
    };
    let tls = tls.map(TlsAcceptor::from);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = status.clone().connection(stream, tls.clone(), proxy_protocol);
        drop(tokio::task::spawn_local(async move {
            connection.await;
            drop(place);
        }));
    }
}

impl Status {
    async fn connection(
        self: Arc<Self>,
        mut stream: TcpStream,
        tls: Option<TlsAcceptor>,
        proxy_protocol: bool,
    ) {
        if proxy_protocol {
            let header = tokio::time::timeout(PATIENCE, proxy_protocol::read(&mut stream));
            let Ok(Ok(_)) = header.await else { return };
        }
        let Some(tls) = tls else { return self.speak(stream).await };
        let shaken = tokio::time::timeout(PATIENCE, tls.accept(stream)).await;
        if let Ok(Ok(stream)) = shaken {
            self.speak(stream).await;
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, stream: S) {
        let service = service_fn(move |request: Request<Incoming>| {
            let status = self.clone();
            async move { Ok::<_, Infallible>(status.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        let _ = connection.await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if *request.method() == Method::POST && request.uri().path() == "/status/ready" {
            return self.announce(request).await;
        }
        if let (&Method::PUT, Some(level)) = (request.method(), level_of(request.uri().path())) {
            let level = level.to_owned();
            return self.change_level(&level, request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        }
        match request.uri().path() {
            "/status" => reply(StatusCode::OK, "application/json", self.status()),
            "/status/ready" => self.readiness(),
            LOG_LEVEL => {
                let text = format!("log level: {}", self.log_level.current());
                message(StatusCode::OK, &text)
            }
            "/metrics" => self.metrics().await,
            _ => message(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    fn status(&self) -> String {
        let healths = self.shared.healths.list();
        let snapshot = self.snapshot.borrow();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "configuration_hash": snapshot.hash,
            "loads": self.history.json(),
            "log_level": self.log_level.current(),
            "log_level_reverts_in_secs": self.log_level.reverts_in().map(|left| left.as_secs()),
            "workers": self.shared.settings.workers,
            "memory": {"buffered_body_bytes": self.shared.budget.used()},
            "azure_identities": tokens::describe(&self.shared.tokens.list()),
            "ai_targets": standings::describe(&self.shared.standings.list()),
            "upstreams": upstreams::describe(&healths),
            "upstream_addresses": upstreams::describe_addresses(&healths),
            "entities": {
                "services": snapshot.services.len(),
                "routes": snapshot.routes.len(),
                "consumers": snapshot.consumers.len(),
                "plugins": snapshot.plugins.len(),
                "upstreams": snapshot.upstreams.len(),
            },
        })
        .to_string()
    }

    /// Kong's `status=draining`: load balancers are told before the process is. Nothing else
    /// changes, and only the end of the process takes it back.
    async fn announce(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let wanted = argument(request, "status").await;
        if wanted.as_deref() != Some("draining") {
            return message(StatusCode::BAD_REQUEST, "expected status=draining");
        }
        self.draining.store(true, Ordering::Relaxed);
        message(StatusCode::OK, "draining")
    }

    /// Kong's `PUT /debug/node/log-level/{level}`, which it has on its Admin API.
    async fn change_level(&self, level: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
        const DEFAULT: f64 = 60.0;
        let timeout = argument(request, "timeout").await;
        let timeout = timeout.map_or(Ok(DEFAULT), |text| text.parse::<f64>()).map(f64::ceil);
        if !LogLevel::knows(level) {
            return message(StatusCode::BAD_REQUEST, &format!("unknown log level: {level}"));
        }
        let Some(timeout) = timeout.ok().filter(|seconds| *seconds >= 0.0) else {
            let text = "timeout must be greater than or equal to 0";
            return message(StatusCode::BAD_REQUEST, text);
        };
        if self.log_level.current() == level {
            return message(StatusCode::OK, &format!("log level is already {level}"));
        }
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
        let change = self.log_level.change(level, timeout);
        drop(tokio::task::spawn_local(change));
        message(StatusCode::OK, "log level changed")
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.draining.load(Ordering::Relaxed) {
            return message(StatusCode::SERVICE_UNAVAILABLE, "draining");
        }
        let (ready, all) = (self.ready.load(Ordering::Acquire), self.shared.settings.workers);
        if ready < all {
            let text =
                format!("router builds not yet complete, router ready on {ready} of {all} workers");
            return message(StatusCode::SERVICE_UNAVAILABLE, &text);
        }
        if let Some(text) = self.shared.vms.held_up(all) {
            return message(StatusCode::SERVICE_UNAVAILABLE, &text);
        }
        message(StatusCode::OK, "ready")
    }

    /// What Kong's own prometheus plugin has counted, where it runs as Lua.
    async fn counted_by_lua(&self) -> Option<String> {
        // A worker that is stuck must not keep what all others know.
        const PATIENCE: Duration = Duration::from_secs(3);
        if !self.shared.metrics_of_lua.load(Ordering::Relaxed) {
            return None;
        }
        let answer = tokio::time::timeout(PATIENCE, self.shared.dicts.ask("metrics")).await;
        Some(String::from_utf8_lossy(&answer.ok()?.ok()?).into_owned())
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let counted = self.counted_by_lua().await;
        let shared = &self.shared;
        let health = || upstreams::render(&shared.healths.list());
        let refused = shared.budget.refused();
        let ours = tokens::render(&shared.tokens.list())
            + &standings::render(&shared.standings.list())
            + &shared.vms.render()
            + &format!(
                "# HELP silverback_buffer_refusals_total Bodies that silverback_buffer_budget had \
                 no room for\n# TYPE silverback_buffer_refusals_total counter\n\
                 silverback_buffer_refusals_total {refused}\n"
            );
        let Some(wanted) = Wanted::of(&self.snapshot.borrow()) else {
            let text = shared.metrics.render() + &health() + &ours;
            return reply(StatusCode::OK, "text/plain; version=0.0.4", text);
        };
        let mut text =
            counted.unwrap_or_else(|| shared.kong_metrics.render() + &prometheus::node(shared));
        if wanted.upstream_health {
            text += &health();
        }
        text += &shared.metrics.render_where(|name| !prometheus::is_kongs(name));
        reply(StatusCode::OK, "text/plain; charset=UTF-8", text + &ours)
    }
}

/// Where the log level is, as in Kong.
const LOG_LEVEL: &str = "/debug/node/log-level";

/// The level that a path names.
fn level_of(path: &str) -> Option<&str> {
    path.strip_prefix(LOG_LEVEL)?.strip_prefix('/').filter(|level| !level.is_empty())
}

/// An argument of a request: in its query, a form, or a JSON object.
async fn argument(request: Request<Incoming>, name: &str) -> Option<String> {
    let in_form = |form: &[u8]| {
        let mut pairs = url::form_urlencoded::parse(form);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    if let Some(value) = request.uri().query().and_then(|query| in_form(query.as_bytes())) {
        return Some(value);
    }
    let kind = request.headers().get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let body = Limited::new(request.into_body(), ANNOUNCEMENT).collect().await.ok()?.to_bytes();
    if !is_json {
        return in_form(&body);
    }
    let json: serde_json::Value = serde_json::from_slice(&body).ok()?;
    match json.get(name)? {
        serde_json::Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

fn message(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    reply(status, "application/json", json!({ "message": text }).to_string())
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
