//! Fail-over: each criterion with each algorithm and each state of the breaker, over sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::azure_scene::HELLO;
use super::gateway::TestGateway;
use super::http::{Message, Reader};

const ALGORITHMS: [&str; 6] = [
    "round-robin",
    "least-connections",
    "consistent-hashing",
    "lowest-latency",
    "lowest-usage",
    "priority",
];

/// What a model does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Status(u16),
    Close,
    Silence,
    Garbage,
}

/// Each criterion with what brings it about and what a client gets that is not helped.
const CRITERIA: [(&str, Act, u16); 10] = [
    ("error", Act::Close, 502),
    ("timeout", Act::Silence, 504),
    ("invalid_header", Act::Garbage, 502),
    ("http_403", Act::Status(403), 403),
    ("http_404", Act::Status(404), 404),
    ("http_429", Act::Status(429), 429),
    ("http_500", Act::Status(500), 500),
    ("http_502", Act::Status(502), 502),
    ("http_503", Act::Status(503), 503),
    ("http_504", Act::Status(504), 504),
];

/// Two models behind one address: what was scripted happens to whoever is asked next.
struct Models {
    address: SocketAddr,
    script: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Models {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let models = Self { address, script: Arc::default(), seen: Arc::default() };
        let (script, seen) = (models.script.clone(), models.seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (script.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut reader = Reader::new(stream);
                    while let Some(request) = reader.message(false).await {
                        let path = request.target().split('?').next().unwrap().to_owned();
                        seen.lock().unwrap().push(path);
                        let act = script.lock().unwrap().pop_front();
                        let reply = match act {
                            Some(Act::Close) => return,
                            Some(Act::Silence) => {
                                reader.message(false).await;
                                return;
                            }
                            Some(Act::Garbage) => "nonsense\r\n\r\n".to_owned(),
                            Some(Act::Status(status)) => reply(status, "{}"),
                            None => reply(200, r#"{"choices":[{"index":0}]}"#),
                        };
                        let _ = reader.stream.write_all(reply.as_bytes()).await;
                    }
                });
            }
        });
        models
    }

    fn next(&self, act: Act) {
        self.script.lock().unwrap().push_back(act);
    }

    /// Who was asked since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn reply(status: u16, body: &str) -> String {
    let kind = "content-type: application/json";
    format!("HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A Route with two models.
fn route(name: &str, balancer: &str, address: SocketAddr) -> String {
    let target = |path: &str| {
        format!(
            "          - route_type: llm/v1/chat\n            model: {{provider: openai, \
             name: m, options: {{upstream_url: 'http://{address}/{path}'}}}}\n"
        )
    };
    let balancer = format!("{{{balancer}, hash_on_header: x-user, read_timeout: 60}}");
    format!(
        "  - name: {name}
    paths: [/{name}]
    plugins:
    - name: ai-proxy-advanced
      config:
        balancer: {balancer}
        targets:
{}{}",
        target("a"),
        target("b"),
    )
}

fn file(routes: &[String]) -> String {
    let service = "services:\n- name: s\n  url: http://127.0.0.1:9\n  routes:\n";
    format!("_format_version: '3.0'\n{service}{}", routes.concat())
}

async fn ask(gateway: &TestGateway, route: &str) -> Message {
    let headers = [("Content-Type", "application/json"), ("X-User", "u1")];
    gateway.send("POST", &format!("/{route}"), &headers, HELLO.as_bytes()).await
}

/// Whether a criterion is in the list, and whether the list says that a chat may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Listed {
    Not,
    Alone,
    WithNonIdempotent,
}

impl Listed {
    const ALL: [Self; 3] = [Self::Not, Self::Alone, Self::WithNonIdempotent];

    fn criteria(self, criterion: &str) -> String {
        match self {
            // Another one is, so that it is not the default.
            Self::Not if criterion == "http_500" => "http_403, non_idempotent".to_owned(),
            Self::Not => "http_500, non_idempotent".to_owned(),
            Self::Alone => criterion.to_owned(),
            Self::WithNonIdempotent => format!("{criterion}, non_idempotent"),
        }
    }
}

