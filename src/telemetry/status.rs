//! The status listener: `/status`, `/status/ready` and `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{tokens, upstreams};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// What the status listener can tell.
pub struct Status {
    /// The process.
    pub shared: Arc<Shared>,
    /// The configuration in force.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The process is on its way out.
    pub draining: AtomicBool,
    /// Workers that take requests.
    pub ready: Arc<AtomicUsize>,
}

/// Answers on a listener until its task is dropped.
pub async fn serve(listener: TcpListener, status: Arc<Status>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let status = status.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let response = status.answer(&request);
            async move { Ok::<_, Infallible>(response) }
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
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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

    fn readiness(&self) -> Response<Full<Bytes>> {
        if self.draining.load(Ordering::Relaxed) {
            return message(StatusCode::SERVICE_UNAVAILABLE, "draining");
        }
        let (ready, all) = (self.ready.load(Ordering::Acquire), self.shared.settings.workers);
        if ready < all {
            let text = format!("{ready} of {all} workers take requests");
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
