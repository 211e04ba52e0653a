//! Servers for specs: one that does what its client says, one that speaks TLS, one that sends
//! datagrams back. They end with the process.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Runs a server on a port of the system's choosing.
fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            thread::spawn(move || each(stream));
        }
    });
    port
}

/// A server whose client sends lines such as `say abc|close`: it says `abc` and closes. `reset`
/// breaks the connection off.
pub(super) fn scripted() -> u16 {
    serve(|mut stream| {
        let reader = BufReader::new(stream.try_clone().unwrap());
        for line in reader.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            for step in line.split('|') {
                if let Some(text) = step.strip_prefix("say ") {
                    let text = text.replace("\\r", "\r").replace("\\n", "\n");
                    stream.write_all(text.as_bytes()).unwrap();
                }
                if step == "reset" {
                    let linger = Some(std::time::Duration::ZERO);
                    socket2::SockRef::from(&stream).set_linger(linger).unwrap();
                }
                if step == "close" || step == "reset" {
                    // The reader's copy is the same socket: both are closed here.
                    if step == "close" {
                        stream.shutdown(std::net::Shutdown::Both).unwrap();
                    }
                    return;
                }
            }
        }
    })
}

/// [`http`] over TLS.
pub(super) fn tls(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> u16 {
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    serve(move |stream| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        session(StreamOwned::new(connection, stream));
    })
}

/// A Redis of its own, without a port; it ends when this is dropped.
pub(super) struct Redis {
    server: Child,
    folder: tempfile::TempDir,
}

impl Redis {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"])
            .arg(folder.path())
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server");
        let lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let is_ready = |line: &String| line.to_lowercase().contains("ready to accept connections");
        assert!(lines.map_while(Result::ok).any(|line| is_ready(&line)), "redis-server ended");
        Self { server, folder }
    }

    pub(super) fn path(&self) -> String {
        self.folder.path().join("redis.sock").display().to_string()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// Sends every datagram back behind `pong:`; `quiet` gets no answer.
pub(super) fn echo() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            if &buffer[..count] != b"quiet" {
                let answer = [b"pong:", &buffer[..count]].concat();
                socket.send_to(&answer, peer).unwrap();
            }
        }
    });
    port
}

/// A server of HTTP/1.1 with an answer for each path; `/echo` tells the request.
pub(super) fn http() -> u16 {
    serve(session)
}

/// A proxy that makes tunnels to this machine, for clients that say `let me`.
pub(super) fn proxy() -> u16 {
    serve(|mut client| {
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let Some((head, _)) = request(&mut reader) else { return };
        let port = head.split(' ').nth(1).and_then(|target| target.rsplit(':').next());
        let port = port.and_then(|port| port.parse::<u16>().ok()).unwrap_or_default();
        if !head.starts_with("CONNECT ") || !head.contains("Authorization: let me\r\n") {
            let refused = "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n";
            return client.write_all(refused.as_bytes()).unwrap();
        }
        let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(b"HTTP/1.1 200 Go on\r\n\r\n").unwrap();
        let mut up = server.try_clone().unwrap();
        thread::spawn(move || std::io::copy(&mut reader, &mut up));
        // A client that goes breaks the tunnel off.
        let _ = std::io::copy(&mut server, &mut client);
    })
}

/// A DNS server that knows a few names below `test`, over UDP and TCP.
pub(super) fn dns() -> u16 {
    let (udp, tcp) = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .find_map(|udp| {
            let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
            Some((udp, tcp))
        })
        .unwrap();
    let port = udp.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((count, from)) = udp.recv_from(&mut buffer) {
            let question = &buffer[..count];
            // Somebody else's answer comes first: it has another id.
            let mut stray = reply(question, false);
            stray[0] ^= 1;
            udp.send_to(&stray, from).unwrap();
            udp.send_to(&reply(question, false), from).unwrap();
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            let answer = reply(&question, true);
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &answer].concat()).unwrap();
        }
    });
    port
}

