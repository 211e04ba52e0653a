//! The plugins that tell who a client is, and those that refuse it for that.

use super::Way;

const KEY_AUTH: &str = r"
services:
- name: s
  url: http://{upstream}
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: key-auth
      config: {hide_credentials: true}
    - name: acl
      config: {allow: [gold]}
consumers:
- username: ann
  custom_id: c1
  keyauth_credentials:
  - key: secret-1
  acls:
  - group: gold
- username: bob
  keyauth_credentials:
  - key: secret-2
";

#[tokio::test]
async fn key_auth_names_the_consumer_and_acl_refuses_those_outside_its_groups() {
    for way in Way::all() {
        let scene = way.scene(&["key-auth", "acl"]).start(KEY_AUTH).await;
        let without = scene.get("/a", &[]).await;
        assert_eq!((without.status(), without.header("www-authenticate")), (401, Some("Key")));
        assert_eq!(without.json()["message"], "No API key found in request", "{way:?}");
        let unknown = scene.get("/a?apikey=nobody", &[]).await;
        assert_eq!((unknown.status(), unknown.text().contains("Unauthorized")), (401, true));
        let outside = scene.get("/a", &[("apikey", "secret-2")]).await;
        assert_eq!(outside.status(), 403, "{way:?}");
        assert_eq!(outside.json()["message"], "You cannot consume this service");
        assert!(scene.upstream.seen().is_empty());
        let inside = scene.get("/a?b=1&apikey=secret-1", &[]).await;
        assert_eq!(inside.status(), 200, "{way:?}");
        let sent = scene.sent();
        assert_eq!(sent.target(), "/?b=1", "{way:?}");
        assert_eq!(sent.header("x-consumer-username"), Some("ann"));
        assert_eq!(sent.header("x-consumer-custom-id"), Some("c1"));
        assert_eq!(sent.header("x-consumer-groups"), Some("gold"));
    }
}
