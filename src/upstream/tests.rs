//! Which connection a request goes over.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;
use crate::pdk::Budget;

/// An upstream that says over which of its connections a request came.
async fn upstream() -> Key {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        for number in 1.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::task::spawn_local(async move {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                    let head = format!("HTTP/1.1 200 OK\r\nconnection-number: {number}");
                    let reply = format!("{head}\r\ncontent-length: 2\r\n\r\nok");
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            });
        }
    });
    Key { address, tls: None, http2: false, tunnel: None }
}

fn pool(pool_size: usize, max_requests: u64) -> Rc<Pool> {
    Pool::new(Keepalive { pool_size, idle: Duration::from_secs(60), max_requests })
}

/// Sends a request; the connection is busy until the answer is read.
async fn ask(pool: &Rc<Pool>, key: &Key) -> (u32, ReplyBody) {
    let mut request = Request::new(Outgoing::empty());
    request.headers_mut().insert("host", "a.test".parse().unwrap());
    let (head, body) = pool.send(key, &Limits::default(), request).await.unwrap().into_parts();
    let number = head.headers["connection-number"].to_str().unwrap().parse().unwrap();
    (number, body)
}

/// The number of the connection of a request whose answer is read.
async fn number(pool: &Rc<Pool>, key: &Key) -> u32 {
    let (number, body) = ask(pool, key).await;
    read(body).await;
    number
}

async fn read(body: ReplyBody) {
    body.read_whole(10, &Budget::new(1 << 20)).await.unwrap();
}

#[tokio::test]
async fn upstream_keepalive_pool_size_counts_for_each_upstream_and_the_oldest_goes() {
    let test = async {
        let (one, other) = (upstream().await, upstream().await);
        let pool = pool(2, 100);
        let mut busy = Vec::new();
        for expected in 1..=3 {
            let (number, body) = ask(&pool, &one).await;
            assert_eq!(number, expected, "the others are busy");
            busy.push(body);
        }
        assert_eq!(number(&pool, &other).await, 1);
        for body in busy {
            read(body).await;
        }
        let (first, _busy) = ask(&pool, &one).await;
        let (second, _busy_too) = ask(&pool, &one).await;
        let (third, _busy_as_well) = ask(&pool, &one).await;
        assert_eq!((first, second, third), (3, 2, 4), "the last one back goes first");
        assert_eq!(number(&pool, &other).await, 1, "the pool of another upstream is its own");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn upstream_keepalive_pool_size_0_keeps_no_connection() {
    let test = async {
        let (key, pool) = (upstream().await, pool(0, 100));
        assert_eq!((number(&pool, &key).await, number(&pool, &key).await), (1, 2));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn upstream_keepalive_max_requests_ends_a_connection() {
    let test = async {
        let (key, pool) = (upstream().await, pool(8, 2));
        let mut numbers = Vec::new();
        for _ in 0..5 {
            numbers.push(number(&pool, &key).await);
        }
        assert_eq!(numbers, [1, 1, 2, 2, 3]);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn upstream_keepalive_idle_timeout_ends_a_connection() {
    let test = async {
        let (key, pool) = (upstream().await, pool(8, 100));
        let pass = async |seconds| {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            tokio::time::resume();
        };
        assert_eq!(number(&pool, &key).await, 1);
        pass(59).await;
        assert_eq!(number(&pool, &key).await, 1);
        pass(61).await;
        assert_eq!(number(&pool, &key).await, 2);
        assert_eq!(pool.idle_count.get(), 1);
        pass(61).await;
        pool.sweep();
        assert_eq!((pool.idle_count.get(), pool.idle.borrow().len()), (0, 0));
    };
    LocalSet::new().run_until(test).await;
}
