//! Names over a DNS server of the test: what is asked, how often, and what a silence does.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use tokio::net::UdpSocket;
use tokio::task::LocalSet;

use super::*;
use crate::settings::{RecordKind, Settings};

/// A name server that knows a few names.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_broken: Arc<AtomicBool>,
    zone: Arc<Mutex<HashMap<String, Vec<RData>>>>,
}

impl Server {
    async fn start(ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            asked: Arc::default(),
            is_broken: Arc::default(),
            zone: Arc::default(),
        };
        let (asked, zone) = (server.asked.clone(), server.zone.clone());
        let is_broken = server.is_broken.clone();
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = question.queries[0].clone();
                let name = query.name().to_utf8();
                asked.lock().unwrap().push(format!("{name} {}", query.query_type()));
                let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
                reply.add_query(query.clone());
                let records = zone.lock().unwrap().get(&name).cloned();
                match records {
                    _ if is_broken.load(Relaxed) => {
                        reply.metadata.response_code = ResponseCode::ServFail;
                    }
                    None => reply.metadata.response_code = ResponseCode::NXDomain,
                    Some(records) => {
                        let kind = query.query_type();
                        for data in records.into_iter().filter(|data| data.record_type() == kind) {
                            reply.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                        }
                    }
                }
                let _ = socket.send_to(&reply.to_vec().unwrap(), peer).await;
            }
        });
        server
    }

    fn knows(&self, name: &str, records: Vec<RData>) {
        self.zone.lock().unwrap().insert(format!("{name}."), records);
    }

    fn dns(&self, change: impl FnOnce(&mut DnsSettings)) -> Arc<Dns> {
        let mut options = Settings::defaults().dns;
        options.servers = vec![self.address];
        options.hosts_file = "/no/such/file".into();
        change(&mut options);
        Arc::new(Dns::new(&options, Handle::current()))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn four(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(10, 0, 0, last)))
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
}

async fn texts(names: &Names, host: &str, times: usize) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..times {
        let address = names.address(host, 80).await;
        found.push(address.map_or_else(|error| error.reason, |address| address.to_string()));
    }
    found
}

/// Runs a test on one thread, as a worker runs.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_hundred_who_ask_at_once_make_one_question_of_a_kind() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![four(1)]);
        let dns = server.dns(|_| ());
        let workers: Vec<Names> = (0..4).map(|_| Names::new(dns.clone())).collect();
        let asks = (0..100).map(|n| workers[n % 4].address("a.test", 80));
        for found in futures_util::future::join_all(asks).await {
            assert_eq!(found.unwrap().to_string(), "10.0.0.1:80");
        }
        assert_eq!(server.asked(), ["a.test. SRV", "a.test. A"]);
        assert_eq!(texts(&workers[0], "A.Test", 1).await, ["10.0.0.1:80"]);
        assert_eq!(server.asked(), [""; 0]);
    });
}

#[test]
fn addresses_have_turns_and_the_first_is_first() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![four(3), four(1), four(2)]);
        let names = Names::new(server.dns(|options| options.order = vec![RecordKind::A]));
        let found = texts(&names, "a.test", 4).await;
        assert_eq!(found, ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(server.asked(), ["a.test. A"]);
    });
}

#[test]
fn services_bring_ports_and_weights_and_only_the_best_priority_counts() {
    run(async {
        let server = Server::start(60).await;
        let services =
            vec![srv(1, 3, 8001, "one.test."), srv(1, 0, 0, "two.test."), srv(2, 9, 9, "x.")];
        server.knows("s.test", services);
        server.knows("one.test", vec![four(1)]);
        server.knows("two.test", vec![four(2)]);
        let names = Names::new(server.dns(|_| ()));
        let mut found = texts(&names, "s.test", 8).await;
        assert_eq!(found[0], "10.0.0.1:8001");
        found.sort();
        assert_eq!(found[..6], ["10.0.0.1:8001"; 6]);
        assert_eq!(found[6..], ["10.0.0.2:80"; 2]);
    });
}

