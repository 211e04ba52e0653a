//! Secrets, files and token endpoints that change or fail while requests arrive: none may fail.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use silverback::sim::{Kind, Options, Rule, Sim};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::azure_scene::{CLIENT, HELLO, Scene, TENANT, Target};
use super::cli_process::{Process, silverback};
use super::http;
use super::stream_ends::soon;

const SWITCH: &str = "azure_use_managed_identity: true";

/// Clients that send one request after the other until they are told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    clients: JoinSet<(usize, Vec<String>)>,
}

impl Traffic {
    fn to(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..2 {
            let stop = stop.clone();
            clients.spawn(async move {
                let (mut count, mut failed) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let answer = chat(address).await;
                    count += 1;
                    if answer.status() != 200 {
                        failed.push(answer.text());
                    }
                }
                (count, failed)
            });
        }
        Self { stop, clients }
    }

    /// Stops it; no request may have failed.
    async fn assert_served(self) {
        self.stop.store(true, Ordering::Relaxed);
        for (count, failed) in self.clients.join_all().await {
            assert!(count > 10, "{count}");
            assert!(failed.is_empty(), "{} of {count} failed: {failed:?}", failed.len());
        }
    }
}

async fn chat(address: SocketAddr) -> http::Message {
    let headers = [("Content-Type", "application/json")];
    http::send(address, "POST", "/chat", &headers, HELLO.as_bytes()).await
}

/// Waits until the only identity on `/status` looks like this.
async fn until(status: SocketAddr, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let page = http::send(status, "GET", "/status", &[], b"").await.json();
            if fits(&page["azure_identities"][0]) {
                return page["azure_identities"][0].clone();
            }
        }
    };
    soon(what, found).await
}

