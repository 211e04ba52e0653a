//! What those who run the gateway hear of it: systemd, probes, the record of reloads.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::cli_process::silverback;
use super::gateway::Builder;
use super::http;
use super::stream_ends::soon;

const FILE: &str = "_format_version: '3.0'\nservices:\n- {name: s, url: 'http://127.0.0.1:9'}\n";

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(socket)
    }

    fn told(&self) -> String {
        let mut bytes = [0; 64];
        let length = self.0.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}

#[tokio::test]
async fn systemd_is_told_of_the_start_of_reloads_and_of_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (path, socket) = (folder.path().join("kong.yaml"), folder.path().join("notify"));
    std::fs::write(&path, FILE).unwrap();
    let manager = Manager::listen(&socket);
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let mut process = start.env("NOTIFY_SOCKET", socket.to_str().unwrap()).spawn();
    process.status().await;
    assert_eq!(manager.told(), "READY=1");
    process.signal("HUP");
    assert_eq!([manager.told(), manager.told()], ["RELOADING=1", "READY=1"]);
    process.signal("QUIT");
    assert_eq!(manager.told(), "STOPPING=1");
    assert_eq!(process.ended().await.code, Some(0));
}

#[tokio::test]
async fn signals_of_scripts_for_nginx_do_not_end_the_process_and_usr1_opens_the_access_log_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("kong.yaml"), folder.path().join("access.log"));
    let moved = folder.path().join("access.log.1");
    std::fs::write(&path, FILE).unwrap();
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let mut process = start.env("KONG_PROXY_ACCESS_LOG", log.to_str().unwrap()).spawn();
    let proxy = process.proxy().await;
    http::send(proxy, "GET", "/before", &[], b"").await;
    let has = async |file: &Path, text: &str| {
        while !std::fs::read_to_string(file).is_ok_and(|lines| lines.contains(text)) {
            tokio::task::yield_now().await;
        }
    };
    soon("the line is written", has(&log, "/before")).await;
    std::fs::rename(&log, &moved).unwrap();
    process.signal("USR2");
    process.line_with("USR2 does nothing").await;
    process.signal("USR1");
    process.line_with("opening the access log anew").await;
    http::send(proxy, "GET", "/after", &[], b"").await;
    soon("the line is in a new file", has(&log, "/after")).await;
    assert!(!std::fs::read_to_string(&moved).unwrap().contains("/after"));
    process.signal("TERM");
    assert_eq!(process.ended().await.code, Some(0));
}

#[tokio::test]
async fn an_access_log_that_cannot_be_opened_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, FILE).unwrap();
    let log = folder.path().join("none/access.log");
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let ended = start.env("KONG_PROXY_ACCESS_LOG", log.to_str().unwrap()).ended().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.output.contains("proxy_access_log"), "{}", ended.output);
}

#[tokio::test]
async fn a_refused_request_has_its_reason_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, FILE).unwrap();
    let start = silverback(&["run", path.to_str().unwrap()]).on_free_ports();
    let mut process = start.env("KONG_LOG_LEVEL", "info").spawn();
    let proxy = process.proxy().await;
    for (headers, why) in [
        ("Host: a\r\nHost: b\r\n", "it has two Hosts"),
        ("Host: a\r\nX : b\r\n", "one of its header lines is none"),
        ("Host: a\nX: b\r\n", "a line ends without CR"),
    ] {
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        assert_eq!(http::raw(proxy, request.as_bytes()).await.unwrap().status(), 400);
        process.line_with(why).await;
    }
}

#[tokio::test]
async fn status_tells_when_a_load_failed_and_when_one_worked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, FILE).unwrap();
    let gateway = Builder::default().start_with_file(&path);
    std::fs::write(&path, FILE.replace("url", "ulr").replace("name", "nmae")).unwrap();
    let errors = gateway.reload().await.unwrap_err();
    std::fs::write(&path, FILE.replace("9'", "10'")).unwrap();
    gateway.reload().await.unwrap();
    let status = gateway.status("/status").await.json();
    let loads = status["loads"].as_array().unwrap();
    let outcomes: Vec<_> = loads.iter().map(|load| load["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["ok", "error", "ok"]);
    assert_eq!(loads[0]["configuration_hash"], status["configuration_hash"]);
    assert_ne!(loads[2]["configuration_hash"], status["configuration_hash"]);
    assert_eq!(loads[1]["errors"], errors.len());
    assert!(loads[1]["time"].as_str().unwrap().ends_with(" GMT"));
}

#[tokio::test]
async fn reloads_that_are_asked_for_while_one_runs_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    std::fs::write(&path, FILE).unwrap();
    let gateway = Builder::default().start_with_file(&path);
    // All ask before the first of them is through: one runs, the others share the next.
    let asked = (0..8).map(|_| gateway.reload());
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let status = gateway.status("/status").await.json();
    let loads = status["loads"].as_array().unwrap().len() - 1;
    assert!((1..8).contains(&loads), "{loads}");
}

#[tokio::test]
async fn a_gateway_that_is_told_to_drain_says_so_and_serves_on() {
    let gateway = Builder::default().start(FILE);
    gateway.get("/").await; // answered by the worker, which is ready then
    let ready = || async { gateway.status("/status/ready").await };
    let post = |kind: &'static str, body: &'static str| {
        let headers = [("Content-Type", kind)];
        let status = gateway.status;
        async move {
            http::send(status, "POST", "/status/ready", &headers, body.as_bytes()).await.status()
        }
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    assert_eq!(post(FORM, "status=ready").await, 400);
    assert_eq!((ready().await.status(), ready().await.text().as_str()), READY);
    assert_eq!(post(FORM, "status=draining").await, 200);
    assert_eq!((ready().await.status(), ready().await.text().as_str()), DRAINING);
    assert_eq!(gateway.get("/nothing").await.status(), 404);
    assert_eq!(post("application/json", r#"{"status": "draining"}"#).await, 200);
}

const READY: (u16, &str) = (200, r#"{"message":"ready"}"#);
const DRAINING: (u16, &str) = (503, r#"{"message":"draining"}"#);

#[tokio::test]
async fn health_asks_the_gateway_whether_it_is_ready() {
    let gateway = Builder::default().start(FILE);
    gateway.get("/").await; // answered by the worker, which is ready then
    let address = gateway.status.to_string();
    let ask = || silverback(&["health"]).env("KONG_STATUS_LISTEN", &address).ended();
    let ended = ask().await;
    assert_eq!((ended.code, ended.output.trim()), (Some(0), READY.1), "{}", ended.output);
    http::send(gateway.status, "POST", "/status/ready", &[], b"status=draining").await;
    let ended = ask().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.output.contains("is not ready: HTTP/1.1 503"), "{}", ended.output);
    drop(gateway);
    let ended = ask().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.output.contains("Connection refused"), "{}", ended.output);
}

/// The unit of the repository: what it starts exists, and systemd can read it.
#[test]
fn the_unit_file_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/silverback.service");
    let unit = std::fs::read_to_string(path).unwrap();
    assert!(unit.contains("\nType=notify\n") && unit.contains("ExecReload=/bin/kill -HUP"));
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("silverback.service");
    let program = env!("CARGO_BIN_EXE_silverback");
    std::fs::write(&copy, unit.replace("/usr/local/bin/silverback", program)).unwrap();
    let verify = std::process::Command::new("systemd-analyze").arg("verify").arg(&copy).output();
    let Ok(output) = verify else {
        return println!("no systemd-analyze: the syntax is not checked");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("silverback.service"), "{said}");
}