#[test]
fn a_silent_server_is_no_outage_but_a_name_that_is_gone_is_gone() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![four(1)]);
        let dns = server.dns(|options| options.order = vec![RecordKind::A]);
        let names = Names::new(dns.clone());
        assert_eq!(texts(&names, "a.test", 1).await, ["10.0.0.1:80"]);
        let is_over = |dns: &Dns| dns.cache.get_mut("a.test").unwrap().until = Instant::now();
        server.is_broken.store(true, Relaxed);
        is_over(&dns);
        let (records, until) = dns.records("a.test").await;
        assert!(records.is_ok() && until > Instant::now(), "{records:?}");
        assert!(dns.cache.get("a.test").unwrap().is_prolonged);
        server.is_broken.store(false, Relaxed);
        server.zone.lock().unwrap().clear();
        is_over(&dns);
        let (records, _) = dns.records("a.test").await;
        assert_eq!(records.unwrap_err().reason, "dns server error: 3 name error");
    });
}

#[test]
fn a_stale_answer_serves_at_once_and_the_new_one_follows() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![four(1)]);
        let dns = server.dns(|options| options.order = vec![RecordKind::A]);
        let names = Names::new(dns.clone());
        assert_eq!(texts(&names, "a.test", 1).await, ["10.0.0.1:80"]);
        server.knows("a.test", vec![four(2)]);
        dns.cache.get_mut("a.test").unwrap().until = Instant::now();
        names.expire("a.test");
        assert_eq!(texts(&names, "a.test", 2).await, ["10.0.0.1:80", "10.0.0.1:80"]);
        while texts(&names, "a.test", 1).await == ["10.0.0.1:80"] {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.asked(), ["a.test. A", "a.test. A"]);
    });
}

#[test]
fn what_is_not_there_is_remembered_longer_than_what_nobody_could_say() {
    run(async {
        let server = Server::start(60).await;
        let dns = server.dns(|_| ());
        let (_, missing) = dns.records("gone.test").await;
        assert_eq!(server.asked(), ["gone.test. SRV", "gone.test. A"]);
        server.is_broken.store(true, Relaxed);
        let (_, failed) = dns.records("broken.test").await;
        let secs = |until: Instant| until.duration_since(Instant::now()).as_secs_f64();
        assert!(secs(missing) > 20.0 && secs(failed) <= 1.0);
        dns.records("gone.test").await.0.unwrap_err();
        assert!(server.asked().iter().all(|asked| !asked.starts_with("gone")));
    });
}

#[test]
fn a_full_cache_forgets_a_quarter_at_once_the_oldest_answers_first() {
    run(async {
        let server = Server::start(60).await;
        let dns = server.dns(|options| options.cache_size = 8);
        for n in 0..9 {
            let name = format!("n{n}.test");
            server.knows(&name, vec![four(1)]);
            dns.records(&name).await.0.unwrap();
        }
        assert_eq!(dns.cache.len(), 6);
        assert!((0..3).all(|n| !dns.cache.contains_key(&*format!("n{n}.test"))));
    });
}

#[test]
fn names_that_are_not_there_do_not_push_out_one_that_may_still_serve() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![four(1)]);
        let dns = server.dns(|options| options.cache_size = 8);
        let names = Names::new(dns.clone());
        assert_eq!(texts(&names, "a.test", 1).await, ["10.0.0.1:80"]);
        dns.cache.get_mut("a.test").unwrap().until = Instant::now();
        names.expire("a.test");
        for n in 0..40 {
            names.address(&format!("gone{n}.test"), 80).await.unwrap_err();
            assert!(dns.cache.len() <= 8 && names.names().len() <= 8);
        }
        assert!(dns.cache.contains_key("a.test"));
        assert!(names.names().iter().any(|name| name == "a.test"));
    });
}

