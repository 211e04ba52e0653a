//! Plugins that tell somebody of each request: over UDP, TCP, HTTP, in a file, to the system's log.

use std::os::unix::net::UnixDatagram;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};

use super::Way;
use crate::http::Upstream;
use crate::stream_ends::soon;

/// A Service with one Route and one plugin.
fn config(plugin: &str, config: &str) -> String {
    format!(
        "services:\n- name: s\n  url: http://{{upstream}}\n  routes:\n  - name: r\n    \
         paths: [/a]\n    plugins:\n    - name: {plugin}\n      config: {config}\n"
    )
}

/// What every record says of the request that these cases send.
fn check_record(record: &Value) {
    assert_eq!(record["request"]["method"], "GET", "{record}");
    assert_eq!(record["request"]["uri"], "/a?x=1");
    assert_eq!(record["request"]["headers"]["x-mine"], "yes");
    assert_eq!(record["response"]["status"], 200);
    assert_eq!(record["route"]["name"], "r");
    assert_eq!(record["service"]["name"], "s");
    assert_eq!(record["client_ip"], "127.0.0.1");
    assert!(record["latencies"]["request"].is_number() && record["tries"].is_array());
}

async fn packet(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65536];
    let length = soon("a packet", socket.recv(&mut buffer)).await.unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// The JSON that a line ends with.
fn json_of(line: &str) -> Value {
    let from = line.find('{').unwrap_or_else(|| panic!("no JSON in {line:?}"));
    serde_json::from_str(&line[from..]).unwrap()
}

#[tokio::test]
async fn udp_log_sends_a_packet_for_each_request() {
    for way in Way::all() {
        let log = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = log.local_addr().unwrap().port();
        let fields = "custom_fields_by_lua: {mine: \"return kong.request.get_method()\"}";
        let settings = format!("{{host: 127.0.0.1, port: {port}, {fields}}}");
        let scene = way.scene(&["udp-log"]).start(&config("udp-log", &settings)).await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        let record = json_of(&packet(&log).await);
        check_record(&record);
        assert_eq!(record["mine"], "GET", "{way:?}");
    }
}

#[tokio::test]
async fn tcp_log_sends_lines_and_keeps_its_connection() {
    for way in Way::all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let settings = format!("{{host: 127.0.0.1, port: {port}}}");
        let scene = way.scene(&["tcp-log"]).start(&config("tcp-log", &settings)).await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        let (stream, _) = soon("a connection", listener.accept()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let first = soon("a line", lines.next_line()).await.unwrap().unwrap();
        check_record(&json_of(&first));
        // The connection is put back when the line has gone, which is after it has come here.
        scene.get("/a?x=2", &[]).await;
        let second = soon("another line", async {
            tokio::select! {
                line = lines.next_line() => line.unwrap().unwrap(),
                fresh = listener.accept() => {
                    BufReader::new(fresh.unwrap().0).lines().next_line().await.unwrap().unwrap()
                }
            }
        });
        assert_eq!(json_of(&second.await)["request"]["uri"], "/a?x=2", "{way:?}");
    }
}

#[tokio::test]
async fn loggly_sends_messages_of_the_right_severity() {
    for way in Way::all() {
        let log = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = log.local_addr().unwrap().port();
        let settings = format!(
            "{{host: 127.0.0.1, port: {port}, key: abc, tags: [one, two], log_level: debug, \
             successful_severity: notice}}"
        );
        let scene = way.scene(&["loggly"]).start(&config("loggly", &settings)).await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        let line = packet(&log).await;
        assert!(line.starts_with("<13>1 "), "{way:?}: {line}");
        assert!(line.contains(" kong - - [abc@41058 tag=\"one\" tag=\"two\"] {"), "{line}");
        check_record(&json_of(&line));
    }
}

#[tokio::test]
async fn file_log_writes_lines_and_opens_its_file_again() {
    for way in Way::all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let settings = format!("{{path: {}, reopen: true}}", path.display());
        let scene = way.scene(&["file-log"]).start(&config("file-log", &settings)).await;
        for _ in 0..2 {
            scene.get("/a?x=1", &[("x-mine", "yes")]).await;
            let line = soon("a line in the file", async {
                loop {
                    let text = tokio::fs::read_to_string(&path).await.unwrap_or_default();
                    if text.ends_with('\n') {
                        break text;
                    }
                    tokio::task::yield_now().await;
                }
            });
            let line = line.await;
            assert_eq!(line.lines().count(), 1, "{way:?}");
            check_record(&json_of(&line));
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[tokio::test]
async fn syslog_speaks_to_the_systems_log() {
    for way in Way::all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        // Nobody can count on a log of the system: this one stands in its place.
        let handler = format!(
            "require('lsyslog').path = '{}'\nreturn {{ PRIORITY = 1, VERSION = '1.0.0' }}",
            path.display()
        );
        let settings = config("syslog", "{log_level: debug, facility: local3}");
        let settings = format!("{settings}    - name: elsewhere\n");
        let scene = way
            .scene(&["syslog"])
            .plugin("elsewhere", &handler)
            .set("plugins", "bundled,witness,elsewhere")
            .start(&settings)
            .await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        let line = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; 65536];
            let length = log.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        let line = soon("a message", line).await.unwrap();
        // local3 is 19, and info 6.
        assert!(line.starts_with("<158>") && line.contains(" kong: {"), "{way:?}: {line}");
        check_record(&json_of(&line));
    }
}

