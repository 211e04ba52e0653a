//! The part of the identity matrix that takes seconds by the endpoints' own rules: which answers
//! are worth another call, after which wait, and what is said when there are no more.
//!
//! `tests/it/identity_matrix` has the rest, over sockets.

use super::*;

/// What the endpoint says: a status and a `Retry-After`; the last one for ever.
type Answers = &'static [(u16, Option<u64>)];

/// The waits in seconds, then success or class and meaning of the failure.
type Wanted = (&'static [f64], Result<(), (Class, &'static str)>);

const UPDATE: [(u16, Option<u64>); 8] = {
    let mut answers = [(410, None); 8];
    answers[7] = (200, None);
    answers
};

/// Runs an exchange whose calls are answered like this, on a clock that nobody waits for.
async fn play(
    identity: &Arc<Identity>,
    answers: Answers,
) -> (Vec<f64>, Result<Grant, Arc<Failure>>) {
    let start = Instant::now();
    let calls = RefCell::new(Vec::new());
    let outcome = repeat(identity, || {
        let mut calls = calls.borrow_mut();
        let (status, wait) = answers[calls.len().min(answers.len() - 1)];
        calls.push(start.elapsed().as_secs_f64());
        let body = match status {
            200 => json!({ "access_token": "t", "expires_in": 3600 }),
            _ => json!({ "error": "unknown", "error_description": "in trouble" }),
        };
        let retry_after = wait.map(Duration::from_secs);
        let body = body.to_string();
        let reply = Reply { status, retry_after, body, ..Reply::default() };
        std::future::ready(read(&*identity.source, &Asked::now(), Ok(reply), &[]))
    })
    .await;
    let times = calls.into_inner();
    (times.windows(2).map(|pair| pair[1] - pair[0]).collect(), outcome)
}

