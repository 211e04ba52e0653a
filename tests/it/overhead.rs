//! How much of the time of an exchange is the gateway's own.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Reader};

/// Longer than a gateway takes on a busy machine, shorter than a test may.
const WAIT: Duration = Duration::from_millis(600);

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A gateway before an upstream that thinks for as long, with a Lua function in `access`.
async fn gateway(builder: Builder, lua: &str) -> TestGateway {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut reader = Reader::new(stream);
                while reader.message(false).await.is_some() {
                    tokio::time::sleep(WAIT).await;
                    reader.stream.write_all(OK).await.unwrap();
                }
            });
        }
    });
    builder.start(&format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{address}\n  routes:\n  \
         - {{name: r, paths: [/a]}}\n  \
         - {{name: own, paths: [/b], plugins: [{{name: request-termination}}]}}\n  plugins:\n  \
         - {{name: pre-function, config: {{access: ['{lua}']}}}}\n"
    ))
}

fn overhead_us(message: &Message) -> u128 {
    message.header("x-silverback-overhead-us").unwrap().parse().unwrap()
}

#[tokio::test]
async fn waiting_for_the_upstream_and_for_the_clients_body_is_not_the_gateways_own_time() {
    let builder = Builder::default().set("headers", "latency_tokens, X-Silverback-Overhead-Us");
    let gateway = gateway(builder, "return").await;
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let head = b"POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\n";
    client.stream.write_all(head).await.unwrap();
    tokio::time::sleep(WAIT).await;
    client.stream.write_all(b"hi").await.unwrap();
    let answer = client.message(false).await.unwrap();
    assert_eq!(answer.status(), 200);
    // Kong's own number has the client's body in it.
    let kong: u128 = answer.header("x-kong-proxy-latency").unwrap().parse().unwrap();
    assert!(kong >= WAIT.as_millis() - 100, "{answer:?}");
    assert!(overhead_us(&answer) < WAIT.as_micros() - 100_000, "{answer:?}");
}

#[tokio::test]
async fn waiting_of_plugins_is_and_the_histogram_has_it() {
    let builder = Builder::default().set("headers", "X-Silverback-Overhead-Us");
    let gateway = gateway(builder, "ngx.sleep(0.11)").await;
    let answer = gateway.get("/b").await;
    assert_eq!(answer.status(), 503);
    assert!((110_000..1_000_000).contains(&overhead_us(&answer)), "{answer:?}");
    assert!(answer.header("x-kong-response-latency").is_none());
    gateway.get("/a").await;
    for (line, count) in [
        ("silverback_overhead_us_bucket{source=\"kong\",le=\"102400\"} ", 0),
        ("silverback_overhead_us_count{source=\"kong\"} ", 1),
        ("silverback_overhead_us_count{source=\"upstream\"} ", 1),
    ] {
        let line = format!("{line}{count}");
        super::metrics::metrics_with(&gateway, &line).await;
    }
}

#[tokio::test]
async fn nobody_is_told_unless_headers_says_so() {
    let gateway = gateway(Builder::default(), "return").await;
    let answer = gateway.get("/b").await;
    assert!(answer.header("x-kong-response-latency").is_some());
    assert!(answer.header("x-silverback-overhead-us").is_none());
}
