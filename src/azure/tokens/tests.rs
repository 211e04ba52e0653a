use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use super::super::auth::Auth;
use super::super::exchange::Grant;
use super::super::failure::{Cause, Class, Failure};
use super::super::mock::{self, Answer, Mock, vector};
use super::super::resolve;
use super::super::token::refresh_after;
use super::*;
use crate::entity::Secret;
use crate::settings::Env;

mod lifecycle;

/// What the fake endpoint does at its n-th call.
enum Act {
    Grant(u64),
    GrantMs(u64),
    Fail(Class),
    FailFor(u64),
    Panic,
}

/// Tokens from a script; each exchange takes 100 ms, and the n-th token is `t<n>`.
struct Fake {
    tokens: Tokens,
    calls: Arc<AtomicUsize>,
}

impl Fake {
    fn new(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let (counter, script) = (calls.clone(), Arc::new(script));
        let tokens = Tokens::with_exchange(Handle::current(), move |identity| {
            let (n, script) = (counter.fetch_add(1, SeqCst), script.clone());
            Box::pin(async move {
                let asked_at = Instant::now();
                sleep(Duration::from_millis(100)).await;
                let fail = |cause| {
                    let elapsed = asked_at.elapsed();
                    Err(Arc::new(Failure { identity, cause, attempts: 1, elapsed }))
                };
                match script(n) {
                    Act::Grant(secs) => Ok(grant(&format!("t{n}"), secs, asked_at)),
                    Act::GrantMs(ms) => {
                        let lifetime = Duration::from_millis(ms);
                        Ok(Grant { lifetime, ..grant(&format!("t{n}"), 0, asked_at) })
                    }
                    Act::Fail(class) => fail(Cause::new(class, "no", "")),
                    Act::FailFor(secs) => {
                        let retry_after = Some(Duration::from_secs(secs));
                        fail(Cause { retry_after, ..Cause::new(Class::Transient, "no", "") })
                    }
                    Act::Panic => panic!("a defect"),
                }
            })
        });
        Self { tokens, calls }
    }

