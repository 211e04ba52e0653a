//! What clients do in each way.

use tokio::io::AsyncWriteExt as _;

use super::super::http::Reader;
use super::behaviours::{Act, Ask, Behaviour, deployment};
use super::seen::Seen;
use super::{HOST, Scene, Stream, Way};

type Client = Reader<Box<dyn Stream>>;

async fn client(scene: &Scene, way: Way) -> Client {
    Reader::new(scene.connect(way).await)
}

async fn asking(scene: &Scene, way: Way, bytes: &[u8]) -> Client {
    let mut client = client(scene, way).await;
    client.stream.write_all(bytes).await.unwrap();
    client
}

pub(super) async fn act(scene: &Scene, way: Way, behaviour: &Behaviour) -> Seen {
    let before = scene.sim.requests().len();
    let seen = match &behaviour.act {
        Act::Ask(ask) => Seen::new(answer(scene, way, ask).await),
        Act::AskTwice(ask) => twice(scene, way, ask).await,
        Act::Expect(ask) => expect(scene, way, ask).await,
        Act::HangUp(ask) => return hang_up(scene, way, ask).await,
        Act::Session(target) => return session(scene, way, target).await,
        Act::WithFile(method, rest) => with_file(scene, way, method, rest).await,
    };
    if !behaviour.shows_upstream {
        return seen;
    }
    let got = scene.sim.requests();
    let Some(got) = got.get(before) else { return seen.with("upstream", "nothing") };
    let body = String::from_utf8_lossy(&got.body);
    let length = got.header("content-length").map_or("in chunks", |_| "of known length");
    seen.with("upstream gets", &got.target())
        .with("upstream's body", &body)
        .with("upstream's body is", length)
        .with("upstream's type", got.header("content-type").unwrap_or("none"))
}

async fn answer(scene: &Scene, way: Way, ask: &Ask) -> Option<super::super::http::Message> {
    let mut client = asking(scene, way, &ask.bytes()).await;
    client.message(ask.method == "HEAD").await
}

/// Two requests on one connection, the second when the first is answered.
async fn twice(scene: &Scene, way: Way, ask: &Ask) -> Seen {
    let mut client = asking(scene, way, &ask.bytes()).await;
    let first = client.message(ask.method == "HEAD").await;
    let sent = client.stream.write_all(&ask.bytes()).await;
    let second = client.message(ask.method == "HEAD").await.filter(|_| sent.is_ok());
    let second = second.map_or("no answer".to_owned(), |second| second.first);
    Seen::new(first).with("second answer", &second)
}

/// The body follows when it is asked for.
async fn expect(scene: &Scene, way: Way, ask: &Ask) -> Seen {
    let bytes = ask.bytes();
    let (head, body) = bytes.split_at(bytes.len() - ask.body.len());
    let mut client = asking(scene, way, head).await;
    let interim = client.head().await.map_or(String::new(), |head| head.first);
    client.stream.write_all(body).await.unwrap();
    Seen::new(client.message(false).await).with("before the body", &interim)
}

/// Leaves when the first bytes of the answer are there.
async fn hang_up(scene: &Scene, way: Way, ask: &Ask) -> Seen {
    let mut client = asking(scene, way, &ask.bytes()).await;
    let head = client.head().await;
    client.chunk().await;
    drop(client);
    let request = scene.sim.last().unwrap();
    let outcome = scene.sim.settled(&request).await;
    Seen::head(head).with("upstream's reply", &format!("{outcome:?}"))
}

/// A session from its upgrade to the close frame.
async fn session(scene: &Scene, way: Way, target: &str) -> Seen {
    let ask = format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\napi-key: sim-key\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut client = asking(scene, way, ask.as_bytes()).await;
    let head = client.head().await;
    // A close frame with 1000, under a mask of zeros.
    client.stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
    let (frames, _) = client.exactly(usize::MAX).await;
    Seen::head(head).with("frames", &frames.escape_ascii().to_string())
}

/// Something done with a file that was there before.
async fn with_file(scene: &Scene, way: Way, method: &'static str, rest: &str) -> Seen {
    let made = answer(scene, Way::Direct, &deployment::upload()).await.unwrap().json();
    let path = format!("/openai/files/{}{rest}", made["id"].as_str().unwrap());
    let target = format!("{path}?api-version=2025-04-01-preview");
    Seen::new(answer(scene, way, &Ask::new(method, &target)).await)
}
