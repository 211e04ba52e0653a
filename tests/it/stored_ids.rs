//! What one of several targets keeps is asked for there: responses, files, batches, whatever the
//! balancer's turn and the worker.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use silverback::sim::{Options, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};
use super::log_lines;

const ROUTES: [(&str, &str); 7] = [
    ("responses", "llm/v1/responses"),
    ("files", "llm/v1/files"),
    ("batches", "llm/v1/batches"),
    ("assistants", "llm/v1/assistants"),
    ("threads", "llm/v1/assistants"),
    ("vector_stores", "llm/v1/assistants"),
    ("chat/completions", "llm/v1/chat"),
];

/// Two resources behind two workers; each route has a plugin of its own, as in Kong.
struct Scene {
    sims: [Sim; 2],
    gateway: TestGateway,
    file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let sims = [(); 2].map(|()| Sim::start(Options::default()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kong.yaml");
        std::fs::write(&file, config(&urls(&sims))).unwrap();
        let gateway = Builder::default().set("nginx_worker_processes", "2").start_with_file(&file);
        Self { sims, gateway, file, _folder: folder }
    }

    async fn get(&self, path: &str) -> Message {
        self.gateway.send("GET", path, &[("OpenAI-Beta", "assistants=v2")], b"").await
    }

    async fn make(&self, path: &str, body: &Value) -> Value {
        let headers = [("Content-Type", "application/json"), ("OpenAI-Beta", "assistants=v2")];
        let made = self.gateway.send("POST", path, &headers, body.to_string().as_bytes()).await;
        assert_eq!(made.status(), 200, "{}", made.text());
        made.json()
    }

    async fn upload(&self) -> Value {
        let form = "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n\
            {\"custom_id\":\"x\",\"body\":{\"model\":\"m\"}}\r\n--b--\r\n";
        let kind = [("Content-Type", "multipart/form-data; boundary=b")];
        let made = self.gateway.send("POST", "/v1/files", &kind, form.as_bytes()).await;
        assert_eq!(made.status(), 201, "{}", made.text());
        made.json()
    }

    /// Requests that each resource has had since the last time.
    fn asked(&self) -> [usize; 2] {
        [self.sims[0].take().len(), self.sims[1].take().len()]
    }
}

fn config(urls: &[String; 2]) -> String {
    let target = |name: &str, route_type: &str, url: &str| {
        format!(
            "        - route_type: {route_type}
          auth: {{header_name: api-key, header_value: sim-key}}
          model:
            provider: azure
            name: gpt-4o
            options:
              azure_instance: my-instance
              azure_deployment_id: gpt-4o
              azure_api_version: v1
              upstream_url: '{url}/openai/v1/{name}'\n"
        )
    };
    let route = |(name, route_type): &(&str, &str)| {
        let targets: String = urls.iter().map(|url| target(name, route_type, url)).collect();
        format!(
            "  - name: {}
    paths: [/v1/{name}]
    plugins:
    - name: ai-proxy-advanced
      config:
        balancer: {{algorithm: round-robin, failover_criteria: [error, http_404, http_503]}}
        targets:\n{targets}",
            name.replace('/', "-")
        )
    };
    let routes: String = ROUTES.iter().map(route).collect();
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://127.0.0.1:9\n  \
         routes:\n{routes}"
    )
}

fn urls(sims: &[Sim; 2]) -> [String; 2] {
    [sims[0].url(), sims[1].url()]
}

fn id(of: &Value) -> &str {
    of["id"].as_str().unwrap()
}

fn hello() -> Value {
    json!({"model": "gpt-4o", "input": "hello"})
}

/// So many requests went to one resource, and none to the other. Says which it was.
fn at_one(asked: [usize; 2], requests: usize) -> usize {
    let owner = asked.iter().position(|n| *n > 0).unwrap();
    assert_eq!((asked[owner], asked[1 - owner]), (requests, 0));
    owner
}

