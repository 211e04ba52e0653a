//! The way of an exchange through one plugin, as the server goes it, and upstreams that say what
//! they are told to.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::super::{Instance, Proxy, Setup, Wanted};
use crate::balancer::Balancer;
use crate::dns::Names;
use crate::guard::Guard;
use crate::llm::config::{self, AiProxyAdvanced};
use crate::pdk::log::serialize;
use crate::pdk::{Chunk, Exchange};
use crate::plugin::{Plugin, Stop};
use crate::proxy::{self, NoReply, Way, headers};
use crate::respond::{self, Failure};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::tls::Policies;
use crate::upstream::{Keepalive, Pool, ReplyBody};

/// Runs a test on one thread with local tasks, as a worker does.
pub(in super::super) async fn worker<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

/// The process, with this environment.
pub(in super::super) fn shared(env: &[(&str, &str)]) -> Arc<Shared> {
    let mut settings = Settings::defaults();
    settings.env = env.iter().copied().collect();
    Arc::new(Shared::new(settings, Handle::current(), Some(HashMap::new())).unwrap())
}

/// A plugin with these targets; `more` goes on top of the configuration.
pub(in super::super) fn plugin(
    shared: &Arc<Shared>,
    targets: Vec<config::Target>,
    more: Value,
) -> Proxy {
    let setup =
        Setup::new(shared, &shared.settings.env, instance(), wanted(targets, more)).unwrap();
    Proxy { setup: Rc::new(setup) }
}

/// Which plugin it is.
pub(in super::super) fn instance() -> Instance {
    Instance { id: "id-1".to_owned(), name: "models".to_owned() }
}

/// The configuration of `ai-proxy-advanced` with these targets.
pub(in super::super) fn wanted(targets: Vec<config::Target>, more: Value) -> Wanted {
    let mut config = json!({
        "targets": [], "balancer": null, "response_streaming": "allow",
        "max_request_body_size": 1048576, "model_name_header": true, "llm_format": "openai",
        "genai_category": "text/generation", "acls": null, "embeddings": null, "vectordb": null
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    AiProxyAdvanced { targets, ..serde_json::from_value(config).unwrap() }.into()
}

/// A balancer with these fail-over criteria.
pub(in super::super) fn balancer(criteria: &[&str]) -> Value {
    json!({ "balancer": {
        "algorithm": "round-robin", "connect_timeout": 5000, "write_timeout": 5000,
        "read_timeout": 5000, "retries": 5, "failover_criteria": criteria, "max_fails": 0,
        "fail_timeout": 10000, "slots": 10000, "hash_on_header": "X-Kong-LLM-Request-ID",
        "latency_strategy": "tpot", "tokens_count_strategy": "total-tokens"
    }})
}

/// A POST with JSON.
pub(in super::super) fn post(headers: &[(&str, &str)], body: &str) -> Exchange {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    Exchange::for_test_with_text("POST", "/ai", &all, body)
}

/// What a client got, and what the log record says.
pub(in super::super) struct Answer {
    pub(in super::super) status: u16,
    pub(in super::super) headers: HeaderMap,
    pub(in super::super) body: Bytes,
    /// The connection to the client was cut.
    pub(in super::super) is_cut: bool,
    pub(in super::super) log: Value,
}

impl Answer {
    pub(in super::super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(in super::super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `ai.proxy` of the log record.
    pub(in super::super) fn ai(&self) -> &Value {
        &self.log["ai"]["proxy"]
    }
}

/// Serves an exchange.
pub(in super::super) async fn serve(plugin: &Proxy, ex: Exchange) -> Answer {
    if let Err(Stop::Fault(_)) = plugin.access(&ex).outcome().await {
        respond::fail(&ex, Failure::Unexpected);
    }
    let upstream = if ex.response.exited() { None } else { forward(plugin, &ex).await };
    plugin.header_filter(&ex).unwrap();
    let (body, is_cut) = match upstream {
        Some(upstream) => filtered(plugin, &ex, upstream).await,
        None => {
            let data = ex.response.take_body().unwrap_or_default();
            let mut chunk = Chunk { data, last: true, broken: false };
            plugin.body_filter(&ex, &mut chunk).unwrap();
            (chunk.data, false)
        }
    };
    ex.log.want();
    plugin.log(&ex);
    Answer {
        status: ex.response.status().as_u16(),
        headers: ex.response.headers().clone(),
        body,
        is_cut,
        log: serialize(&ex),
    }
}

/// The upstream's reply, unless it was read whole.
async fn forward(plugin: &Proxy, ex: &Exchange) -> Option<ReplyBody> {
    let shared = &plugin.setup.shared;
    let keepalive = Keepalive { pool_size: 0, idle: Duration::ZERO, max_requests: 1 };
    let buffer_limit = shared.settings.buffer_limit;
    let way = Way {
        pool: &Pool::new(keepalive),
        names: &Names::new(shared.dns.clone()),
        balancer: &Balancer::default(),
        policies: &Policies::plain(&shared.tls).unwrap(),
        guard: &Guard::default(),
        buffer_limit,
        request_id: false,
    };
    let (head, body) = match proxy::forward(&way, ex).await {
        Ok(reply) => reply.into_parts(),
        Err(NoReply::Answered) => return None,
        Err(NoReply::Failed(failure)) => {
            respond::fail(ex, failure);
            return None;
        }
    };
    let mut kept = head.headers;
    headers::from_upstream(&mut kept);
    ex.response.take_head(head.status, kept);
    if !plugin.buffers(ex) {
        return Some(body);
    }
    let whole = body.read_whole(buffer_limit, &shared.budget).await.unwrap();
    ex.response.hold_body(whole);
    plugin.response(ex).outcome().await.unwrap();
    None
}

async fn filtered(plugin: &Proxy, ex: &Exchange, mut upstream: ReplyBody) -> (Bytes, bool) {
    let mut out = Vec::new();
    loop {
        let frame = std::future::poll_fn(|cx| upstream.poll_next(cx)).await;
        let mut chunk = match frame {
            Some(Ok(frame)) => {
                Chunk { data: frame.into_data().unwrap(), last: false, broken: false }
            }
            Some(Err(_)) => Chunk { last: true, broken: true, ..Chunk::default() },
            None => Chunk { last: true, ..Chunk::default() },
        };
        if plugin.body_filter(ex, &mut chunk).is_err() {
            return (out.into(), true);
        }
        out.extend_from_slice(&chunk.data);
        if chunk.last {
            return (out.into(), chunk.broken);
        }
    }
}

/// An upstream with a script: one reply per connection, then the last one again and again.
pub(in super::super) struct Upstream {
    pub(in super::super) port: u16,
    seen: Rc<RefCell<Vec<String>>>,
}

impl Upstream {
    pub(in super::super) async fn new(replies: &[&[u8]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut replies: VecDeque<Vec<u8>> = replies.iter().map(|reply| reply.to_vec()).collect();
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let kept = seen.clone();
        drop(tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                kept.borrow_mut().push(String::from_utf8(request).unwrap());
                let reply = replies.pop_front().unwrap_or_default();
                if replies.is_empty() {
                    replies.push_back(reply.clone());
                }
                let _ = stream.write_all(&reply).await;
            }
        }));
        Self { port, seen }
    }

    /// The requests, oldest first, as they were on the wire.
    pub(in super::super) fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// Where it is.
    pub(in super::super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/up", self.port)
    }
}

/// Whether a request is here with its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// A reply with a body of known length.
pub(in super::super) fn reply(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