#[tokio::test]
async fn every_criterion_works_with_every_algorithm_and_the_breaker() {
    let models = Models::start().await;
    let mut routes = Vec::new();
    for algorithm in ALGORITHMS {
        for (criterion, ..) in CRITERIA {
            for listed in Listed::ALL {
                let name = format!("{algorithm}-{criterion}-{listed:?}");
                let criteria = listed.criteria(criterion);
                let balancer = format!(
                    "algorithm: {algorithm}, failover_criteria: [{criteria}], max_fails: 1, \
                     fail_timeout: 3600000"
                );
                routes.push(route(&name, &balancer, models.address));
            }
        }
    }
    let gateway = TestGateway::start(&file(&routes));
    for algorithm in ALGORITHMS {
        for (criterion, act, unhelped) in CRITERIA {
            for listed in Listed::ALL {
                let name = format!("{algorithm}-{criterion}-{listed:?}");
                one_row(&gateway, &models, &name, (act, unhelped), listed).await;
            }
        }
    }
}

/// A failure, what the breaker makes of it, and a second failure.
async fn one_row(
    gateway: &TestGateway,
    models: &Models,
    name: &str,
    (act, unhelped): (Act, u16),
    listed: Listed,
) {
    models.take();
    models.next(act);
    let first = ask(gateway, name).await;
    let seen = models.take();
    let helps = listed == Listed::WithNonIdempotent;
    assert_eq!(first.status(), if helps { 200 } else { unhelped }, "{name}: {}", first.text());
    assert_eq!(seen.len(), if helps { 2 } else { 1 }, "{name}: {seen:?}");
    assert_eq!(first.header("x-silverback-attempts").is_some(), helps, "{name}");
    if helps {
        assert_ne!(seen[0], seen[1], "{name}: the other one is asked");
    }
    // These say something of the request; a status that is not listed says nothing.
    let counts = match act {
        Act::Status(403 | 404) => false,
        Act::Status(_) => listed != Listed::Not,
        _ => true,
    };
    for _ in 0..4 {
        assert_eq!(ask(gateway, name).await.status(), 200, "{name}");
    }
    let rests = !models.take().contains(&seen[0]);
    assert_eq!(rests, counts, "{name}: rests after a failure");
    if !counts {
        return;
    }
    models.next(act);
    let second = ask(gateway, name).await;
    // Who looks for another target and finds none that is there is told so (Kong).
    let looks = helps && !matches!(act, Act::Status(_));
    let expected = if looks { 500 } else { unhelped };
    assert_eq!(second.status(), expected, "{name}: {}", second.text());
    assert_eq!(models.take().len(), 1, "{name}");
    let none = ask(gateway, name).await;
    assert_eq!(none.status(), 500, "{name}: {}", none.text());
    assert!(none.text().contains("An unexpected error occurred"), "{name}: {}", none.text());
    assert_eq!(models.take().len(), 0, "{name}: all rest");
}

#[tokio::test]
async fn a_target_is_asked_again_after_its_rest() {
    let models = Models::start().await;
    let route = |algorithm: &&str| {
        let balancer = format!(
            "algorithm: {algorithm}, max_fails: 1, fail_timeout: 50, \
             failover_criteria: [http_500, non_idempotent]"
        );
        route(algorithm, &balancer, models.address)
    };
    let gateway = TestGateway::start(&file(&ALGORITHMS.iter().map(route).collect::<Vec<_>>()));
    for algorithm in ALGORITHMS {
        models.take();
        models.next(Act::Status(500));
        assert_eq!(ask(&gateway, algorithm).await.status(), 200);
        let failed = models.take().remove(0);
        while !models.take().contains(&failed) {
            assert_eq!(ask(&gateway, algorithm).await.status(), 200, "{algorithm}");
        }
        let page = gateway.status("/status").await.json();
        let targets = page["ai_targets"].as_array().unwrap();
        assert!(targets.iter().all(|one| one["in_flight"] == 0), "{page}");
    }
}