#[tokio::test]
async fn a_response_is_fetched_continued_and_deleted_where_it_was_made() {
    let scene = Scene::start();
    for _ in 0..4 {
        let made = scene.make("/v1/responses", &hello()).await;
        let path = format!("/v1/responses/{}", id(&made));
        for _ in 0..10 {
            assert_eq!(scene.get(&path).await.status(), 200);
        }
        assert_eq!(scene.get(&format!("{path}/input_items")).await.status(), 200);
        let next = json!({"model": "gpt-4o", "input": "go on", "previous_response_id": id(&made)});
        let next = scene.make("/v1/responses", &next).await;
        assert_eq!(scene.get(&format!("/v1/responses/{}", id(&next))).await.status(), 200);
        assert_eq!(scene.gateway.send("DELETE", &path, &[], b"").await.status(), 200);
        // Its own 404, and nobody else is asked for what cannot be there.
        assert_eq!(scene.get(&path).await.status(), 404);
        at_one(scene.asked(), 16);
    }
}

#[tokio::test]
async fn a_stream_tells_the_id_of_its_response() {
    let scene = Scene::start();
    for _ in 0..4 {
        let body = json!({"model": "gpt-4o", "input": "hello", "stream": true}).to_string();
        let stream = scene.gateway.post("/v1/responses", &body).await.text();
        let first = stream.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let first: Value = serde_json::from_str(first).unwrap();
        let path = format!("/v1/responses/{}", id(&first["response"]));
        for _ in 0..4 {
            assert_eq!(scene.get(&path).await.status(), 200);
        }
        at_one(scene.asked(), 5);
    }
}

#[tokio::test]
async fn a_reply_in_gzip_tells_its_id() {
    let mut upstreams = Vec::new();
    for id in ["resp_one", "resp_two"] {
        let mut body = GzEncoder::new(Vec::new(), Compression::default());
        body.write_all(json!({"id": id, "object": "response"}).to_string().as_bytes()).unwrap();
        let body = body.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        upstreams.push(Upstream::replying([head.into_bytes(), body].concat().leak()).await);
    }
    let urls = [0, 1].map(|at| format!("http://{}", upstreams[at].address));
    let gateway = TestGateway::start(&config(&urls));
    let gzip = [("Content-Type", "application/json"), ("Accept-Encoding", "gzip")];
    let made = hello().to_string();
    let seen = || [upstreams[0].seen().len(), upstreams[1].seen().len()];
    gateway.send("POST", "/v1/responses", &gzip, made.as_bytes()).await;
    let owner = at_one(seen(), 1);
    for _ in 0..4 {
        let path = ["/v1/responses/resp_one", "/v1/responses/resp_two"][owner];
        assert_eq!(gateway.send("GET", path, &gzip, b"").await.status(), 200);
    }
    at_one(seen(), 5);
}

#[tokio::test]
async fn a_file_its_batch_and_what_comes_of_it_are_at_one_target() {
    let scene = Scene::start();
    for _ in 0..4 {
        let file = scene.upload().await;
        let batch = json!({"input_file_id": id(&file), "endpoint": "/chat/completions",
            "completion_window": "24h"});
        let batch = scene.make("/v1/batches", &batch).await;
        let path = format!("/v1/batches/{}", id(&batch));
        assert_eq!(scene.get(&path).await.json()["status"], "in_progress");
        let done = scene.get(&path).await.json();
        let output = format!("/v1/files/{}/content", done["output_file_id"].as_str().unwrap());
        for _ in 0..4 {
            assert_eq!(scene.get(&output).await.status(), 200);
        }
        at_one(scene.asked(), 8);
    }
}

