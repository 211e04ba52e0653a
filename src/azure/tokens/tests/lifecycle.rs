//! What becomes of tokens over time: rotation, outages, quiet hours, refusals.

use std::sync::atomic::AtomicBool;
use std::task::{Context, Waker};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_keeps_nobody_waiting() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let [old] = fake.configure([app("one")]);
    old.wait(soon()).await.unwrap();
    drop(fake.tokens.handle(app("two"))); // the loader's trial
    let [new] = fake.configure([app("two")]);
    assert_eq!(text(&new.current().unwrap()), "Bearer t0");
    assert!(new.status().is_inherited);
    pass(0).await;
    assert_eq!(text(&new.current().unwrap()), "Bearer t1");
    let status = new.status();
    assert!(!status.is_inherited && status.exchanges == 1);
    let [second_worker] = fake.configure([app("two")]);
    assert_eq!(text(&second_worker.current().unwrap()), "Bearer t1");
    assert_eq!(fake.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_new_secret_locks_nobody_out_until_it_is_mended() {
    let wrong = Arc::new(AtomicBool::new(false));
    let is_wrong = wrong.clone();
    let fake = Fake::new(move |_| match is_wrong.load(SeqCst) {
        true => Act::Fail(Class::Config),
        false => Act::Grant(3600),
    });
    let [old] = fake.configure([app("one")]);
    old.wait(soon()).await.unwrap();
    wrong.store(true, SeqCst);
    let [mistyped] = fake.configure([app("mistyped")]);
    drop(old);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(900) {
        assert_eq!(text(&mistyped.current().unwrap()), "Bearer t0");
        sleep(Duration::from_secs(1)).await;
    }
    let status = mistyped.status();
    assert!(status.is_inherited && status.expires_in_secs.unwrap() > 2600);
    assert!((28..=32).contains(&fake.calls()), "one try per 30 s: {}", fake.calls());
    assert_eq!(status.last_failure.unwrap().cause.class, Class::Config);

    // The first identity is forgotten by now, and its secret with it; its token is handed on.
    assert_eq!(lock(&fake.tokens.register).slots.len(), 1);
    wrong.store(false, SeqCst);
    let [right] = fake.configure([app("two")]);
    assert_eq!(text(&right.current().unwrap()), "Bearer t0");
    pass(0).await;
    assert_ne!(text(&right.current().unwrap()), "Bearer t0");
    assert!(!right.status().is_inherited && right.status().last_failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_inherited_token_ends_like_any_other() {
    let fake = Fake::new(|n| if n == 0 { Act::Grant(600) } else { Act::Fail(Class::Config) });
    let [old] = fake.configure([app("one")]);
    old.wait(soon()).await.unwrap();
    let [wrong] = fake.configure([app("wrong")]);
    pass(598).await;
    assert!(wrong.current().is_some());
    pass(3).await;
    assert!(wrong.current().is_none() && !wrong.status().is_inherited);
    assert_eq!(wrong.wait(soon()).await.unwrap_err().cause.class, Class::Config);
}

#[tokio::test(start_paused = true)]
async fn a_refused_inherited_token_is_dropped() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let [old] = fake.configure([app("one")]);
    old.wait(soon()).await.unwrap();
    let [new] = fake.configure([app("two")]);
    let inherited = new.current().unwrap();
    assert!(new.invalidate(&inherited));
    assert!(new.current().is_none() && !new.status().is_inherited);
    assert_eq!(text(&new.wait(soon()).await.unwrap()), "Bearer t1");
}

#[tokio::test(start_paused = true)]
async fn a_target_with_a_wrong_secret_gets_no_token_of_its_neighbour() {
    let fake = Fake::new(|n| if n == 0 { Act::Grant(3600) } else { Act::Fail(Class::Config) });
    let [first] = fake.configure([app("one")]);
    first.wait(soon()).await.unwrap();
    let [_first, bogus] = fake.configure([app("one"), app("guessed")]);
    assert!(bogus.current().is_none());
    assert_eq!(bogus.wait(soon()).await.unwrap_err().cause.class, Class::Config);
    // Another client is another identity, whatever else is equal.
    let other = [("AZURE_CLIENT_ID", "b"), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", "x")];
    let [other] = fake.configure([identity(&other)]);
    assert!(other.current().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_superseded_identity_is_neither_renewed_nor_shown() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let [_old] = fake.configure([app("one")]); // a long stream still holds it
    pass(0).await;
    let [_new] = fake.configure([app("two")]);
    pass(0).await;
    assert_eq!(fake.tokens.list().len(), 1);
    pass(3400).await;
    pass(2).await;
    assert_eq!(fake.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_first_request_after_a_quiet_hour_does_not_wait() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let [handle] = fake.configure([identity(&[])]);
    sleep(Duration::from_secs(18_000)).await;
    assert!(handle.current().is_some());
    assert!((5..=7).contains(&fake.calls()), "{}", fake.calls());
    drop(handle);
    let calls = fake.calls();
    sleep(Duration::from_secs(18_000)).await;
    assert_eq!(fake.calls(), calls, "nobody uses it any more");
}

#[tokio::test(start_paused = true)]
async fn an_idle_token_is_tried_at_most_every_thirty_seconds() {
    let fake = Fake::new(|n| match n {
        0 => Act::Grant(3600),
        _ => Act::Fail(Class::Transient),
    });
    let [_handle] = fake.configure([identity(&[])]);
    for _ in 0..3600 {
        pass(1).await;
    }
    // The refresh begins 300 to 630 s before the end; without a token nobody asks for one.
    assert!((10..=22).contains(&fake.calls()), "{}", fake.calls());
    let short = Fake::new(|_| Act::Grant(6));
    let [_handle] = short.configure([identity(&[])]);
    for _ in 0..300 {
        pass(1).await;
    }
    assert!(short.calls() <= 11, "{}", short.calls());
}

#[tokio::test(start_paused = true)]
async fn an_outage_from_refresh_to_expiry_fails_no_request() {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = down.clone();
    let fake = Fake::new(move |_| match is_down.load(SeqCst) {
        true => Act::Fail(Class::Transient),
        false => Act::Grant(3600),
    });
    let [handle] = fake.configure([identity(&[])]);
    handle.wait(soon()).await.unwrap();
    down.store(true, SeqCst);
    while handle.status().expires_in_secs.unwrap() > 32 {
        assert_eq!(text(&handle.current().unwrap()), "Bearer t0");
        pass(1).await;
    }
    assert!(handle.status().failures["transient"] > 5);
    down.store(false, SeqCst);
    while handle.status().last_failure.is_some() {
        assert!(handle.current().is_some());
        pass(1).await;
    }
    assert!(handle.status().expires_in_secs.unwrap() > 3500);
    assert_ne!(text(&handle.current().unwrap()), "Bearer t0");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_seconds_is_renewed_before_it_ends() {
    let fake = Fake::new(|_| Act::Grant(10));
    let handle = fake.handle();
    handle.wait(soon()).await.unwrap();
    for _ in 0..600 {
        assert!(handle.current().is_some());
        advance(Duration::from_millis(100)).await;
        sleep(Duration::from_millis(1)).await;
    }
    assert!((10..=20).contains(&fake.calls()), "{}", fake.calls());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_on_arrival_is_a_failure_and_no_loop() {
    let fake = Fake::new(|_| Act::GrantMs(50));
    let handle = fake.handle();
    let failure = handle.wait(soon()).await.unwrap_err();
    assert_eq!(failure.cause.class, Class::Protocol);
    assert!(failure.cause.meaning.contains("already expired when granted"), "{failure}");
    assert_eq!(fake.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_moment_serves_those_who_waited_for_it() {
    let fake = Fake::new(|_| Act::GrantMs(150));
    let handle = fake.handle();
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(handle.wait(soon()))).collect();
    for wait in &mut waits {
        let mut context = Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
    }
    sleep(Duration::from_millis(300)).await; // the worker is busy with something else
    for token in join_all(waits).await {
        assert_eq!(text(&token.unwrap()), "Bearer t0");
    }
    assert_eq!(fake.calls(), 1);
}

/// A target that refuses every token, once a second: the times of the exchanges that it causes.
async fn refuse(fake: &Fake, handle: &TokenHandle, secs: u64) -> Vec<u64> {
    handle.wait(soon()).await.unwrap();
    let start = Instant::now();
    let (mut times, mut calls) = (Vec::new(), fake.calls());
    while start.elapsed().as_secs() < secs {
        let token = handle.current().unwrap();
        if handle.invalidate(&token) {
            handle.wait(soon()).await.unwrap();
        }
        pass(1).await;
        if fake.calls() > calls {
            calls = fake.calls();
            times.push(start.elapsed().as_secs());
        }
    }
    times
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_every_token_gets_new_ones_less_and_less_often() {
    let fake = Fake::new(|_| Act::Grant(86_400));
    let [handle] = fake.configure([identity(&[])]);
    let times = refuse(&fake, &handle, 1900).await;
    let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0] + 5) / 10 * 10).collect();
    assert_eq!(gaps, [30, 60, 120, 240, 300, 300, 300, 300], "{times:?}");

    // It took one; what it refuses then is renewed at once.
    handle.accepted();
    let token = handle.current().unwrap();
    pass(31).await;
    assert!(handle.invalidate(&token));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_every_token_keeps_no_other_waiting() {
    let fake = Fake::new(|_| Act::Grant(86_400));
    let [content, refusing] = fake.configure([identity(&[]), identity(&[])]);
    content.wait(soon()).await.unwrap();
    refuse(&fake, &refusing, 5).await; // the first refusal may mean that the token was revoked
    let calls = fake.calls();
    for _ in 0..1000 {
        let token = refusing.current().unwrap();
        refusing.invalidate(&token);
        assert!(content.current().is_some());
        pass(1).await;
    }
    assert!(fake.calls() > calls, "no new token is fetched for it");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_during_an_outage_of_the_token_endpoint_takes_no_token_from_others() {
    let fake = Fake::new(|n| if n == 0 { Act::Grant(3600) } else { Act::Fail(Class::Transient) });
    let [content, refusing] = fake.configure([identity(&[]), identity(&[])]);
    let token = content.wait(soon()).await.unwrap();
    pass(3400).await;
    pass(2).await;
    assert!(refusing.status().last_failure.is_some());
    assert!(!refusing.invalidate(&token), "there is no other one");
    assert_eq!(text(&content.current().unwrap()), "Bearer t0");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_has_a_successor_before_the_next_request() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let [handle] = fake.configure([identity(&[])]);
    let token = handle.wait(soon()).await.unwrap();
    assert!(handle.invalidate(&token)); // the body is gone, so that nobody sends it again
    pass(0).await;
    assert_eq!(text(&handle.current().unwrap()), "Bearer t1");
}

#[tokio::test(start_paused = true)]
async fn a_missing_role_costs_no_further_tokens() {
    let fake = Fake::new(|_| Act::Grant(86_400));
    let [handle] = fake.configure([identity(&[])]);
    assert_eq!(refuse(&fake, &handle, 20).await.len(), 1);
    handle.explained(true);
    assert_eq!(refuse(&fake, &handle, 1000).await.len(), 0);
    // The same target, another reason: now the token is to blame.
    handle.explained(false);
    assert_eq!(refuse(&fake, &handle, 10).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_refusals_of_one_token_make_one_exchange() {
    let fake = Fake::new(|_| Act::Grant(3600));
    let workers = [fake.handle(), fake.handle()];
    let token = workers[0].wait(soon()).await.unwrap();
    let refused = (0..50).map(|n| {
        let (handle, token) = (&workers[n % 2], &token);
        async move {
            assert!(handle.invalidate(token));
            handle.wait(soon()).await.unwrap()
        }
    });
    for token in join_all(refused).await {
        assert_eq!(text(&token), "Bearer t1");
        assert!(!workers[0].invalidate(&token), "it is the replacement, and new");
    }
    assert_eq!(fake.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_mended_token_file_ends_the_failure_at_once() {
    let fake = Fake::new(|n| if n == 0 { Act::Fail(Class::Config) } else { Act::Grant(3600) });
    let file = tempfile::NamedTempFile::new().unwrap();
    let env = [
        ("AZURE_CLIENT_ID", "a"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap()),
    ];
    let [handle] = fake.configure([identity(&env)]);
    handle.wait(soon()).await.unwrap_err();
    pass(6).await;
    assert_eq!(fake.calls(), 1, "the file is as it was");
    std::fs::write(file.path(), "A.B.C").unwrap();
    let deadline = soon();
    while handle.current().is_none() {
        assert!(Instant::now() < deadline, "the mended file is not noticed");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(handle.status().exchanges, 2);
    // The kubelet rewrites a file that works: that is read when it is needed.
    std::fs::write(file.path(), "A.B.C.D").unwrap();
    for _ in 0..5 {
        pass(2).await;
    }
    assert_eq!(fake.calls(), 2);
}