    fn handle(&self) -> TokenHandle {
        self.tokens.handle(identity(&[]))
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    /// What a worker does with a configuration: compile it, then take it over.
    fn configure<const N: usize>(&self, identities: [Identity; N]) -> [TokenHandle; N] {
        let mark = self.tokens.mark();
        let handles = identities.map(|identity| self.tokens.handle(identity));
        self.tokens.take_over(mark);
        handles
    }
}

fn grant(token: &str, secs: u64, asked_at: Instant) -> Grant {
    let lifetime = Duration::from_secs(secs);
    Grant { access_token: Secret::new(token), asked_at, lifetime, refresh_in: None }
}

fn identity(env: &[(&str, &str)]) -> Identity {
    let auth = Auth { use_managed_identity: true, ..Auth::default() };
    let env: Env = env.iter().copied().collect();
    resolve(&auth, &env, "foo.openai.azure.com").unwrap().unwrap()
}

/// An application with this secret.
fn app(secret: &str) -> Identity {
    identity(&[("AZURE_CLIENT_ID", "a"), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", secret)])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn text(token: &Token) -> &str {
    token.authorization().to_str().unwrap()
}

/// Time passes, and so do the exchanges that were started before.
async fn pass(secs: u64) {
    advance(Duration::from_secs(secs)).await;
    sleep(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn one_exchange_serves_every_request() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let handle = fake.handle();
    assert!(handle.current().is_none());
    assert_eq!(text(&handle.wait(soon()).await.unwrap()), "Bearer t0");
    pass(2900).await;
    for _ in 0..100 {
        assert_eq!(text(&handle.current().unwrap()), "Bearer t0");
    }
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_token_serves_while_the_next_one_is_fetched() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let handle = fake.handle();
    handle.wait(soon()).await.unwrap();
    advance(Duration::from_secs(3400)).await;
    for _ in 0..100 {
        assert_eq!(text(&handle.current().unwrap()), "Bearer t0");
    }
    pass(0).await;
    assert_eq!(text(&handle.current().unwrap()), "Bearer t1");
    assert_eq!(fake.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failing_refresh_leaves_the_old_token_until_it_really_ends() {
    let fake = Fake::new(|n| if n == 0 { Act::Grant(3600) } else { Act::Fail(Class::Config) });
    let handle = fake.handle();
    handle.wait(soon()).await.unwrap();
    pass(3300).await;
    for second in 0..298 {
        assert_eq!(text(&handle.current().unwrap()), "Bearer t0", "{second}");
        assert_eq!(text(&handle.wait(soon()).await.unwrap()), "Bearer t0");
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(fake.calls(), 11, "one try per 30 s");
    pass(3).await;
    assert!(handle.current().is_none());
    assert_eq!(handle.wait(soon()).await.unwrap_err().cause.class, Class::Config);
    let status = handle.status();
    assert_eq!((status.exchanges, status.failures["config"]), (11, 10));
    assert_eq!(status.expires_in_secs, None);
}

#[tokio::test(start_paused = true)]
async fn a_short_token_is_kept_too() {
    let fake = Fake::new(|_| Act::Grant(40));
    let handle = fake.handle();
    handle.wait(soon()).await.unwrap();
    for _ in 0..10 {
        assert_eq!(text(&handle.current().unwrap()), "Bearer t0");
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_does_not_take_the_exchange_along() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let handle = fake.handle();
    for _ in 0..60 {
        let deadline = Instant::now() + Duration::from_millis(1);
        let failure = handle.wait(deadline).await.unwrap_err();
        assert_eq!(failure.cause.class, Class::Deadline);
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(text(&handle.current().unwrap()), "Bearer t0");
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_requests_meets_one_remembered_failure() {
    let fake = Fake::new(|_| Act::Fail(Class::Config));
    let handle = fake.handle();
    for wave in 1..=3 {
        let waits = join_all((0..100).map(|_| handle.wait(soon()))).await;
        assert!(waits.iter().all(Result::is_err));
        assert!(handle.wait(soon()).await.is_err());
        assert_eq!(fake.calls(), wave);
        pass(30).await;
    }
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_remembered_longer_and_longer() {
    let fake = Fake::new(|_| Act::Fail(Class::Transient));
    let handle = fake.handle();
    let mut gaps = Vec::new();
    for _ in 0..8 {
        handle.wait(soon()).await.unwrap_err();
        let (calls, since) = (fake.calls(), Instant::now());
        while fake.calls() == calls {
            sleep(Duration::from_millis(500)).await;
            handle.wait(soon()).await.unwrap_err();
        }
        gaps.push(since.elapsed().as_secs());
    }
    assert_eq!(gaps, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_within_bounds() {
    let fake = Fake::new(|_| Act::FailFor(8));
    let handle = fake.handle();
    handle.wait(soon()).await.unwrap_err();
    advance(Duration::from_millis(7900)).await;
    handle.wait(soon()).await.unwrap_err();
    assert_eq!(fake.calls(), 1);
    advance(Duration::from_millis(200)).await;
    handle.wait(soon()).await.unwrap_err();
    assert_eq!(fake.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_dropped_once_and_only_if_it_still_serves() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let handle = fake.handle();
    let first = handle.wait(soon()).await.unwrap();
    assert!(handle.invalidate(&first));
    assert!(handle.current().is_none());
    assert!(handle.invalidate(&first), "another request with the same token may wait as well");
    let second = handle.wait(soon()).await.unwrap();
    assert_eq!(text(&second), "Bearer t1");
    assert!(handle.invalidate(&first), "it is gone already, its successor serves");
    assert_eq!(text(&handle.current().unwrap()), "Bearer t1");
    assert!(!handle.invalidate(&second), "refused again: the token is not what is wrong");
    assert_eq!(text(&handle.current().unwrap()), "Bearer t1");
    pass(31).await;
    assert!(!handle.invalidate(&second), "refused again, so that another one is fetched beside it");
    assert_eq!(text(&handle.current().unwrap()), "Bearer t1");
    pass(0).await;
    assert_eq!(text(&handle.current().unwrap()), "Bearer t2");
    assert_eq!(fake.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_an_exchange_is_a_failure_like_others() {
    let fake = Fake::new(|n| if n == 0 { Act::Panic } else { Act::Grant(3600) });
    let handle = fake.handle();
    let failure = handle.wait(soon()).await.unwrap_err();
    assert_eq!(failure.cause.class, Class::Defect);
    pass(1).await;
    assert_eq!(text(&handle.wait(soon()).await.unwrap()), "Bearer t1");
}

/// Everything that is logged on this thread while the guards live.
fn listen(lines: &Lines) -> impl Sized + use<> {
    // With a single subscriber, tracing asks the thread that meets a callsite first, which may be
    // that of another test, whether anybody listens. So there are two.
    let second =
        tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    (tracing::subscriber::set_default(subscriber), second)
}

#[tokio::test]
async fn a_stop_during_an_exchange_is_no_error_in_the_log() {
    let lines = Lines::default();
    let _guards = listen(&lines);
    let control = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tokens =
        Tokens::with_exchange(control.handle().clone(), |_| Box::pin(std::future::pending()));
    let mark = tokens.mark();
    let _handle = tokens.handle(identity(&[]));
    tokens.take_over(mark);
    control.shutdown_background();
    let log = String::from_utf8(lock(&lines.0).clone()).unwrap();
    assert!(log.contains("Azure identity"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn waiters_learn_that_the_control_runtime_is_gone() {
    let control = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tokens =
        Tokens::with_exchange(control.handle().clone(), |_| Box::pin(std::future::pending()));
    let mark = tokens.mark();
    let handle = tokens.handle(identity(&[]));
    tokens.take_over(mark);
    control.shutdown_background();
    assert_eq!(handle.wait(soon()).await.unwrap_err().cause.class, Class::Aborted);
}

#[tokio::test(start_paused = true)]
async fn taking_over_calls_once_for_every_identity_in_use() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let mark = fake.tokens.mark();
    let handle = fake.handle();
    drop(fake.tokens.handle(identity(&[("AZURE_CLIENT_ID", "tried and refused")])));
    fake.tokens.take_over(mark);
    fake.tokens.take_over(mark);
    pass(1).await;
    fake.tokens.take_over(mark);
    pass(1).await;
    assert!(handle.current().is_some());
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn equal_identities_share_and_unused_ones_are_forgotten() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let [one, two] = fake.configure([identity(&[]), identity(&[])]);
    two.wait(soon()).await.unwrap();
    assert_eq!(text(&one.current().unwrap()), "Bearer t0");
    let other = fake.tokens.handle(identity(&[("AZURE_CLIENT_ID", "c")]));
    other.wait(soon()).await.unwrap();
    assert_eq!((fake.calls(), fake.tokens.list().len()), (2, 2));

    drop((one, two));
    assert_eq!(fake.tokens.list().len(), 1);
    let again = fake.handle(); // a reload: the token is still there
    assert_eq!(text(&again.current().unwrap()), "Bearer t0");
    drop(again);
    let _ = fake.tokens.handle(identity(&[("AZURE_CLIENT_ID", "c")]));
    pass(301).await;
    assert!(fake.handle().current().is_none());
}

#[tokio::test(start_paused = true)]
async fn refreshes_follow_the_server_then_the_life() {
    for (name, wanted) in [
        ("entra-01-token-ok", 3299),
        ("entra-02-token-refresh-in", 43_199),
        ("entra-03-token-long-no-refresh-in", 14_400),
    ] {
        let vector = vector(name);
        let grant = Grant {
            refresh_in: vector["expect"]["refresh_after_s"].as_u64().map(Duration::from_secs),
            ..grant("t", vector["expect"]["lifetime_s"].as_u64().unwrap(), Instant::now())
        };
        assert_eq!(refresh_after(&grant).as_secs(), wanted, "{name}");
        let token = Token::new(&grant).unwrap();
        let jittered = token.fresh_for().as_secs();
        assert!((wanted * 9 / 10..=wanted).contains(&jittered), "{name}: {jittered}");
    }
    assert_eq!(refresh_after(&grant("t", 20, Instant::now())).as_secs(), 10);
}

#[test]
fn nothing_prints_a_token() {
    let token = Token::new(&grant("canary", 60, Instant::now())).unwrap();
    assert!(!format!("{token:?}").contains("canary"));
    assert!(Token::new(&grant("two\r\nlines", 60, Instant::now())).is_err());
}

/// The whole way over sockets, with the control runtime on a thread of its own.
#[test]
fn a_thousand_cold_requests_on_four_workers_make_one_call() {
    let control =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entra =
        control.block_on(Mock::run(|_| Answer::of(&vector("entra-01-token-ok")["response"])));
    let tokens = Arc::new(Tokens::new(control.handle().clone(), mock::clients()));
    let url = entra.url();
    let env = [
        ("AZURE_CLIENT_ID", "a"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
    ];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let worker = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let handle = tokens.handle(identity(&env));
                let waits = join_all((0..250).map(|_| handle.wait(soon())));
                assert!(worker.unwrap().block_on(waits).iter().all(Result::is_ok));
            });
        }
    });
    assert_eq!(entra.calls(), 1);
}

#[tokio::test]
async fn a_rotated_identity_header_arrives_with_the_next_registration() {
    let platform = Mock::run(|_| Answer::of(&vector("appsvc-02-ok")["response"])).await;
    let tokens = Tokens::new(Handle::current(), mock::clients());
    let url = platform.url();
    let mut handles = Vec::new();
    let mut sent = Vec::new();
    for env in vector("appsvc-04-header-rotates")["env_sequence"].as_array().unwrap() {
        let header = env["IDENTITY_HEADER"].as_str().unwrap();
        let env = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", header)];
        let mark = tokens.mark();
        handles.push(tokens.handle(identity(&env)));
        tokens.take_over(mark);
        // A configuration that is only tried, and refused for something else.
        let tried = [env[0], ("IDENTITY_HEADER", "tried")];
        drop(tokens.handle(identity(&tried)));
        if let Some(token) = handles[0].current() {
            assert!(handles[0].invalidate(&token));
        }
        handles[0].wait(soon()).await.unwrap();
        sent.push(platform.last().header("x-identity-header").unwrap().to_owned());
    }
    assert_eq!(sent, ["old", "new"], "nor does a refused configuration leave its own");
}

#[tokio::test]
async fn the_operator_reads_code_repair_and_origin_but_no_secret() {
    let lines = Lines::default();
    let _guards = listen(&lines);
    let entra = Mock::run(|_| Answer::of(&vector("entra-05-err-invalid-secret")["response"])).await;
    let tokens = Tokens::new(Handle::current(), mock::clients());
    let url = entra.url();
    let handle = tokens.handle(identity(&[
        ("AZURE_CLIENT_ID", "a"),
        ("AZURE_CLIENT_SECRET", "canary"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
    ]));
    handle.wait(soon()).await.unwrap_err();
    let log = String::from_utf8(lock(&lines.0).clone()).unwrap();
    for part in [
        "ERROR",
        "aadsts=7000215",
        "status=401",
        "correlation_id=\"00000000-",
        "attempts=1",
        "use the secret's value",
        "secret *** (AZURE_CLIENT_SECRET)",
    ] {
        assert!(log.contains(part), "{part:?} in {log}");
    }
    assert!(!log.contains("canary"), "{log}");
    assert_eq!(handle.status().failures["AADSTS7000215"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_explained_once_in_thirty_seconds() {
    let fake = Fake::new(|_| Act::Fail(Class::Config));
    let handle = fake.handle();
    for _ in 0..2 {
        let failure = handle.wait(soon()).await.unwrap_err();
        let told: Vec<_> = (0..1000).filter(|_| handle.clone().is_news(&failure)).collect();
        assert_eq!(told, [0]);
        let reminder = failure.reminder();
        assert_eq!(
            reminder,
            "no Azure token for system-assigned: config, as explained in an earlier line"
        );
        let deadline = handle.wait(Instant::now()).await.unwrap_err();
        assert_eq!(handle.is_news(&deadline), deadline.cause.class == Class::Deadline);
        pass(30).await;
    }
}

/// A log that a test can read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
