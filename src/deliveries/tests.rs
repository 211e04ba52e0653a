//! What a queue holds, loses and sends at once.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::settings::Settings;
use crate::tls::{UpstreamTls, install_provider};

fn deliveries() -> Deliveries {
    install_provider();
    let settings = Settings::defaults();
    let tls = UpstreamTls::new(&settings).unwrap().config(true);
    let dns = Dns::table(&settings.dns, Handle::current(), HashMap::new());
    Deliveries::new(Handle::current(), tls, Arc::new(dns), 1)
}

fn destination(address: SocketAddr) -> Destination {
    Destination {
        url: Url::parse(&format!("http://{address}/")).unwrap(),
        method: Method::POST,
        headers: HeaderMap::new(),
        framing: Framing::Json,
        connect: None,
        timeout: Duration::from_secs(60),
        keepalive: Duration::from_secs(60),
    }
}

const TERMS: Terms = Terms {
    batch_max: 2,
    delay: Duration::ZERO,
    entries_max: 2,
    bytes_max: Some(3),
    retry_time: Duration::ZERO,
    retry_delay: Duration::ZERO,
    retry_delay_max: Duration::ZERO,
    unlimited: false,
};

#[tokio::test]
async fn a_full_queue_loses_its_oldest_and_refuses_what_never_fits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deliveries = deliveries();
    let queue = deliveries.queue(destination(listener.local_addr().unwrap()), TERMS).unwrap();
    // Nobody empties the queue before this test waits.
    for entry in ["1", "2", "33", "4444"] {
        queue.push(Bytes::from_static(entry.as_bytes()));
    }
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(body(&mut stream, "[2,33]".len()).await, "[2,33]");
}

/// The body of a request, which has this length.
async fn body(stream: &mut TcpStream, length: usize) -> String {
    let mut seen = Vec::new();
    let end = |seen: &[u8]| seen.windows(4).position(|four| four == b"\r\n\r\n");
    while end(&seen).is_none_or(|head| seen.len() < head + 4 + length) {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    String::from_utf8(seen.split_off(end(&seen).unwrap() + 4)).unwrap()
}

async fn answer(mut stream: TcpStream, status: u16) {
    let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn bytes_on_their_way_do_not_make_a_queue_grow_beyond_its_bound() {
    for unlimited in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deliveries = deliveries();
        let terms = Terms {
            batch_max: 1,
            entries_max: 9,
            retry_time: Duration::from_secs(60),
            unlimited,
            ..TERMS
        };
        let to = destination(listener.local_addr().unwrap());
        let queue = deliveries.queue(to, terms).unwrap();
        queue.push(Bytes::from_static(b"22"));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(body(&mut stream, 2).await, "22");
        queue.push(Bytes::from_static(b"33"));
        answer(stream, 500).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        // It is tried again, and still counts.
        assert_eq!(body(&mut stream, 2).await, "22");
        queue.push(Bytes::from_static(b"44"));
        assert!(lock(&queue.state).entries.is_empty());
        answer(stream, 200).await;
        while lock(&queue.state).sending > 0 {
            tokio::task::yield_now().await;
        }
        queue.push(Bytes::from_static(b"55"));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(body(&mut stream, 2).await, "55");
    }
}

#[tokio::test]
async fn a_queue_without_a_limit_for_senders_does_not_open_any_number_of_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deliveries = deliveries();
    let terms = Terms { unlimited: true, entries_max: 400, bytes_max: None, ..TERMS };
    let queue = deliveries.queue(destination(listener.local_addr().unwrap()), terms).unwrap();
    for _ in 0..300 {
        queue.push(Bytes::from_static(b"1"));
    }
    // Nobody answers.
    while lock(&queue.state).is_gathering {
        tokio::task::yield_now().await;
    }
    let state = lock(&queue.state);
    assert_eq!((state.senders, state.sending, state.entries.len()), (256, 256, 44));
}

#[tokio::test]
async fn a_record_that_is_sent_at_once_is_an_array_where_batches_may_have_several() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deliveries = deliveries();
    let terms = Terms { unlimited: true, ..TERMS };
    let queue = deliveries.queue(destination(listener.local_addr().unwrap()), terms).unwrap();
    queue.push(Bytes::from_static(b"{}"));
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(body(&mut stream, 4).await, "[{}]");
}

#[tokio::test]
async fn a_slow_log_server_holds_up_one_sender_and_not_those_of_other_workers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deliveries = Deliveries { workers: 2, ..deliveries() };
    let terms = Terms { batch_max: 1, entries_max: 9, bytes_max: None, ..TERMS };
    let queue = deliveries.queue(destination(listener.local_addr().unwrap()), terms).unwrap();
    for entry in ["1", "2", "3"] {
        queue.push(Bytes::from_static(entry.as_bytes()));
    }
    let (mut one, _) = listener.accept().await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    let mut seen = [body(&mut one, 1).await, body(&mut other, 1).await];
    seen.sort();
    assert_eq!(seen, ["1", "2"]);
    assert_eq!(lock(&queue.state).entries.len(), 1, "two workers have two senders");
    answer(other, 200).await;
    let (mut other, _) = listener.accept().await.unwrap();
    assert_eq!(body(&mut other, 1).await, "3");
}

#[tokio::test]
async fn plugins_that_agree_share_a_queue() {
    let deliveries = deliveries();
    let to = destination("127.0.0.1:9".parse().unwrap());
    let one = deliveries.queue(to.clone(), TERMS).unwrap();
    assert!(Arc::ptr_eq(&one, &deliveries.queue(to.clone(), TERMS).unwrap()));
    let other = Terms { batch_max: 1, ..TERMS };
    assert!(!Arc::ptr_eq(&one, &deliveries.queue(to, other).unwrap()));
}