#[test]
fn a_worker_whose_copy_is_full_takes_new_names_and_keeps_the_one_in_use() {
    run(async {
        let server = Server::start(60).await;
        let names = Names::new(server.dns(|options| options.cache_size = 8));
        server.knows("a.test", vec![four(1)]);
        for n in 0..40 {
            let name = format!("n{n}.test");
            server.knows(&name, vec![four(2)]);
            texts(&names, &name, 1).await;
            assert!(names.names().contains(&name), "{name}");
            texts(&names, "a.test", 1).await;
        }
        let asked = server.asked().into_iter().filter(|asked| asked == "a.test. A");
        assert_eq!(asked.count(), 1);
    });
}

#[test]
fn a_worker_serves_on_when_the_shared_cache_has_forgotten_a_name_and_dns_is_down() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![four(1)]);
        let dns = server.dns(|options| options.order = vec![RecordKind::A]);
        let names = Names::new(dns.clone());
        assert_eq!(texts(&names, "a.test", 1).await, ["10.0.0.1:80"]);
        dns.cache.clear();
        server.is_broken.store(true, Relaxed);
        names.expire("a.test");
        texts(&names, "a.test", 1).await;
        while !dns.cache.contains_key("a.test") || names.is_being_renewed("a.test") {
            tokio::task::yield_now().await;
        }
        assert!(dns.cache.get("a.test").unwrap().result.is_err());
        assert_eq!(texts(&names, "a.test", 1).await, ["10.0.0.1:80"]);
    });
}

#[test]
fn nobody_waits_while_a_name_of_the_hosts_file_is_looked_up_again() {
    run(async {
        let server = Server::start(60).await;
        let dns = server.dns(|_| ());
        let names = Names::new(dns.clone());
        assert_eq!(texts(&names, "localhost", 1).await, ["127.0.0.1:80"]);
        dns.cache.get_mut("localhost").unwrap().until = Instant::now();
        names.expire("localhost");
        let again = futures_util::poll!(std::pin::pin!(names.address("localhost", 80)));
        assert!(matches!(again, std::task::Poll::Ready(Ok(_))), "{again:?}");
        while names.is_being_renewed("localhost") {
            tokio::task::yield_now().await;
        }
        assert!(dns.cache.get("localhost").unwrap().is_fresh());
    });
}

#[test]
fn a_name_that_stands_for_itself_leads_nowhere() {
    run(async {
        let server = Server::start(60).await;
        server.knows("a.test", vec![srv(1, 1, 1, "b.test.")]);
        server.knows("b.test", vec![srv(1, 1, 1, "a.test.")]);
        server.knows("c.test", vec![srv(1, 1, 1, "c.test."), four(1)]);
        let names = Names::new(server.dns(|_| ()));
        assert_eq!(texts(&names, "a.test", 1).await, ["recursion detected"]);
        assert_eq!(texts(&names, "c.test", 1).await, ["10.0.0.1:80"]);
    });
}

#[tokio::test]
async fn addresses_need_no_dns_and_tables_answer_by_port() {
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let table = HashMap::from([("azure.test:443".to_owned(), address)]);
    let options = Settings::defaults().dns;
    let dns = Arc::new(Dns::table(&options, Handle::current(), table));
    let names = Names::new(dns.clone());
    assert_eq!(names.address("[::1]", 80).await.ok(), "[::1]:80".parse().ok());
    assert_eq!(names.address("10.1.2.3", 80).await.ok(), "10.1.2.3:80".parse().ok());
    assert_eq!(names.address("azure.test", 443).await.ok(), Some(address));
    let error = names.address("azure.test", 80).await.unwrap_err();
    assert_eq!(error.to_string(), "name 'azure.test' could not be resolved: no such name");
    assert!(dns.records("azure.test").await.0.is_ok());
    assert!(dns.records("other.test").await.0.is_err());
}

#[test]
fn invalid_is_never_asked_outside() {
    run(async {
        let server = Server::start(60).await;
        let names = Names::new(server.dns(|_| ()));
        assert!(names.address("no-such-host.invalid", 80).await.is_err());
        assert_eq!(texts(&names, "localhost", 1).await, ["127.0.0.1:80"]);
        assert_eq!(server.asked(), [""; 0]);
    });
}
