//! Reloads under load: not one request of thousands is lost, and a stream goes on to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::gateway::Builder;
use super::http::{self, Reader, Upstream};
use super::stream_ends::{Client, Upstream as ByHand, soon};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const RELOADS: usize = 25;
const REQUESTS: usize = 2500;

/// Clients that ask until they are told to stop; each unexpected answer is a panic.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(address: SocketAddr, keeping: usize, connecting: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for number in 0..keeping + connecting {
            let (stop, answered) = (stop.clone(), answered.clone());
            clients.spawn(async move {
                let mut kept = match number < keeping {
                    true => Some(Reader::new(TcpStream::connect(address).await.unwrap())),
                    false => None,
                };
                while !stop.load(Ordering::Relaxed) {
                    let answer = match &mut kept {
                        Some(reader) => over(reader).await,
                        None => http::send(address, "GET", "/a", &[], b"").await,
                    };
                    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, answered, clients }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

/// One more request on a connection that no reload may close.
async fn over(reader: &mut Reader) -> http::Message {
    reader.stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    reader.message(false).await.expect("the connection was closed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_requests_and_a_stream_survive_dozens_of_reloads() {
    let upstream = Upstream::replying(OK).await;
    let streaming = ByHand::start().await;
    let text = |version: usize| {
        format!(
            "_format_version: '3.0'\nservices:\n\
             - name: s\n  url: http://{}/v{version}\n  routes:\n  - {{name: r, paths: [/a]}}\n\
             - name: t\n  url: {}\n  routes:\n  - {{name: u{version}, paths: [/stream]}}\n",
            upstream.address,
            streaming.url(),
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, text(0)).unwrap();
    let gateway = Builder::default().set("nginx_worker_processes", "2").start_with_file(&path);

    let mut stream = Client::post(gateway.address, "/stream", "", "{}").await;
    let mut answering = streaming.request().await;
    answering.begin().await;
    assert_eq!(stream.head().await.status(), 200);

    let load = Load::start(gateway.address, 4, 2);
    let mut version = 0;
    while version < RELOADS || load.answered() < REQUESTS {
        version += 1;
        std::fs::write(&path, text(version)).unwrap();
        gateway.reload().await.unwrap();
        answering.event(&version.to_string()).await;
        assert_eq!(stream.event().await, Some(format!("data: {version}")));
    }
    let last = format!("/v{version}");
    let serves = || upstream.seen().last().is_some_and(|seen| seen.target().starts_with(&last));
    soon("the last configuration serves", async {
        while !serves() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    println!("{} requests over {version} reloads", load.answered());
    load.end().await;
    answering.end().await;
    assert_eq!(stream.event().await, None);
}

/// Whose turn it is among two targets, with a Route beside them that changes from load to load.
fn two_targets(first: &Upstream, second: &Upstream, version: usize) -> String {
    let target = |upstream: &Upstream| {
        format!(
            "        - route_type: llm/v1/chat\n          \
             model: {{provider: openai, name: m, options: {{upstream_url: 'http://{}/chat'}}}}\n",
            upstream.address
        )
    };
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://127.0.0.1:9\n  routes:\n  \
         - {{name: v, paths: [/v{version}], plugins: [{{name: request-termination, config: \
         {{status_code: 200}}}}]}}\n  \
         - name: chat\n    paths: [/chat]\n    plugins:\n    - name: ai-proxy-advanced\n      \
         config:\n        targets:\n{}{}",
        target(first),
        target(second),
    )
}

#[tokio::test]
async fn a_reload_that_leaves_an_ai_plugin_as_it_is_keeps_the_turn_of_its_targets() {
    let chat = r#"{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,
        "message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
    let reply: &'static [u8] = format!("{head}: {}\r\n\r\n{chat}", chat.len()).leak().as_bytes();
    let (first, second) = (Upstream::replying(reply).await, Upstream::replying(reply).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, two_targets(&first, &second, 0)).unwrap();
    let gateway = Builder::default().start_with_file(&path);
    let ask = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    for version in 1..=6 {
        assert_eq!(gateway.post("/chat", ask).await.status(), 200);
        std::fs::write(&path, two_targets(&first, &second, version)).unwrap();
        gateway.reload().await.unwrap();
        let probe = format!("/v{version}");
        soon("the worker has the new configuration", async {
            while gateway.get(&probe).await.status() != 200 {}
        })
        .await;
    }
    assert_eq!((first.seen().len(), second.seen().len()), (3, 3));
}