/// What a client asks about a file, by path. Where something is made, later ones name it.
fn about(file: &str) -> [(&'static str, Value); 6] {
    let words = |part: Value| json!([{"role": "user", "content": [part]}]);
    let tools = json!([{"type": "code_interpreter"}]);
    let attachments = json!([{"file_id": file, "tools": tools}]);
    let message = json!({"role": "user", "content": "hi", "attachments": attachments});
    [
        ("/v1/vector_stores", json!({"file_ids": [file]})),
        (
            "/v1/assistants",
            json!({"model": "gpt-4o", "tools": tools,
            "tool_resources": {"code_interpreter": {"file_ids": [file]}}}),
        ),
        ("/v1/threads", json!({"tool_resources": {"code_interpreter": {"file_ids": [file]}}})),
        ("/v1/threads", json!({"messages": [message]})),
        (
            "/v1/responses",
            json!({"model": "gpt-4o",
            "input": words(json!({"type": "input_file", "file_id": file}))}),
        ),
        (
            "/v1/chat/completions",
            json!({"model": "gpt-4o",
            "messages": words(json!({"type": "file", "file": {"file_id": file}}))}),
        ),
    ]
}

#[tokio::test]
async fn what_is_asked_about_a_file_deep_in_a_body_goes_to_the_file() {
    let scene = Scene::start();
    for _ in 0..4 {
        let file = scene.upload().await;
        for (path, body) in about(id(&file)) {
            scene.make(path, &body).await;
        }
        let store = scene.make("/v1/vector_stores", &json!({"file_ids": [id(&file)]})).await;
        let search = json!({"file_search": {"vector_store_ids": [id(&store)]}});
        scene.make("/v1/threads", &json!({"tool_resources": search})).await;
        at_one(scene.asked(), 9);
    }
}

#[tokio::test]
async fn of_two_things_at_two_targets_the_first_decides_and_the_log_says_so() {
    log_lines::keep();
    let scene = Scene::start();
    let mut files = [const { None }; 2];
    while files.iter().any(Option::is_none) {
        let file = scene.upload().await;
        files[at_one(scene.asked(), 1)] = Some(id(&file).to_owned());
    }
    let files = files.map(Option::unwrap);
    for (first, other) in [(0, 1), (1, 0)] {
        let part = |at: usize| json!({"type": "input_file", "file_id": files[at]});
        let content = json!([part(first), part(first), part(other)]);
        let input = json!([{"role": "user", "content": content}]);
        let mark = log_lines::mark();
        scene.make("/v1/responses", &json!({"model": "gpt-4o", "input": input})).await;
        assert_eq!(at_one(scene.asked(), 1), first);
        let lines = log_lines::since(mark, &files[first]);
        let told = lines[0]["fields"]["message"].as_str().unwrap();
        let text = format!("{:?} and {:?} are with different targets", files[first], files[other]);
        assert!(told.starts_with(&text), "{told}");
    }
}

#[tokio::test]
async fn an_assistant_is_where_it_was_made() {
    let scene = Scene::start();
    for _ in 0..4 {
        let made = scene.make("/v1/assistants", &json!({"model": "gpt-4o"})).await;
        for _ in 0..4 {
            let path = format!("/v1/assistants/{}", id(&made));
            assert_eq!(scene.get(&path).await.status(), 200);
        }
        at_one(scene.asked(), 5);
    }
}

#[tokio::test]
async fn a_reload_leaves_ids_where_they_are() {
    let scene = Scene::start();
    let made = scene.make("/v1/responses", &hello()).await;
    let more = "- {name: other, url: 'http://127.0.0.1:9'}\n";
    std::fs::write(&scene.file, config(&urls(&scene.sims)) + more).unwrap();
    scene.gateway.reload().await.unwrap();
    for _ in 0..6 {
        let path = format!("/v1/responses/{}", id(&made));
        assert_eq!(scene.get(&path).await.status(), 200);
    }
    at_one(scene.asked(), 7);
}

#[tokio::test]
async fn ids_that_nobody_knows_and_new_things_are_the_balancers() {
    let scene = Scene::start();
    for n in 0..4 {
        // A 404 goes on, as listed: somebody may know it.
        assert_eq!(scene.get(&format!("/v1/responses/resp_{n}")).await.status(), 404);
    }
    assert_eq!(scene.asked(), [4, 4]);
    // Made at one target behind the gateway's back, it is found by going on.
    let made = scene.make("/v1/responses", &hello()).await;
    let stranger = Builder::default().start(&config(&urls(&scene.sims)));
    for _ in 0..4 {
        let found = stranger.get(&format!("/v1/responses/{}", id(&made))).await;
        assert_eq!(found.status(), 200);
    }
    let asked = scene.asked();
    assert!(asked.iter().all(|n| *n > 0), "each worker has turns of its own: {asked:?}");
}
