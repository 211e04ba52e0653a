//! Plugins that keep or ask for who somebody is elsewhere: ldap-auth, session, oauth2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::Way;
use super::tokens::config;

/// An LDAP server that lets one name bind, and its port. What it was asked it does not keep.
async fn directory(name: &'static str, password: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // RFC 4511, 4.2: a message is short enough for one byte of length here.
                while stream.read_u8().await.is_ok() {
                    let mut message = vec![0; stream.read_u8().await.unwrap().into()];
                    stream.read_exact(&mut message).await.unwrap();
                    let text = String::from_utf8_lossy(&message);
                    let secret = format!("\u{4}{}{name}", char::from(name.len() as u8));
                    let is_known = text.contains(&secret) && text.ends_with(password);
                    let code = if is_known { 0 } else { 49 };
                    let id = message[2];
                    let answer = [48, 12, 2, 1, id, 97, 7, 10, 1, code, 4, 0, 4, 0];
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn ldap_auth_asks_the_directory() {
    let port = directory("uid=ann,dc=test", "s3cret").await;
    for way in Way::all() {
        let plugin = format!(
            "{{name: ldap-auth, config: {{ldap_host: 127.0.0.1, ldap_port: {port}, attribute: uid, \
             base_dn: dc=test, hide_credentials: true}}}}"
        );
        let scene = way.scene(&["ldap-auth"]).start(&config(&plugin)).await;
        let none = scene.get("/a", &[]).await;
        assert_eq!((none.status(), none.header("www-authenticate")), (401, Some("LDAP")));
        for (pair, status) in
            [("ann:s3cret", 200), ("ann:wrong", 401), ("bob:s3cret", 401), ("ann:s3cret", 200)]
        {
            let header = format!("ldap {}", STANDARD.encode(pair));
            let answer = scene.get("/a", &[("authorization", &header)]).await;
            assert_eq!(answer.status(), status, "{way:?} {pair}: {}", answer.text());
        }
        let sent = scene.sent();
        assert_eq!(sent.header("x-credential-identifier"), Some("ann"), "{way:?}");
        assert_eq!(sent.header("authorization"), None);
    }
}

#[tokio::test]
async fn session_keeps_who_somebody_is_in_a_cookie() {
    for way in Way::with_libraries() {
        let plugin = "{name: basic-auth, config: {anonymous: nobody}}\n    - {name: session, \
                      config: \
                      {secret: '0123456789abcdef', storage: cookie, cookie_secure: false}}\n    \
                      - {name: request-termination, consumer: nobody, config: {status_code: 401}}";
        let scene = way.scene(&["basic-auth", "session"]).start(&config(plugin)).await;
        assert_eq!(scene.get("/a", &[]).await.status(), 401, "{way:?}");
        let header = format!("Basic {}", STANDARD.encode("au:ap"));
        let login = scene.get("/a", &[("authorization", &header)]).await;
        assert_eq!(login.status(), 200, "{way:?}: {}", login.text());
        let cookie = login.header("set-cookie").expect("a session begins");
        assert!(cookie.starts_with("session=") && cookie.contains("HttpOnly"), "{cookie}");
        let (cookie, _) = cookie.split_once(';').unwrap();
        let again = scene.get("/a", &[("cookie", cookie)]).await;
        assert_eq!(again.status(), 200, "{way:?}: {}", again.text());
        let sent = scene.sent();
        assert_eq!(sent.header("x-consumer-username"), Some("ann"), "{way:?}");
        let forged = cookie.replacen("=", "=A", 1);
        assert_eq!(scene.get("/a", &[("cookie", &forged)]).await.status(), 401, "{way:?}");
        let out =
            scene.gateway.send("POST", "/a?session_logout=1", &[("cookie", cookie)], b"").await;
        assert_eq!(out.status(), 200, "{way:?}: {}", out.text());
        assert!(out.header("set-cookie").unwrap().starts_with("session=;"), "{out:?}");
    }
}

const OAUTH2: &str = r"{name: oauth2, config: {scopes: [mail], enable_client_credentials: true,
      accept_http_if_already_terminated: true, provision_key: p1}}";

#[tokio::test]
async fn oauth2_refuses_and_answers_clients_without_a_database() {
    for way in Way::all() {
        let text = config(OAUTH2)
            + "- username: app\n  oauth2_credentials:\n  - {name: app, client_id: ci, \
               client_secret: cs, redirect_uris: ['https://a.test']}\n";
        let scene = way.scene(&["oauth2"]).set("trusted_ips", "127.0.0.1").start(&text).await;
        let none = scene.get("/a", &[]).await;
        assert_eq!((none.status(), none.json()["error"].as_str()), (401, Some("invalid_request")));
        assert_eq!(none.header("www-authenticate"), Some("Bearer"), "{way:?}");
        let header = [("authorization", "Bearer nope")];
        let unknown = scene.get("/a", &header).await;
        assert_eq!(
            (unknown.status(), unknown.json()["error"].as_str()),
            (401, Some("invalid_token"))
        );
        let form =
            [("content-type", "application/x-www-form-urlencoded"), ("x-forwarded-proto", "https")];
        let body = "grant_type=client_credentials&client_id=ci&client_secret=";
        for (secret, status) in [("no", 400), ("cs", 500)] {
            let body = format!("{body}{secret}");
            let answer =
                scene.gateway.send("POST", "/a/oauth2/token", &form, body.as_bytes()).await;
            // Tokens are entities, and Kong without a database cannot write one either.
            assert_eq!(answer.status(), status, "{way:?} {secret}: {}", answer.text());
        }
    }
}