/// The answer to a question. A name in a record points at the one in the question.
fn reply(question: &[u8], is_whole: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(&question[12..question.len() - 4]).into_owned();
    let name = &[0xc0, 12];
    let record = |kind: u8, data: &[u8]| {
        let length = u8::try_from(data.len()).unwrap();
        [&name[..], &[0, kind, 0, 1, 0, 0, 0, 60, 0, length], data].concat()
    };
    // Truncated is a flag of the first byte, an unknown name a code of the second.
    let (flags, code, records) = match text.as_str() {
        "\u{1}a\u{4}test\0" => {
            (0x81, 0x80, vec![record(5, b"\x01b\xc0\x0e"), record(1, &[127, 0, 0, 9])])
        }
        "\u{3}six\u{4}test\0" => {
            let mut address = [0; 16];
            address[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
            address[15] = 1;
            (0x81, 0x80, vec![record(28, &address)])
        }
        "\u{3}srv\u{4}test\0" => {
            (0x81, 0x80, vec![record(33, b"\0\x01\0\x02\x1f\x90\x01a\xc0\x10")])
        }
        "\u{3}txt\u{4}test\0" => (0x81, 0x80, vec![record(16, b"\x03one\x03two")]),
        "\u{3}big\u{4}test\0" if is_whole => (0x81, 0x80, vec![record(1, &[127, 0, 0, 8])]),
        "\u{3}big\u{4}test\0" => (0x83, 0x80, Vec::new()),
        _ => (0x81, 0x83, Vec::new()),
    };
    let count = u8::try_from(records.len()).unwrap();
    let head = [&question[..2], &[flags, code, 0, 1, 0, count, 0, 0, 0, 0]].concat();
    [head, question[12..].to_vec(), records.concat()].concat()
}

fn session<S: Read + Write>(stream: S) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = request(&mut stream) {
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let path = target.split('?').next().unwrap_or_default();
        let (answer, closes) = answer(path, &head, &body);
        let written = stream.get_mut().write_all(answer.as_bytes());
        if written.is_err() || closes {
            return;
        }
    }
}

fn request<S: Read>(reader: &mut BufReader<S>) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some(at) = lower.find("content-length: ") {
        let length = lower[at + 16..].lines().next()?.trim().parse().ok()?;
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
    } else if lower.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            reader.read_until(b'\n', &mut body).ok()?;
        }
    }
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}

fn answer(path: &str, head: &str, body: &str) -> (String, bool) {
    let plain =
        |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n";
    match path {
        "/echo" => (plain(&format!("{head}{body}")), false),
        "/chunked" => {
            (format!("{chunked}3\r\nabc\r\n4;x=1\r\ndefg\r\n0\r\nX-End: 1\r\n\r\n"), false)
        }
        "/broken" => (format!("{chunked}3\r\nab"), true),
        "/until-close" => ("HTTP/1.0 200 Fine\r\n\r\nto the end".to_owned(), true),
        "/headers" => {
            let two = "X-Two: 1\r\nx-two: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n";
            (format!("HTTP/1.1 200 OK\r\n{two}Content-Length: 0\r\n\r\n"), false)
        }
        "/no-content" => ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), false),
        "/not-modified" => ("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(), false),
        "/moved" => {
            let moved = "HTTP/1.1 302 Found\r\nLocation: /echo?moved\r\nContent-Length: 0\r\n\r\n";
            (moved.to_owned(), false)
        }
        "/closing" => {
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_owned(), true)
        }
        "/head" => ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_owned(), false),
        "/continue" => (format!("HTTP/1.1 100 Continue\r\n\r\n{}", plain("went on")), false),
        "/garbage" => ("no http at all\r\n\r\n".to_owned(), true),
        "/nothing" => (String::new(), true),
        _ => (plain(path), false),
    }
}