/// Replaces a file in one step, as editors and Kubernetes do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// A simulator that knows the secrets `one` and `two`, and a process with an environment file.
struct Rotating {
    sim: Sim,
    process: Process,
    address: SocketAddr,
    status: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Rotating {
    async fn start(auth: &[&str], env: impl FnOnce(&Path) -> PathBuf) -> Self {
        Self::with_workers("2", auth, env).await
    }

    async fn with_workers(
        workers: &str,
        auth: &[&str],
        env: impl FnOnce(&Path) -> PathBuf,
    ) -> Self {
        let secrets = vec!["one".to_owned(), "two".to_owned()];
        let options = Options { client_secrets: secrets, record: 100_000, ..Options::default() };
        let sim = Sim::start(options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kong.yaml");
        std::fs::write(&path, Target::new(auth).yaml(&sim.url())).unwrap();
        let env = env(folder.path());
        let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
        let start = start.env("KONG_PROXY_ACCESS_LOG", "off");
        let start = start.env("KONG_NGINX_WORKER_PROCESSES", workers);
        let start = start.env("AZURE_AUTHORITY_HOST", &sim.url());
        let mut process = start.env("SILVERBACK_ENV_FILE", env.to_str().unwrap()).spawn();
        let (address, status) = (process.proxy().await, process.status().await);
        until(status, "the first token", |it| it["token_expires_in_secs"].is_u64()).await;
        Self { sim, process, address, status, _folder: folder }
    }

    /// With the secret `one` in the file, which is also given.
    async fn from_variable(workers: &str) -> (Self, PathBuf) {
        let client = format!("azure_client_id: {CLIENT}");
        let tenant = format!("azure_tenant_id: {TENANT}");
        let mut env = PathBuf::new();
        let auth = [SWITCH, &client, &tenant];
        let scene = Self::with_workers(workers, &auth, |folder| {
            env = folder.join("gateway.env");
            std::fs::write(&env, "AZURE_CLIENT_SECRET=one\n").unwrap();
            env.clone()
        });
        (scene.await, env)
    }

    /// The secrets that Entra saw, and its answers.
    fn exchanges(&self) -> Vec<(String, u16)> {
        let all = self.sim.requests().into_iter().filter(|seen| seen.kind == Kind::Entra);
        let secret = |body: &Bytes| {
            let fields = url::form_urlencoded::parse(body).into_owned();
            fields.into_iter().find(|(name, _)| name == "client_secret").unwrap().1
        };
        all.map(|seen| (secret(&seen.body), seen.status)).collect()
    }
}

#[tokio::test]
async fn a_wrong_new_secret_fails_no_request_and_the_right_one_is_taken_within_seconds() {
    let (mut scene, env) = Rotating::from_variable("2").await;
    let traffic = Traffic::to(scene.address);

    replace(&env, "AZURE_CLIENT_SECRET=mistyped\n");
    let line = scene.process.line_with("the old token serves for").await;
    assert!(line.contains("WARN") && line.contains("AADSTS7000215"), "{line}");
    let refused = until(scene.status, "the refusal", |it| it["token_is_inherited"] == true).await;
    assert!(refused["token_expires_in_secs"].as_u64().unwrap() > 3000, "{refused}");
    let failure = until(scene.status, "the reason", |it| it["last_failure"].is_string()).await;
    assert!(failure["last_failure"].as_str().unwrap().contains("AADSTS7000215"), "{failure}");

    replace(&env, "AZURE_CLIENT_SECRET=two\n");
    scene.process.line_with("Azure token with the new proof").await;
    let mended = until(scene.status, "recovery", |it| it["token_is_inherited"] == false).await;
    assert!(mended["last_failure"].is_null(), "{mended}");
    traffic.assert_served().await;
    let seen = scene.exchanges();
    let seen: Vec<_> = seen.iter().map(|(secret, status)| (secret.as_str(), *status)).collect();
    assert_eq!(seen, [("one", 200), ("mistyped", 401), ("two", 200)]);
}

#[tokio::test]
async fn a_revoked_token_beside_a_wrong_new_secret_is_not_blamed_on_the_scope_alone() {
    // A second worker might still have the old secret, which gets another token.
    let (mut scene, env) = Rotating::from_variable("1").await;
    replace(&env, "AZURE_CLIENT_SECRET=mistyped\n");
    scene.process.line_with("the old token serves for").await;
    scene.sim.revoke_tokens();
    // There is no other token, so the answer is Azure's own.
    assert_eq!(chat(scene.address).await.status(), 401);
    let line = scene.process.line_with("a newer token is not to be had").await;
    assert!(line.contains("AADSTS7000215, the client secret is wrong"), "{line}");
    assert!(!line.contains("mistyped"), "{line}");
}

#[tokio::test]
async fn a_secret_that_kubernetes_swaps_behind_a_link_reaches_a_vault_reference() {
    let client = format!("azure_client_id: {CLIENT}");
    let tenant = format!("azure_tenant_id: {TENANT}");
    let secret = "azure_client_secret: \"{vault://env/gateway-secret}\"";
    let mut mount = PathBuf::new();
    let mut scene = Rotating::start(&[SWITCH, &client, &tenant, secret], |folder| {
        // The link leads to a folder that nobody watches.
        mount = folder.join("mount");
        for (version, secret) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir_all(mount.join(version)).unwrap();
            let line = format!("GATEWAY_SECRET={secret}\n");
            std::fs::write(mount.join(version).join("env"), line).unwrap();
        }
        symlink("v1", mount.join("..data")).unwrap();
        symlink("..data/env", mount.join("env")).unwrap();
        symlink("mount/env", folder.join("env")).unwrap();
        folder.join("env")
    })
    .await;
    let traffic = Traffic::to(scene.address);
    symlink("v2", mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    scene.process.line_with("Azure token with the new proof").await;
    traffic.assert_served().await;
    assert_eq!(scene.exchanges(), [("one".to_owned(), 200), ("two".to_owned(), 200)]);
}

#[tokio::test]
async fn a_token_file_that_appears_late_is_used_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "wrong-assertion").unwrap();
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, _| {
        builder
            .env("AZURE_CLIENT_ID", CLIENT)
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())
    });
    assert_eq!(scene.hello().await.status(), 500);
    // Such a failure is remembered for 30 s, longer than `soon` waits.
    replace(&file, "HEADER.RIGHT.SIGNATURE\n");
    soon("a token", async { while scene.hello().await.status() != 200 {} }).await;
    assert_eq!(scene.exchanges().len(), 2);
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_fails_no_request_and_its_end_is_noticed() {
    let options = Options { token_lifetime_secs: Some(12), record: 100_000, ..Options::default() };
    let scene = Scene::with(&Target::with_identity(), options, |builder, _| builder);
    let status = scene.gateway.status;
    until(status, "the first token", |it| it["token_expires_in_secs"].is_u64()).await;
    scene.sim.fault(Rule { kind: Some(Kind::Imds), drop: true, ..Rule::default() }).unwrap();
    let traffic = Traffic::to(scene.gateway.address);
    let down = until(status, "a failed refresh", |it| it["last_failure"].is_string()).await;
    assert!(down["token_expires_in_secs"].as_u64().unwrap() > 0, "{down}");
    assert_eq!(scene.sim.tokens_issued(), 1);
    scene.sim.clear_faults();
    let up = until(status, "recovery", |it| it["last_failure"].is_null()).await;
    assert!(up["token_expires_in_secs"].as_u64().unwrap() >= 9, "{up}");
    traffic.assert_served().await;
    let metrics = http::send(status, "GET", "/metrics", &[], b"").await.text();
    assert!(metrics.contains("silverback_azure_token_failures_total{"), "{metrics}");
}