const FAILS: &[u8] = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn http_log_sends_batches_and_tries_again() {
    for way in Way::all() {
        let log = Upstream::replying(super::OK).await;
        let settings = format!(
            "{{http_endpoint: 'http://user:pass@{}/log', headers: {{x-log: hey}}, \
             queue: {{max_batch_size: 2, max_coalescing_delay: 3600}}}}",
            log.address
        );
        let scene = way.scene(&["http-log"]).start(&config("http-log", &settings)).await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        let sent = seen(&log, 1).await.remove(0);
        assert_eq!((sent.target(), sent.header("x-log")), ("/log", Some("hey")), "{way:?}");
        assert_eq!(sent.header("authorization"), Some("Basic dXNlcjpwYXNz"));
        assert_eq!(sent.header("content-type"), Some("application/json"));
        let records = sent.json();
        assert_eq!(records.as_array().unwrap().len(), 2, "{way:?}");
        records.as_array().unwrap().iter().for_each(check_record);

        let log = Upstream::replying(FAILS).await;
        let settings = format!("{{http_endpoint: 'http://{}/'}}", log.address);
        let scene = way.scene(&["http-log"]).start(&config("http-log", &settings)).await;
        scene.get("/a?x=1", &[("x-mine", "yes")]).await;
        let tries = seen(&log, 3).await;
        assert_eq!(tries[0].body, tries[2].body, "{way:?}");
        check_record(&tries[0].json());
    }
}

/// What a server has been sent, once it is so many messages.
async fn seen(server: &Upstream, count: usize) -> Vec<super::Message> {
    soon("messages", async {
        loop {
            let seen = server.seen();
            if seen.len() >= count {
                break seen;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

const CONSUMER: &str = "consumers:\n- username: ann\n  custom_id: c.1\n  keyauth_credentials:\n  \
    - key: k\n";

/// The configuration of a metrics plugin behind key-auth.
fn metered(plugin: &str, settings: &str) -> String {
    let config = config(plugin, settings);
    format!("{CONSUMER}{config}    - name: key-auth\n")
}

/// Packets until one has come for each of the beginnings.
async fn packets(socket: &UdpSocket, beginnings: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let is_there = |found: &[String], start: &&&str| found.iter().any(|p| p.starts_with(**start));
    while !beginnings.iter().all(|start| is_there(&found, &start)) {
        found.extend(packet(socket).await.lines().map(str::to_owned));
    }
    found
}

#[tokio::test]
async fn datadog_counts_and_measures() {
    for way in Way::all() {
        let agent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = agent.local_addr().unwrap().port();
        let settings = format!("{{host: 127.0.0.1, port: {port}, prefix: gate}}");
        let scene = way.scene(&["datadog"]).start(&metered("datadog", &settings)).await;
        assert_eq!(scene.get("/a?x=1", &[("apikey", "k")]).await.status(), 200);
        let names = [
            "gate.request.count:1|c|#name:s,status:200,consumer:c.1,app:kong",
            "gate.latency:",
            "gate.request.size:",
            "gate.response.size:",
            "gate.upstream_latency:",
            "gate.kong_latency:",
        ];
        let found = packets(&agent, &names).await;
        let tags = "|#name:s,status:200,consumer:c.1,app:kong";
        assert!(found.iter().all(|packet| packet.ends_with(tags)), "{way:?}: {found:?}");
    }
}

#[tokio::test]
async fn statsd_counts_measures_and_tells_of_memory() {
    for way in Way::all() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let settings = format!("{{host: 127.0.0.1, port: {port}}}");
        let scene = way.scene(&["statsd"]).start(&metered("statsd", &settings)).await;
        assert_eq!(scene.get("/a?x=1", &[("apikey", "k")]).await.status(), 200);
        let names = [
            "kong.service.s.request.count:1|c",
            "kong.service.s.status.200:1|c",
            "kong.service.s.latency:",
            "kong.service.s.request.size:",
            "kong.service.s.response.size:",
            "kong.service.s.upstream_latency:",
            "kong.service.s.kong_latency:",
            "kong.service.s.user.uniques:c.1|s",
            "kong.service.s.user.c.1.request.count:1|c",
            "kong.service.s.user.c.1.status.200:1|c",
            "kong.route.",
            "kong.node.",
        ];
        let found = packets(&server, &names).await;
        assert!(found.iter().any(|packet| packet.contains(".shdict.")), "{way:?}: {found:?}");
    }
}

const ANSWERS: &[u8] = b"HTTP/1.1 201 Created\r\nx-from: function\r\ncontent-type: text/plain\r\n\
    content-length: 4\r\n\r\nmade";

#[tokio::test]
async fn azure_functions_answers_for_the_upstream() {
    for way in Way::all() {
        let function = Upstream::replying(ANSWERS).await;
        let settings = "{appname: app, functionname: fn/, hostdomain: azure.test, \
            routeprefix: /api/, https: false, apikey: k, clientid: c}";
        let mut scene = way.scene(&["azure-functions"]);
        scene.builder = scene.builder.name("app.azure.test:80", function.address);
        let scene = scene.start(&config("azure-functions", settings)).await;
        let headers = [("x-mine", "yes"), ("content-type", "text/plain")];
        let answer = scene.gateway.send("POST", "/a?x=1", &headers, b"hello").await;
        assert_eq!((answer.status(), answer.text().as_str()), (201, "made"), "{way:?}");
        assert_eq!(answer.header("x-from"), Some("function"));
        assert!(scene.upstream.seen().is_empty());
        let sent = function.seen().remove(0);
        assert_eq!((sent.target(), sent.text().as_str()), ("/api/fn?x=1", "hello"), "{way:?}");
        assert_eq!(sent.header("x-functions-key"), Some("k"));
        assert_eq!(sent.header("x-functions-clientid"), Some("c"));
        assert_eq!(
            (sent.header("host"), sent.header("x-mine")),
            (Some("app.azure.test"), Some("yes"))
        );
    }
}
