//! The status listener: `/status`, `/status/ready` and `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{tokens, upstreams};
use crate::loader::History;
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
}

/// The longest body of a request to the status listener, bytes.
const ANNOUNCEMENT: usize = 1024;

/// Answers on a listener until its task is dropped.
pub async fn serve(listener: TcpListener, status: Arc<Status>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let status = status.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let status = status.clone();
            async move { Ok::<_, Infallible>(status.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(std::time::Duration::from_secs(60))
            .serve_connection(TokioIo::new(stream), service);
        drop(tokio::task::spawn_local(async move {
            let _ = connection.await;
        }));
    }
}

impl Status {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if *request.method() == Method::POST && request.uri().path() == "/status/ready" {
            return self.announce(request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        }
        match request.uri().path() {
            "/status" => reply(StatusCode::OK, "application/json", self.status()),
            "/status/ready" => self.readiness(),
            "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4", self.metrics()),
            _ => message(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    fn status(&self) -> String {
        let snapshot = self.snapshot.borrow();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "configuration_hash": snapshot.hash,
            "loads": self.history.json(),
            "workers": self.shared.settings.workers,
            "memory": {"buffered_body_bytes": self.shared.budget.used()},
            "azure_identities": tokens::describe(&self.shared.tokens.list()),
            "upstreams": upstreams::describe(&self.shared.healths.list()),
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
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let body = Limited::new(request.into_body(), ANNOUNCEMENT).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let wanted = match is_json {
            true => serde_json::from_slice(&body)
                .ok()
                .and_then(|json: serde_json::Value| Some(json.get("status")?.as_str()?.to_owned())),
            false => url::form_urlencoded::parse(&body)
                .find(|(name, _)| name == "status")
                .map(|(_, value)| value.into_owned()),
        };
        if wanted.as_deref() != Some("draining") {
            return message(StatusCode::BAD_REQUEST, "expected status=draining");
        }
        self.draining.store(true, Ordering::Relaxed);
        message(StatusCode::OK, "draining")
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
        message(StatusCode::OK, "ready")
    }

    fn metrics(&self) -> String {
        let shared = &self.shared;
        shared.metrics.render()
            + &upstreams::render(&shared.healths.list())
            + &tokens::render(&shared.tokens.list())
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
