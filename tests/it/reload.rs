//! New configurations under traffic: what is good goes live at once, what is bad changes nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::cli_process::{Process, silverback};
use super::http::{self, Reader, Upstream};
use super::stream_ends::{Client, Upstream as ByHand, soon};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A file whose only Route answers with this text.
fn saying(text: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://127.0.0.1:9\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n    - name: request-termination\n      \
         config: {{status_code: 200, message: {text}}}\n"
    )
}

/// A file whose only Route leads to a folder of an upstream.
fn leading(to: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: {to}\n  routes:\n  \
         - name: r\n    paths: [/a]\n"
    )
}

/// A process that watches a file.
struct Watching {
    process: Process,
    address: SocketAddr,
    status: SocketAddr,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Watching {
    async fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kong.yaml");
        std::fs::write(&path, text).unwrap();
        let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
        let mut process = start.env("KONG_PROXY_ACCESS_LOG", "off").spawn();
        let address = process.proxy().await;
        let status = process.status().await;
        Self { process, address, status, path, _folder: folder }
    }

    async fn get(&self) -> http::Message {
        http::send(self.address, "GET", "/a", &[], b"").await
    }

    async fn hash(&self) -> String {
        let status = http::send(self.status, "GET", "/status", &[], b"").await;
        status.json()["configuration_hash"].as_str().unwrap().to_owned()
    }
}

/// Replaces a file in one step, as editors and Kubernetes do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[tokio::test]
async fn a_changed_file_goes_live_in_under_a_second() {
    let mut watching = Watching::start(&saying("v0")).await;
    let mut times = Vec::new();
    // A busy machine may lose one race, not three.
    for n in 1..=3 {
        let text = format!("v{n}");
        let start = Instant::now();
        if n == 2 {
            std::fs::write(&watching.path, saying(&text)).unwrap();
        } else {
            replace(&watching.path, &saying(&text));
        }
        watching.process.line_with("configuration loaded").await;
        let live = async { while !watching.get().await.text().contains(&text) {} };
        soon("the new answer", live).await;
        times.push(start.elapsed());
    }
    assert!(times.iter().any(|time| *time < Duration::from_secs(1)), "{times:?}");
}

#[tokio::test]
async fn a_log_that_grows_beside_the_file_does_not_hold_up_a_reload() {
    let mut watching = Watching::start(&saying("v0")).await;
    let mut log = tokio::fs::File::create(watching.path.with_file_name("log")).await.unwrap();
    let grow = async {
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        loop {
            pause.tick().await;
            log.write_all(b"a line\n").await.unwrap();
            log.flush().await.unwrap();
        }
    };
    replace(&watching.path, &saying("v1"));
    tokio::select! {
        () = grow => {}
        _ = watching.process.line_with("configuration loaded") => {}
    }
    soon("the new answer", async { while !watching.get().await.text().contains("v1") {} }).await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_every_error_is_logged() {
    let mut watching = Watching::start(&saying("v0")).await;
    let hash = watching.hash().await;
    let bad = saying("v1").replace("status_code: 200", "status_code: 9").replace("url:", "ulr:");
    replace(&watching.path, &bad);
    watching.process.line_with("the one in force stays").await;
    let first = watching.process.line_with("kong.yaml:").await;
    let second = watching.process.line_with("kong.yaml:").await;
    assert!(first.contains("ulr") || second.contains("ulr"), "{first}\n{second}");
    assert!(watching.get().await.text().contains("v0"));
    assert_eq!(watching.hash().await, hash);
    let metrics = http::send(watching.status, "GET", "/metrics", &[], b"").await.text();
    let counted = "silverback_config_loads_total{outcome=\"error\"} 1";
    assert!(metrics.contains(counted), "{metrics}");

    replace(&watching.path, &saying("v2"));
    watching.process.line_with("configuration loaded").await;
    soon("the new answer", async { while !watching.get().await.text().contains("v2") {} }).await;
    assert_ne!(watching.hash().await, hash);
}

#[tokio::test]
async fn a_missing_file_changes_nothing() {
    let mut watching = Watching::start(&saying("v0")).await;
    std::fs::remove_file(&watching.path).unwrap();
    watching.process.line_with("kong.yaml: No such file").await;
    assert!(watching.get().await.text().contains("v0"));
    std::fs::write(&watching.path, saying("v1")).unwrap();
    watching.process.line_with("configuration loaded").await;
    soon("the new answer", async { while !watching.get().await.text().contains("v1") {} }).await;
}

#[tokio::test]
async fn hup_loads_again() {
    let mut watching = Watching::start(&saying("v0")).await;
    watching.process.signal("HUP");
    watching.process.line_with("HUP").await;
    watching.process.line_with("configuration loaded").await;
    assert!(watching.get().await.text().contains("v0"));
}

#[tokio::test]
async fn hup_takes_over_the_log_level_of_kong_conf_and_a_wrong_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, conf) = (folder.path().join("kong.yaml"), folder.path().join("kong.conf"));
    std::fs::write(&path, saying("v0")).unwrap();
    std::fs::write(&conf, "log_level = notice\n").unwrap();
    let arguments = ["run", path.to_str().unwrap(), "--conf", conf.to_str().unwrap()];
    let mut process = silverback(&arguments).on_free_ports().spawn();
    let status = process.status().await;
    let level = async || http::send(status, "GET", "/status", &[], b"").await.json();
    for (text, line) in [
        ("log_level = loud\n", "the log level stays: "),
        ("log_level = info\n", "log level: info"),
        ("log_level = error\n", ""),
    ] {
        std::fs::write(&conf, text).unwrap();
        process.signal("HUP");
        if !line.is_empty() {
            process.line_with(line).await;
        }
    }
    soon("the new level", async { while level().await["log_level"] != "error" {} }).await;
}