#[tokio::test]
async fn nothing_is_repeated_once_a_byte_went_to_the_client() {
    let models = Models::start().await;
    let balancer = "failover_criteria: [error, timeout, http_500, non_idempotent]";
    let gateway = TestGateway::start(&file(&[route("chat", balancer, models.address)]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = tokio::spawn(async move {
        let mut requests = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let mut reader = Reader::new(stream);
            reader.message(false).await;
            requests += 1;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
            let event = "data: {\"choices\":[]}\n\n";
            let wire = format!("{head}content-length: 999\r\n\r\n{event}");
            let _ = reader.stream.write_all(wire.as_bytes()).await;
            if requests == 1 {
                break;
            }
        }
        drop(listener);
        requests
    });
    let streaming = TestGateway::start(&file(&[route("chat", balancer, address)]));
    let body = r#"{"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = streaming.post("/chat", body).await;
    assert_eq!((answer.status(), cut.await.unwrap()), (200, 1));
    assert!(answer.text().contains("upstream_stream_broken"), "{}", answer.text());
    assert_eq!(answer.header("x-silverback-attempts"), None);
    assert_eq!(ask(&gateway, "chat").await.status(), 200);
}

#[tokio::test]
async fn who_may_not_use_a_model_is_refused_and_another_model_is_not() {
    let models = Models::start().await;
    let target = |name: &str| {
        let url = format!("http://{}/{name}", models.address);
        format!(
            "        - {{route_type: llm/v1/chat, model: {{provider: openai, name: {name}, \
             options: {{upstream_url: '{url}'}}}}}}\n"
        )
    };
    let rule = "{match: [{type: model, values: [a]}, {type: header, key: x-user, values: [u1]}]}";
    let route = format!(
        "  - name: chat
    paths: [/chat]
    plugins:
    - name: ai-proxy-advanced
      config:
        acls: {{deny: [{rule}]}}
        targets:
{}{}",
        target("a"),
        target("b"),
    );
    let gateway = TestGateway::start(&file(&[route]));
    let send = async |user: &str, model: &str| {
        let headers = [("Content-Type", "application/json"), ("X-User", user)];
        let body = HELLO.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
        gateway.send("POST", "/chat", &headers, body.as_bytes()).await
    };
    let refused = send("u1", "a").await;
    assert_eq!(refused.status(), 403, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "access_denied");
    assert_eq!(models.take().len(), 0);
    for (user, model) in [("u2", "a"), ("u1", "b"), ("u2", "b")] {
        assert_eq!(send(user, model).await.status(), 200, "{user} {model}");
        assert_eq!(models.take(), [format!("/{model}")]);
    }
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "chat").await.status(), 200, "no model: what is left");
    }
    assert_eq!(models.take(), ["/b"; 3]);
}

#[tokio::test]
async fn a_target_without_the_value_of_its_key_is_asked_only_where_there_is_no_other() {
    let models = Models::start().await;
    let target = |path: &str, key: &str| {
        format!(
            "          - {{route_type: llm/v1/chat, auth: {{header_name: api-key, header_value: \
             '{key}'}}, model: {{provider: openai, name: m, options: {{upstream_url: \
             'http://{}/{path}'}}}}}}\n",
            models.address
        )
    };
    let missing = "{vault://env/nobody-has-set-this}";
    let file = |targets: &str| {
        format!(
            "_format_version: '3.0'\nservices:\n- name: s\n  url: http://127.0.0.1:9\n  \
             routes:\n  - name: r\n    paths: [/r]\n    plugins:\n    - name: \
             ai-proxy-advanced\n      config:\n        targets:\n{targets}"
        )
    };
    let both = TestGateway::start(&file(&(target("first", missing) + &target("second", "k"))));
    for _ in 0..4 {
        assert_eq!(both.post("/r", HELLO).await.status(), 200);
    }
    assert_eq!(models.take(), ["/second"; 4]);
    let alone = TestGateway::start(&file(&target("first", missing)));
    assert_eq!(alone.post("/r", HELLO).await.status(), 500);
    assert!(models.take().is_empty());
}
