//! Exchanges for unit tests: a request as a client would send it, without a socket.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::request::Connection;
use super::{Body, Budget, Exchange, Request};

impl Exchange {
    /// A plain HTTP/1.1 request from loopback, routed as far as its path and query go.
    pub(crate) fn for_test(method: &str, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::for_test_with_body(method, target, headers, Body::Empty)
    }

    /// The same with a body that is in memory.
    pub(crate) fn for_test_with_text(
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Self {
        let body = Body::Whole(Bytes::copy_from_slice(body.as_bytes()).into());
        Self::for_test_with_body(method, target, headers, body)
    }

    fn for_test_with_body(
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Self {
        let (mut head, ()) =
            http::Request::builder().method(method).uri(target).body(()).unwrap().into_parts();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            head.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let local: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let connection = Connection {
            client: local,
            peer: local,
            local: local.ip(),
            port: 8000,
            tls: false,
            sni: None,
            session: None,
            shown: None,
            trusted: false,
            lacks_tls: false,
            text: OnceCell::new(),
        };
        let ex = Self::new(
            Request::new(head, body, Rc::new(connection), Budget::new(1 << 20), 1),
            std::sync::Arc::default(),
        );
        ex.service.set_path(ex.request.raw_path());
        ex.service.pass_query(ex.request.raw_query());
        ex
    }

    /// The body of the answer, as JSON.
    pub(crate) fn answer_json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.response.body().unwrap()).unwrap()
    }
}
