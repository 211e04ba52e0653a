//! What the parts of the hot path cost by themselves: `cargo bench --bench parts`.
//!
//! The chain with plugins that do nothing, the JSON of a chat and of its reply, the events of a
//! stream, and the schemas that a configuration is checked by. `cargo bench --bench router` is the
//! router.

#![allow(clippy::unwrap_used)]

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use serde_json::json;
use silverback::chain::{Chain, Instance, Instances};
use silverback::config::{self, Source};
use silverback::entity::PluginEntity;
use silverback::llm::splice::{Edit, Key, Object};
use silverback::llm::sse::Framer;
use silverback::llm::usage::Usage;
use silverback::lua::schema::LuaSchemas;
use silverback::lua::{Options, Vm};
use silverback::pdk::request::Connection;
use silverback::pdk::{Body, Budget, Exchange, Request};
use silverback::plugin::{Phases, Plugin, Step};
use silverback::settings::Env;
use uuid::Uuid;

fn main() {
    divan::main();
}

/// A plugin that wants its turn and does nothing with it.
struct Idle;

impl Plugin for Idle {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::HEADER_FILTER).and(Phases::LOG)
    }

    fn access<'a>(&'a self, _ex: &'a Exchange) -> Step<'a> {
        Step::DONE
    }
}

fn idle(number: usize) -> Rc<Instance> {
    let entity: PluginEntity = serde_json::from_value(json!({
        "id": Uuid::from_u128(number as u128), "name": format!("idle-{number}"), "enabled": true,
        "config": {}, "protocols": ["http", "https"],
    }))
    .unwrap();
    Rc::new(Instance::new(Arc::new(entity), number as i64, Box::new(Idle)))
}

fn exchange() -> Exchange {
    let (head, ()) = http::Request::post("/v1/chat").body(()).unwrap().into_parts();
    let local: SocketAddr = "127.0.0.1:1".parse().unwrap();
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
    let request = Request::new(head, Body::Empty, Rc::new(connection), Budget::new(1 << 20), 1);
    Exchange::new(request, Arc::default())
}

/// An exchange, made and dropped.
#[divan::bench]
fn an_exchange() -> Exchange {
    exchange()
}

/// `access`, `header_filter` and `log` of so many plugins.
#[divan::bench(args = [0, 1, 10])]
fn a_chain_of_plugins(bencher: Bencher<'_, '_>, plugins: usize) {
    let plan = Instances::new((0..plugins).map(idle).collect()).globals();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    bencher.counter(ItemsCount::new(plugins)).with_inputs(exchange).bench_local_refs(|ex| {
        let mut chain = Chain::default();
        runtime.block_on(chain.access(&plan, ex));
        chain.header_filter(ex);
        chain.log(ex);
    });
}

/// A chat with a prompt of so many bytes.
fn chat(prompt: usize) -> Bytes {
    let content = "Say something about the sea. ".repeat(prompt / 29 + 1);
    let chat = json!({
        "model": "gpt-4o", "temperature": 0.7, "max_tokens": 256, "user": "someone",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": &content[..prompt]},
        ],
    });
    chat.to_string().into()
}

/// Reads a chat and puts another model into it.
#[divan::bench(args = [1 << 10, 16 << 10, 256 << 10])]
fn a_chat_with_another_model(bencher: Bencher<'_, '_>, prompt: usize) {
    let (chat, model) = (chat(prompt), Key::new("model"));
    bencher.counter(BytesCount::new(chat.len())).bench_local(|| {
        let chat = Object::read(black_box(chat.clone())).unwrap();
        chat.edited(&[Edit::set(&model, br#""gpt-4o-mini""#)])
    });
}

const USAGE: &[u8] = br#"{"prompt_tokens":16,"completion_tokens":12,"total_tokens":28,
    "prompt_tokens_details":{"audio_tokens":0,"cached_tokens":0},
    "completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":0,
    "reasoning_tokens":0,"rejected_prediction_tokens":0}}"#;

/// The tokens of a reply.
#[divan::bench]
fn a_usage() -> Usage {
    Usage::read(black_box(USAGE)).unwrap()
}

const EVENT: &str = concat!(
    r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"#,
    r#""delta":{"content":" word"},"finish_reason":null}]}"#,
    "\n\n"
);

/// A hundred events in pieces of so many.
#[divan::bench(args = [1, 10, 100])]
fn events_of_a_stream(bencher: Bencher<'_, '_>, together: usize) {
    const EVENTS: usize = 100;
    let piece = Bytes::from(EVENT.repeat(together));
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let mut framer = Framer::default();
        let mut seen = 0;
        for _ in 0..EVENTS / together {
            framer.push(black_box(piece.clone()), |event| seen += event.raw().len()).unwrap();
        }
        seen
    });
}

/// A configuration with so many Routes, each with a plugin, from its text to its Snapshot.
#[divan::bench(args = [1, 100], sample_count = 20)]
fn a_configuration(bencher: Bencher<'_, '_>, routes: usize) {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let route = |n| {
        json!({"name": format!("r{n}"), "paths": [format!("/{n}")], "plugins": [
            {"name": "rate-limiting", "config": {"minute": 5, "policy": "local"}},
        ]})
    };
    let routes_of_it: Vec<_> = (0..routes).map(route).collect();
    let service = json!({"name": "s", "url": "http://localhost:1", "routes": routes_of_it});
    let text = json!({"_format_version": "3.0", "services": [service]});
    let sources = [Source { name: "kong.yaml".to_owned(), text: text.to_string() }];
    let env = Env::default();
    bencher.counter(ItemsCount::new(routes)).bench_local(|| {
        let loaded = config::load(black_box(&sources), &schemas, &env);
        assert!(loaded.is_ok());
        loaded
    });
}
