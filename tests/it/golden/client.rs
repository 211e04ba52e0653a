//! The client of the recordings: a connection for each request, and six seconds of patience.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use flate2::read::GzDecoder;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::case::{Got, Payload, Step};
use super::places::Places;
use crate::http::{Message, Reader};

/// How long the recordings' client waited.
const PATIENCE: Duration = Duration::from_secs(6);

/// Sends a step to the gateway and reads its response.
pub async fn send(gateway: SocketAddr, step: &Step, places: &Places) -> Got {
    let bytes = request(step, places);
    let mut reader = Reader::new(TcpStream::connect(gateway).await.unwrap());
    reader.stream.set_nodelay(true).unwrap();
    let talk = async {
        // The gateway may refuse before it has read everything.
        let _ = reader.stream.write_all(&bytes).await;
        reader.message(bytes.starts_with(b"HEAD ")).await
    };
    match tokio::time::timeout(PATIENCE, talk).await {
        Err(_) => Got { timeout: true, ..Got::default() },
        Ok(None) => Got { closed_without_reply: true, ..Got::default() },
        Ok(Some(message)) => received(message, places),
    }
}

fn request(step: &Step, places: &Places) -> Vec<u8> {
    if let Some(raw) = &step.raw {
        return raw.text().map_or_else(|| raw.0.clone(), |text| places.enter(text).into_bytes());
    }
    let has = |wanted: &str| step.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(wanted));
    let mut head = format!("{} {} HTTP/1.1\r\n", step.method, places.enter(&step.path));
    if !has("host") {
        head += "Host: gw.test\r\n";
    }
    for (name, value) in &step.headers {
        head += &format!("{name}: {}\r\n", places.enter(value));
    }
    let Some(Payload(body)) = &step.body else { return (head + "\r\n").into_bytes() };
    let mut body = body.clone();
    if has("transfer-encoding") {
        let data = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
        body = [if body.is_empty() { Vec::new() } else { data }, b"0\r\n\r\n".to_vec()].concat();
    } else if !has("content-length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", &body].concat()
}

fn received(message: Message, places: &Places) -> Got {
    let is_gzip = message.header("content-encoding") == Some("gzip");
    let decoded = is_gzip.then(|| {
        let mut decoded = Vec::new();
        let _ = GzDecoder::new(message.body.as_slice()).read_to_end(&mut decoded);
        Payload(decoded)
    });
    let is_table = message.header("x-probe").is_some();
    let headers = message.headers.iter().map(|(n, value)| (n.clone(), places.leave(value)));
    Got {
        status: Some(message.status()),
        headers: headers.collect(),
        truncated: !message.complete,
        body: Some(match std::str::from_utf8(&message.body) {
            Ok(text) if is_table => Payload(places.leave_code(text).into_bytes()),
            _ => left(Payload(message.body), places),
        }),
        body_decoded: decoded.map(|decoded| left(decoded, places)),
        ..Got::default()
    }
}

/// A body with the recorded ports.
pub fn left(body: Payload, places: &Places) -> Payload {
    let text = body.text().map(|text| Payload(places.leave(text).into_bytes()));
    text.unwrap_or(body)
}