async fn assert_row(name: &str, identity: &Arc<Identity>, row: &[(Answers, Wanted)]) {
    for (answers, (waits, wanted)) in row {
        let what = format!("{name} {answers:?}");
        let (waited, outcome) = play(identity, answers).await;
        assert_eq!(waited.len(), waits.len(), "{what}: {waited:?}");
        for (wait, least) in waited.iter().zip(*waits) {
            // Jitter only makes a wait longer, by a quarter at most.
            assert!((*least..least * 1.25 + 0.01).contains(wait), "{what}: {waited:?}");
        }
        match (outcome, wanted) {
            (Ok(grant), Ok(())) => assert_eq!(grant.access_token.expose(), "t", "{what}"),
            (Err(failure), Err((class, meaning))) => {
                assert_eq!(failure.cause.class, *class, "{what}: {failure}");
                assert_eq!(failure.attempts as usize, waits.len() + 1, "{what}: {failure}");
                let line = failure.to_string();
                let status = format!("status {}", answers.last().unwrap().0);
                for part in [meaning, &*status, &*format!("attempts {}", failure.attempts)] {
                    assert!(line.contains(part), "{what}: '{part}' is not in: {line}");
                }
                assert!(failure.elapsed.as_secs_f64() >= waits.iter().sum(), "{what}: {line}");
            }
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
    }
}

const fn passing(meaning: &'static str) -> Result<(), (Class, &'static str)> {
    Err((Class::Transient, meaning))
}

/// A wait that an endpoint asks for is kept, up to five seconds; a longer one ends the exchange.
const THROTTLED: [(Answers, Wanted); 2] = [
    (&[(429, Some(5)), (200, None)], (&[5.0], Ok(()))),
    (&[(429, Some(6))], (&[], passing("the endpoint throttles this client"))),
];

#[tokio::test(start_paused = true)]
async fn entra_gets_two_quick_repetitions() {
    let secret = [("AZURE_CLIENT_SECRET", "s")];
    let token_file = [("AZURE_FEDERATED_TOKEN_FILE", "/nowhere")];
    let certificate = [("AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere")];
    for proof in [secret, token_file, certificate] {
        let app = [("AZURE_CLIENT_ID", "a"), ("AZURE_TENANT_ID", "t")];
        let identity = identity(app.into_iter().chain(proof));
        let row: [(Answers, Wanted); 5] = [
            (&[(500, None), (500, None), (200, None)], (&[0.5, 1.5], Ok(()))),
            (&[(503, None)], (&[0.5, 1.5], passing("the endpoint failed"))),
            (&[(408, None), (200, None)], (&[0.5], Ok(()))),
            (&[(503, Some(1)), (503, Some(3)), (200, None)], (&[1.0, 3.0], Ok(()))),
            (&[(410, None)], (&[], Err((Class::Config, "the endpoint refused")))),
        ];
        assert_row(identity.kind(), &identity, &row).await;
        assert_row(identity.kind(), &identity, &THROTTLED).await;
    }
}

#[tokio::test(start_paused = true)]
async fn imds_gets_the_patience_that_its_documentation_asks_for() {
    let identity = identity([]);
    const UPDATING: Result<(), (Class, &str)> = passing("the metadata service is being updated");
    let row: [(Answers, Wanted); 9] = [
        (&[(500, None), (500, None), (200, None)], (&[1.0, 2.0], Ok(()))),
        (&[(500, None)], (&[1.0, 2.0, 4.0], passing("the endpoint failed"))),
        (&[(404, None), (200, None)], (&[1.0], Ok(()))),
        (&[(404, None)], (&[1.0, 2.0, 4.0], UPDATING)),
        (&UPDATE, (&[10.0; 7], Ok(()))),
        (&[(410, None)], (&[10.0; 7], UPDATING)),
        (&[(410, None), (410, None), (500, None), (200, None)], (&[10.0, 10.0, 4.0], Ok(()))),
        (&[(504, None)], (&[1.0, 2.0, 4.0], passing("a proxy seems to answer"))),
        (&[(429, None), (200, None)], (&[1.0], Ok(()))),
    ];
    assert_row("IMDS", &identity, &row).await;
    assert_row("IMDS", &identity, &THROTTLED).await;
}

#[tokio::test(start_paused = true)]
async fn app_service_gets_two_repetitions_because_a_wrong_scope_is_a_500_too() {
    let identity =
        identity([("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi"), ("IDENTITY_HEADER", "h")]);
    let row: [(Answers, Wanted); 4] = [
        (&[(500, None), (500, None), (200, None)], (&[1.0, 1.0], Ok(()))),
        (&[(500, None)], (&[1.0, 1.0], passing("the platform gave no token"))),
        (&[(503, None)], (&[1.0, 1.0], passing("the endpoint failed"))),
        (&[(410, None)], (&[], Err((Class::Config, "the endpoint refused")))),
    ];
    assert_row("App Service", &identity, &row).await;
    assert_row("App Service", &identity, &THROTTLED).await;
}

#[tokio::test(start_paused = true)]
async fn other_machines_get_three_repetitions_a_second_apart() {
    let ready = [
        [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/arc"), ("IMDS_ENDPOINT", "x"), NOTHING],
        [("MSI_ENDPOINT", "http://127.0.0.1:1/ml"), ("MSI_SECRET", "s"), NOTHING],
        [("MSI_ENDPOINT", "http://127.0.0.1:1/shell"), NOTHING, NOTHING],
    ];
    for env in ready {
        let identity = identity(env);
        let row: [(Answers, Wanted); 6] = [
            (&[(500, None), (500, None), (200, None)], (&[1.0, 1.0], Ok(()))),
            (&[(500, None)], (&[1.0; 3], passing("the endpoint failed"))),
            (&[(503, None)], (&[1.0; 3], passing("the endpoint failed"))),
            (&[(404, None), (200, None)], (&[1.0], Ok(()))),
            (&[(404, None)], (&[1.0; 3], passing("is not ready to give tokens"))),
            (&[(410, None)], (&[], Err((Class::Config, "the endpoint refused")))),
        ];
        assert_row(identity.kind(), &identity, &row).await;
        assert_row(identity.kind(), &identity, &THROTTLED).await;
    }
}

/// A variable that no source reads.
const NOTHING: (&str, &str) = ("UNUSED", "");

#[tokio::test(start_paused = true)]
async fn service_fabric_is_not_asked_again_after_a_404() {
    let identity = identity([
        ("IDENTITY_ENDPOINT", "https://127.0.0.1:1/fabric"),
        ("IDENTITY_HEADER", "h"),
        ("IDENTITY_SERVER_THUMBPRINT", "00112233445566778899aabbccddeeff00112233"),
    ]);
    let missing = Err((Class::NotAssigned, "this application does not have the identity"));
    let row: [(Answers, Wanted); 4] = [
        (&[(500, None), (500, None), (200, None)], (&[1.0, 1.0], Ok(()))),
        (&[(503, None)], (&[1.0; 3], passing("the endpoint failed"))),
        (&[(404, None)], (&[], missing)),
        (&[(410, None)], (&[], Err((Class::Config, "the endpoint refused")))),
    ];
    assert_row("Service Fabric", &identity, &row).await;
    assert_row("Service Fabric", &identity, &THROTTLED).await;
}