#[tokio::test]
async fn fifty_requests_with_one_refused_token_make_one_exchange() {
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, _| {
        builder.set("nginx_worker_processes", "2")
    });
    assert_eq!(scene.hello().await.status(), 200);
    scene.sim.revoke_tokens();
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let address = scene.gateway.address;
        requests.spawn(async move { chat(address).await.status() });
    }
    assert_eq!(requests.join_all().await, [200; 50]);
    assert_eq!(scene.exchanges().len(), 2);
}

#[tokio::test]
async fn clients_that_hang_up_do_not_take_the_exchange_along() {
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, sim| {
        let slow = Rule { kind: Some(Kind::Imds), delay_ms: 300, ..Rule::default() };
        sim.fault(slow).unwrap();
        builder
    });
    for _ in 0..20 {
        let mut client = TcpStream::connect(scene.gateway.address).await.unwrap();
        let head = "POST /chat HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{HELLO}", HELLO.len());
        client.write_all(request.as_bytes()).await.unwrap();
    }
    assert_eq!(scene.hello().await.status(), 200);
    assert_eq!(scene.exchanges().len(), 1);
}

#[tokio::test]
async fn a_stop_while_a_token_is_fetched_is_quiet() {
    let sim = Sim::start(Options::default()).unwrap();
    let slow = Rule { kind: Some(Kind::Imds), delay_ms: 60_000, ..Rule::default() };
    sim.fault(slow).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, Target::with_identity().yaml(&sim.url())).unwrap();
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let mut process = start.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url()).spawn();
    process.proxy().await;
    soon("the call for a token", sim.wait_for(1)).await;
    process.signal("TERM");
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(!ended.output.contains("ERROR"), "{}", ended.output);
}

/// Ten connections with a hundred requests each, so that no machine runs out of files.
#[tokio::test]
async fn a_thousand_cold_requests_share_one_refused_exchange() {
    let client = format!("azure_client_id: {CLIENT}");
    let tenant = format!("azure_tenant_id: {TENANT}");
    let auth = [SWITCH, &client, &tenant, "azure_client_secret: wrong-secret"];
    let scene = Scene::with(&Target::new(&auth), Options::default(), |builder, sim| {
        let slow = Rule { kind: Some(Kind::Entra), delay_ms: 300, ..Rule::default() };
        sim.fault(slow).unwrap();
        builder.set("nginx_worker_processes", "2").set("proxy_listen", "127.0.0.1:0 http2")
    });
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let stream = TcpStream::connect(scene.gateway.address).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::task::spawn(connection);
        for _ in 0..100 {
            let mut sender = sender.clone();
            requests.spawn(async move {
                sender.ready().await.unwrap();
                let request = hyper::Request::post("http://h/chat")
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from_static(HELLO.as_bytes())))
                    .unwrap();
                sender.send_request(request).await.unwrap().status().as_u16()
            });
        }
    }
    assert_eq!(requests.join_all().await, [500; 1000]);
    assert_eq!((scene.exchanges().len(), scene.chats().len()), (1, 0));
}