#[tokio::test]
async fn a_rotated_variable_of_the_env_file_goes_live() {
    let folder = tempfile::tempdir().unwrap();
    let (path, env) = (folder.path().join("kong.yaml"), folder.path().join("env"));
    std::fs::write(&path, saying("${{ env \"DECK_WORD\" }}")).unwrap();
    std::fs::write(&env, "DECK_WORD=first\n").unwrap();
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let mut process = start.env("SILVERBACK_ENV_FILE", env.to_str().unwrap()).spawn();
    let address = process.proxy().await;
    let get = || http::send(address, "GET", "/a", &[], b"");
    assert!(get().await.text().contains("first"));
    replace(&env, "DECK_WORD=second\n");
    process.line_with("configuration loaded").await;
    soon("the new answer", async { while !get().await.text().contains("second") {} }).await;
}

#[tokio::test]
async fn no_request_is_lost_while_configurations_change() {
    let upstream = Upstream::replying(OK).await;
    let to = |folder: usize| leading(&format!("http://{}/v{folder}", upstream.address));
    let watching = Watching::start(&to(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (address, stop, answered) = (watching.address, stop.clone(), answered.clone());
        clients.spawn(async move {
            // One connection for all requests: a reload must not close it either.
            let mut reader = Reader::new(TcpStream::connect(address).await.unwrap());
            while !stop.load(Ordering::Relaxed) {
                reader.stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
                let answer = reader.message(false).await.expect("the connection was closed");
                assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut process = watching.process;
    for n in 1..=3 {
        replace(&watching.path, &to(n));
        process.line_with("configuration loaded").await;
    }
    let target = "/v3";
    let last = || upstream.seen().last().is_some_and(|seen| seen.target().starts_with(target));
    soon("the last configuration serves", async {
        while !last() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    assert!(answered.load(Ordering::Relaxed) > 10);
}

#[tokio::test]
async fn a_request_keeps_the_configuration_it_began_with() {
    let upstream = ByHand::start().await;
    let mut watching = Watching::start(&leading(&upstream.url())).await;
    let mut client = Client::post(watching.address, "/a", "", "{}").await;
    let mut answering = upstream.request().await;
    replace(&watching.path, &saying("new").replace("/a", "/b"));
    watching.process.line_with("configuration loaded").await;
    let get = || http::send(watching.address, "GET", "/b", &[], b"");
    soon("the new answer", async { while !get().await.text().contains("new") {} }).await;
    answering.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.header("content-length")), (200, Some("3")));
}
