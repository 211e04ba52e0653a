//! Any bytes from a client, and any bytes from an upstream: the gateway answers or closes, and what
//! it sends on is well formed. A panic anywhere is a finding, also one that would be caught.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use silverback::config::Source;
use silverback::gateway::{Gateway, Start};
use silverback::loader::Input;
use silverback::settings::{Env, Flags, Settings};

/// Between what the client sends and what the upstream answers.
const BETWEEN: &[u8] = b"\n--upstream--\n";
/// How long either side waits. Nothing takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the client sends, [`BETWEEN`], and what the upstream answers.
pub fn run(data: &[u8]) {
    let at = data.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let (client, upstream) = match at {
        Some(at) => (&data[..at], &data[at + BETWEEN.len()..]),
        None => (data, &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..]),
    };
    static SCENE: LazyLock<Mutex<Scene>> = LazyLock::new(|| Mutex::new(Scene::start()));
    let scene = SCENE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *scene.reply.lock().expect("nobody panics with it") = upstream.to_vec();
    let mut stream = TcpStream::connect(scene.gateway).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let _ = stream.write_all(client);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("no end after {PATIENCE:?}: {:?}", String::from_utf8_lossy(&answer));
        }
        // Bytes that nobody read make a reset out of a close.
        Err(_) | Ok(_) => {}
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "no HTTP: {answer:?}");
    for head in scene.heads.lock().expect("nobody panics with it").drain(..) {
        check(&head);
    }
}

/// What the upstream got is one request with one framing.
fn check(head: &[u8]) {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut framings = 0;
    for (number, line) in text.split("\r\n").enumerate() {
        assert!(!line.contains(['\r', '\n', '\0']), "a line in a line: {line:?}");
        if number == 0 {
            assert!(line.ends_with(" http/1.1") && line.split(' ').count() == 3, "{line:?}");
        } else {
            let name = line.split(':').next().unwrap_or_default();
            assert!(!name.is_empty() && !name.contains([' ', '\t']), "{line:?}");
            framings += usize::from(matches!(name, "content-length" | "transfer-encoding"));
        }
    }
    assert!(framings <= 1, "two framings: {text}");
}

struct Scene {
    gateway: SocketAddr,
    reply: Arc<Mutex<Vec<u8>>>,
    heads: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Scene {
    fn start() -> Self {
        let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = upstream.local_addr().expect("an address").port();
        let (reply, heads) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<_>>::default());
        let (reply_too, heads_too) = (reply.clone(), heads.clone());
        std::thread::spawn(move || {
            for stream in upstream.incoming().flatten() {
                let (reply, heads) = (reply_too.clone(), heads_too.clone());
                std::thread::spawn(move || answer(stream, &reply, &heads));
            }
        });
        Self { gateway: gateway(port), reply, heads }
    }
}

/// Reads a head, answers what it is told to, and closes.
fn answer(mut stream: TcpStream, reply: &Mutex<Vec<u8>>, heads: &Mutex<Vec<Vec<u8>>>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.extend(byte);
    }
    if let Some(head) = head.strip_suffix(b"\r\n\r\n") {
        heads.lock().expect("nobody panics with it").push(head.to_vec());
    }
    let bytes = reply.lock().expect("nobody panics with it").clone();
    let _ = stream.write_all(&bytes);
    let _ = stream.shutdown(Shutdown::Write);
    // What is still on its way is taken, so that the answer is not lost to a reset.
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
}

/// A gateway that trusts its client, so that every header counts.
fn gateway(port: u16) -> SocketAddr {
    let text = format!(
        r#"
_format_version: "3.0"
services:
- name: s
  url: http://127.0.0.1:{port}/base
  retries: 0
  connect_timeout: 1000
  read_timeout: 1000
  write_timeout: 1000
  routes:
  - {{ name: all, paths: [/] }}
  - {{ name: keep, paths: [/keep], preserve_host: true, strip_path: false }}
plugins:
- {{ name: correlation-id, config: {{ echo_downstream: true }} }}
"#
    );
    let flags: Flags = [
        ("proxy_listen", "127.0.0.1:0"),
        ("status_listen", "127.0.0.1:0"),
        ("nginx_worker_processes", "1"),
        ("proxy_access_log", "off"),
        ("trusted_ips", "127.0.0.1"),
        ("real_ip_header", "X-Forwarded-For"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let read = Settings::read(&flags, Env::default(), None);
    let settings = read.unwrap_or_else(|errors| panic!("{errors:?}")).settings;
    let inputs = vec![Input::Text(Source { name: "kong.yaml".into(), text })];
    let started = Gateway::start(Start { settings, inputs, names: None });
    let gateway = started.unwrap_or_else(|errors| panic!("{errors:?}"));
    let address = gateway.addresses[0];
    // It lives as long as the process.
    std::mem::forget(gateway);
    address
}
