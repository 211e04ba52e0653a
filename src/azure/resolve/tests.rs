use super::super::mock::vector;
use super::*;

const HOST: &str = "foo.openai.azure.com";

/// Fields as `name=value` and variables as `NAME=value`, in one list.
fn resolved(given: &[&str]) -> Result<Identity, Incomplete> {
    let mut auth = Auth { use_managed_identity: true, ..Auth::default() };
    let mut env = Vec::new();
    for (name, value) in given.iter().map(|given| given.split_once('=').unwrap()) {
        let text = Some(value.to_owned());
        match name {
            "client_id" => auth.client_id = text,
            "client_secret" => auth.client_secret = Some(Secret::new(value)),
            "tenant_id" => auth.tenant_id = text,
            "authority_host" => auth.authority_host = text,
            "scope" => auth.scope = text,
            "imds_endpoint" => auth.imds_endpoint = text,
            "federated_token_file" => auth.federated_token_file = text,
            "client_certificate_path" => auth.client_certificate_path = text,
            "client_certificate" => auth.client_certificate = Some(Secret::new(value)),
            "client_certificate_password" => {
                auth.client_certificate_password = Some(Secret::new(value));
            }
            "client_send_certificate_chain" => {
                auth.client_send_certificate_chain = Some(value == "true");
            }
            "object_id" => auth.managed_identity_object_id = text,
            "resource_id" => auth.managed_identity_resource_id = text,
            variable => env.push((variable, value)),
        }
    }
    resolve(&auth, &env.into_iter().collect(), HOST).map(Option::unwrap)
}

fn chosen(given: &[&str]) -> String {
    resolved(given).unwrap().to_string()
}

fn refused(given: &[&str]) -> String {
    resolved(given).unwrap_err().to_string()
}

#[test]
fn without_the_switch_there_is_no_identity() {
    let auth = Auth { client_id: Some("a".into()), ..Auth::default() };
    let env = Env::from_iter([("AZURE_CLIENT_SECRET", "s")]);
    assert!(resolve(&auth, &env, HOST).unwrap().is_none());
    assert_eq!(auth.unused(), ["azure_client_id"]);
}

#[test]
fn every_value_says_who_gave_it() {
    assert_eq!(
        chosen(&["client_id=a", "AZURE_CLIENT_SECRET=s3cret", "AZURE_TENANT_ID=t"]),
        "client secret: client id a (auth.azure_client_id), tenant t (AZURE_TENANT_ID), authority \
         https://login.microsoftonline.com/ (the target's host), secret *** (AZURE_CLIENT_SECRET), \
         scope https://cognitiveservices.azure.com/.default (the target's host)"
    );
}

#[test]
fn kongs_order_decides() {
    const FILE: &str = "AZURE_FEDERATED_TOKEN_FILE=/token";
    const APP: [&str; 2] = ["AZURE_CLIENT_ID=a", "AZURE_TENANT_ID=t"];
    const WEB: [&str; 2] = ["IDENTITY_ENDPOINT=http://127.0.0.1:1/msi", "IDENTITY_HEADER=h"];
    for (given, kind) in [
        (vec![], "managed identity (IMDS): identity system-assigned (default)"),
        (vec!["client_id=b"], "managed identity (IMDS): client id b (auth.azure_client_id)"),
        (vec![APP[0]], "managed identity (IMDS): client id a (AZURE_CLIENT_ID)"),
        (vec![APP[1]], "managed identity (IMDS): identity system-assigned (default)"),
        (vec![WEB[1]], "managed identity (IMDS): identity system-assigned (default)"),
        (vec![FILE], "managed identity (IMDS): identity system-assigned (default)"),
        (vec![WEB[0], WEB[1]], "managed identity (App Service): identity system-assigned"),
        (vec![WEB[0], WEB[1], APP[0]], "managed identity (App Service): client id a"),
        (vec![WEB[0], WEB[1], APP[0], APP[1], FILE], "workload identity: client id a"),
        (vec![FILE, APP[1], "client_id=b"], "workload identity: client id b (auth."),
        (vec![FILE, APP[0], APP[1], "AZURE_CLIENT_SECRET=s"], "client secret: client id a"),
        (vec![FILE, APP[0], APP[1], "client_secret=s"], "client secret: client id a"),
        // The fields that Kong does not have name their identity themselves.
        (
            vec!["federated_token_file=/f", APP[0], APP[1], "AZURE_CLIENT_SECRET=s"],
            "workload identity: client id a",
        ),
        (
            vec!["object_id=o", FILE, APP[0], APP[1], "AZURE_CLIENT_SECRET=s"],
            "managed identity (IMDS): object id o (auth.azure_managed_identity_object_id)",
        ),
        (vec!["resource_id=/r", WEB[0], WEB[1]], "managed identity (App Service): resource id /r"),
        (
            vec!["imds_endpoint=http://127.0.0.1:2", WEB[0], WEB[1]],
            "managed identity (IMDS): identity system-assigned",
        ),
    ] {
        assert!(chosen(&given).starts_with(kind), "{given:?}: {}", chosen(&given));
    }
}

#[test]
fn unfinished_credentials_name_field_and_variable() {
    for (given, message) in [
        (
            vec!["client_secret=s"],
            "azure_client_id is missing (set auth.azure_client_id or AZURE_CLIENT_ID; \
             auth.azure_client_secret gives a client secret)",
        ),
        (
            vec!["AZURE_CLIENT_SECRET=s", "client_id=a"],
            "azure_tenant_id is missing (set auth.azure_tenant_id or AZURE_TENANT_ID; \
             AZURE_CLIENT_SECRET gives a client secret)",
        ),
        (
            vec!["client_id=a", "tenant_id=t"],
            "azure_client_secret is missing (set auth.azure_client_secret or \
             AZURE_CLIENT_SECRET; an application needs a secret, a certificate or \
             AZURE_FEDERATED_TOKEN_FILE; for a managed identity remove auth.azure_tenant_id)",
        ),
        (
            vec!["federated_token_file=/f", "tenant_id=t"],
            "azure_client_id is missing (set auth.azure_client_id or AZURE_CLIENT_ID; \
             auth.azure_federated_token_file gives a token file)",
        ),
        (
            vec!["client_secret="],
            "auth.azure_client_secret: the value is empty (a reference that could not be \
             resolved?)",
        ),
        (
            vec!["object_id=o", "client_id=a"],
            "auth.azure_managed_identity_object_id and auth.azure_client_id name different \
             identities (remove one of them)",
        ),
    ] {
        assert_eq!(refused(&given), message);
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    for (given, part) in [
        (vec!["AZURE_AUTHORITY_HOST=http://login.example"], "AZURE_AUTHORITY_HOST: http:// is"),
        (vec!["imds_endpoint=http://10.0.0.1"], "auth.azure_imds_endpoint: http:// is"),
        (vec!["client_id=a", "client_secret=s", "tenant_id=a/b"], "auth.azure_tenant_id: a tenant"),
        (vec!["scope=a b"], "auth.azure_scope: one scope"),
        (
            vec!["scope=https://x", "client_id=a", "client_secret=s", "tenant_id=t"],
            "auth.azure_scope: Entra takes",
        ),
    ] {
        assert!(refused(&given).starts_with(part), "{}", refused(&given));
    }
}

#[test]
fn hosts_of_the_vector_are_told_apart() {
    for case in vector("msi-01-source-detection")["cases"].as_array().unwrap() {
        let names = case["env"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let value = |name: &str| case["values"][name].as_str().unwrap_or("x").to_owned();
        let env: Env = names.map(|name| (name, value(name))).collect();
        let found = match Machine::detect(&env, || case["files"].is_array()) {
            Machine::ServiceFabric => "service-fabric",
            Machine::AppService => "app-service",
            Machine::AzureMl => "azure-ml",
            Machine::CloudShell => "cloud-shell",
            Machine::Arc | Machine::ArcAgent => "azure-arc",
            Machine::Imds => "imds",
        };
        assert_eq!(found, case["host"].as_str().unwrap(), "{case}");
    }
}

const FABRIC: [&str; 3] = [
    "IDENTITY_ENDPOINT=https://localhost:2377/metadata/identity/oauth2/token",
    "IDENTITY_HEADER=h",
    "IDENTITY_SERVER_THUMBPRINT=da39a3ee5e6b4b0d3255bfef95601890afd80709",
];
const ML: [&str; 2] = ["MSI_ENDPOINT=http://127.0.0.1:1/msi", "MSI_SECRET=s"];
const SHELL: [&str; 1] = ["MSI_ENDPOINT=http://localhost:50342/oauth2/token"];

#[test]
fn every_platform_has_its_source() {
    let arc =
        ["IDENTITY_ENDPOINT=http://localhost:40342/x", "IMDS_ENDPOINT=http://localhost:40342"];
    let own = ["DEFAULT_IDENTITY_CLIENT_ID=d"];
    for (given, start) in [
        (FABRIC.to_vec(), "managed identity (Service Fabric): identity system-assigned"),
        (
            [&FABRIC[..], &["object_id=o"]].concat(),
            "managed identity (Service Fabric): object id o",
        ),
        (ML.to_vec(), "managed identity (Azure ML): identity system-assigned"),
        (
            [&ML[..], &own].concat(),
            "managed identity (Azure ML): client id d (DEFAULT_IDENTITY_CLIENT_ID)",
        ),
        ([&ML[..], &own, &["client_id=c"]].concat(), "managed identity (Azure ML): client id c"),
        (SHELL.to_vec(), "managed identity (Cloud Shell): identity system-assigned"),
        (arc.to_vec(), "managed identity (Azure Arc): identity system-assigned"),
        ([&arc[..], &["resource_id=/r"]].concat(), "managed identity (Azure Arc): resource id /r"),
    ] {
        assert!(chosen(&given).starts_with(start), "{given:?}: {}", chosen(&given));
    }
    let pin = "thumbprint DA39A3EE5E6B4B0D3255BFEF95601890AFD80709 (IDENTITY_SERVER_THUMBPRINT)";
    assert!(chosen(&FABRIC).contains(pin), "{}", chosen(&FABRIC));
}

#[test]
fn names_that_a_platform_does_not_know_are_refused() {
    let with = |base: &[&'static str], more| [base, &[more]].concat();
    for (given, start, remedy) in [
        (
            with(&FABRIC, "client_id=c"),
            "auth.azure_client_id: Service Fabric",
            "azure_managed_identity_object_id",
        ),
        (
            with(&FABRIC, "resource_id=/r"),
            "auth.azure_managed_identity_resource_id: Serv",
            "remove",
        ),
        (with(&ML, "object_id=o"), "auth.azure_managed_identity_object_id: Azure ML", "client_id"),
        (with(&SHELL, "client_id=c"), "auth.azure_client_id: Cloud Shell", "remove the field"),
        (with(&SHELL, "AZURE_CLIENT_ID=c"), "AZURE_CLIENT_ID: Cloud Shell", "unset the variable"),
    ] {
        let message = refused(&given);
        assert!(message.starts_with(start) && message.contains(remedy), "{message}");
    }
    let plain = ["IDENTITY_ENDPOINT=http://localhost:1", FABRIC[1], FABRIC[2]];
    assert!(refused(&plain).contains("over https only"), "{}", refused(&plain));
    let short = [FABRIC[0], FABRIC[1], "IDENTITY_SERVER_THUMBPRINT=da39"];
    assert!(refused(&short).contains("40 hex digits"), "{}", refused(&short));
    let remote = ["IDENTITY_ENDPOINT=http://10.0.0.1/", "IMDS_ENDPOINT=x"];
    assert!(refused(&remote).contains("loopback"), "{}", refused(&remote));
}

/// One of the keys in `spec/certificates`.
fn key(name: &str) -> String {
    format!("{}/spec/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_certificate_stands_between_secret_and_token_file() {
    let app = ["AZURE_CLIENT_ID=a", "AZURE_TENANT_ID=t", "AZURE_FEDERATED_TOKEN_FILE=/token"];
    let path = format!("AZURE_CLIENT_CERTIFICATE_PATH={}", key("pkcs8.pem"));
    let field = format!("client_certificate_path={}", key("pkcs8.pem"));
    let secret = "AZURE_CLIENT_SECRET=s";
    for (more, start) in [
        (vec![&*path], "client certificate: client id a (AZURE_CLIENT_ID)"),
        (vec![&path, secret], "client secret: client id a"),
        (vec![&field, secret], "client certificate: client id a"),
        (vec!["federated_token_file=/f", &path, secret], "workload identity: client id a"),
    ] {
        let given = [&app[..], &more].concat();
        assert!(chosen(&given).starts_with(start), "{more:?}: {}", chosen(&given));
    }
    let alone = refused(&[&path]);
    assert!(alone.contains("AZURE_CLIENT_CERTIFICATE_PATH gives a client certificate"), "{alone}");

    let chain = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN=1";
    let given = [&app[..], &[&path, chain]].concat();
    assert!(chosen(&given).contains("chain sent (AZURE_CLIENT_SEND_CERTIFICATE_CHAIN)"));
    let given = [&app[..], &[&path, chain, "client_send_certificate_chain=false"]].concat();
    assert!(!chosen(&given).contains("chain"), "the field wins: {}", chosen(&given));
    let given = [&app[..], &[&path, "client_certificate_password=canary"]].concat();
    assert!(chosen(&given).contains("password *** (auth."), "{}", chosen(&given));
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_at_load() {
    let app = ["client_id=a", "tenant_id=t"];
    let notes = |more: &str| resolved(&[&app[..], &[more]].concat()).unwrap().notes().join("\n");
    assert_eq!(notes(&format!("client_certificate_path={}", key("pkcs8.pem"))), "");
    let missing = notes("client_certificate_path=/nowhere/c.pem");
    assert!(missing.contains("/nowhere/c.pem cannot be read") && missing.contains("os error 2"));
    let sealed = notes(&format!("client_certificate_path={}", key("encrypted.pem")));
    assert!(sealed.contains("is protected by a password; set auth.azure_client"), "{sealed}");

    let text = std::fs::read_to_string(key("ec.pem")).unwrap();
    let message = refused(&[&app[..], &[&format!("client_certificate={text}")]].concat());
    assert!(message.starts_with("auth.azure_client_certificate: the certificate holds a key that"));
    let text = std::fs::read_to_string(key("pkcs8.pem")).unwrap();
    let identity = resolved(&[&app[..], &[&format!("client_certificate={text}")]].concat());
    let identity = identity.unwrap();
    let printed = format!("{identity} {identity:?}");
    assert!(printed.contains("certificate *** (auth.azure_client_certificate)"), "{printed}");
    assert!(!printed.contains("PRIVATE KEY"), "{printed}");
    let other = std::fs::read_to_string(key("pkcs1-chain.pem")).unwrap();
    let other = resolved(&[&app[..], &[&format!("client_certificate={other}")]].concat()).unwrap();
    assert_ne!(identity.key(), other.key());
}

#[test]
fn a_new_certificate_in_its_place_is_a_new_proof() {
    let app = ["client_id=a", "tenant_id=t"];
    let path = key("pkcs8.pem");
    let of = |more: &str| resolved(&[&app[..], &[more]].concat()).unwrap();
    let certificate = of(&format!("client_certificate_path={path}"));
    assert_eq!(certificate.files(), [std::path::Path::new(&path)]);
    assert!(certificate.is_rotated_by_file());
    let token_file = of("federated_token_file=/f");
    assert_eq!(token_file.files(), [std::path::Path::new("/f")]);
    assert!(!token_file.is_rotated_by_file());
    // The same application with another proof; it may go on with the token it has.
    let other = of(&format!("client_certificate_path={}", key("encrypted.pem")));
    assert_ne!(certificate.key(), other.key());
    assert_eq!(certificate.lineage(), other.lineage());
}

#[test]
fn identity_binding_is_refused_with_the_way_out() {
    let app = ["AZURE_CLIENT_ID=a", "AZURE_TENANT_ID=t", "AZURE_FEDERATED_TOKEN_FILE=/token"];
    let proxy = "AZURE_KUBERNETES_TOKEN_PROXY=https://proxy";
    let message = refused(&[&app[..], &[proxy]].concat());
    assert!(message.starts_with("AZURE_KUBERNETES_TOKEN_PROXY asks for identity binding"));
    assert!(message.contains("unset the variable, or set auth.azure_client_secret"), "{message}");
    // Where another identity is used, the proxy is nobody's business.
    assert!(resolved(&[&app[..], &[proxy, "AZURE_CLIENT_SECRET=s"]].concat()).is_ok());
    let message = refused(&[&app[..], &["AZURE_KUBERNETES_CA_FILE=/ca"]].concat());
    assert!(message.starts_with("AZURE_KUBERNETES_CA_FILE: it belongs to"), "{message}");
}

#[test]
fn a_secret_of_the_environment_that_takes_an_id_over_is_noted() {
    let notes = |given: &[&str]| resolved(given).unwrap().notes().join("\n");
    let env = ["AZURE_TENANT_ID=t", "AZURE_CLIENT_SECRET=s"];
    let note = notes(&["client_id=a", env[0], env[1]]);
    assert!(note.contains("AZURE_CLIENT_SECRET makes auth.azure_client_id an application"));
    assert_eq!(notes(&["AZURE_CLIENT_ID=a", env[0], env[1]]), "");
    assert_eq!(notes(&["client_id=a", "tenant_id=t", env[1]]), "");
}

#[test]
fn clouds_without_an_audience_need_the_scope() {
    let host = "AZURE_AUTHORITY_HOST=login.sovcloud-identity.fr";
    let message = refused(&[host]);
    assert!(message.contains("no audience") && message.contains("auth.azure_scope"), "{message}");
    assert!(resolved(&[host, "scope=https://x.example/.default"]).is_ok());
}

#[test]
fn imds_is_assumed_only_where_nobody_names_it() {
    let is_assumed =
        |given: &[&str]| format!("{:?}", resolved(given).unwrap()).contains("is_assumed: true");
    assert!(is_assumed(&[]));
    for named in [
        "client_id=a",
        "object_id=o",
        "imds_endpoint=http://127.0.0.1:1",
        "AZURE_CLIENT_ID=a",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1",
    ] {
        assert!(!is_assumed(&[named]), "{named}");
    }
}

#[test]
fn what_is_passed_over_is_noted() {
    let notes = |given: &[&str]| resolved(given).unwrap().notes().join("\n");
    assert!(notes(&["AZURE_FEDERATED_TOKEN_FILE=/t"]).contains("AZURE_CLIENT_ID too"));
    assert!(notes(&["tenant_id=t"]).contains("auth.azure_tenant_id is not used"));
    let note = notes(&["client_certificate_password=p"]);
    assert_eq!(note, "auth.azure_client_certificate_password is not used: no certificate");
    let secret = ["client_id=a", "tenant_id=t", "client_secret=s"];
    let note = notes(&[&secret[..], &["client_certificate_password=p"]].concat());
    let why = "auth.azure_client_secret gives a client secret";
    assert_eq!(note, format!("auth.azure_client_certificate_password is not used: {why}"));
    assert_eq!(notes(&["client_id=a"]), "");
}

#[test]
fn two_proofs_are_not_called_two_identities() {
    let app = ["client_id=a", "tenant_id=t"];
    let path = "client_certificate_path=/c.pem";
    for (first, second, fields) in [
        ("client_secret=s", path, "azure_client_secret and auth.azure_client_certificate_path"),
        ("federated_token_file=/t", path, "token_file and auth.azure_client_certificate_path"),
        (path, "client_certificate=c", "certificate_path and auth.azure_client_certificate"),
    ] {
        let text = refused(&[&app[..], &[first, second]].concat());
        let problem = "each prove who the application is (remove one of them)";
        assert!(text.contains(fields) && text.ends_with(problem), "{text}");
    }
    let text = refused(&["object_id=o", "client_secret=s", "tenant_id=t"]);
    assert!(text.contains("name different identities"), "{text}");
}

#[test]
fn the_choice_gives_its_reason() {
    let app = ["client_id=a", "AZURE_TENANT_ID=t"];
    for (given, why) in [
        (vec!["AZURE_CLIENT_SECRET=s"], "AZURE_CLIENT_SECRET gives a client secret"),
        (
            vec!["AZURE_FEDERATED_TOKEN_FILE=/t"],
            "AZURE_FEDERATED_TOKEN_FILE names a token file, auth.azure_client_id and \
             AZURE_TENANT_ID the application (workload identity)",
        ),
        (
            vec![],
            "auth.azure_client_id stands without a proof: a managed identity; no \
             variable of another platform is set, so IMDS serves it",
        ),
    ] {
        assert_eq!(resolved(&[&app[..], &given].concat()).unwrap().why(), why);
    }
    let web = ["IDENTITY_ENDPOINT=http://127.0.0.1:1", "IDENTITY_HEADER=h"];
    assert_eq!(
        resolved(&web).unwrap().why(),
        "nothing names an application: the machine's own identity; IDENTITY_ENDPOINT and \
         IDENTITY_HEADER mean App Service, Functions or Container Apps"
    );
}

#[test]
fn clouds_follow_the_host_then_the_authority() {
    let app = |extra: &[(&'static str, &'static str)], host: &str| {
        let mut env = vec![("AZURE_CLIENT_ID", "a"), ("AZURE_TENANT_ID", "t")];
        env.push(("AZURE_CLIENT_SECRET", "s"));
        env.extend(extra);
        let auth = Auth { use_managed_identity: true, ..Auth::default() };
        let identity = resolve(&auth, &env.into_iter().collect(), host).unwrap().unwrap();
        (identity.endpoint(), identity.scope().to_owned())
    };
    let us = ("https://login.microsoftonline.us", "https://cognitiveservices.azure.us/.default");
    let us = (us.0.to_owned(), us.1.to_owned());
    assert_eq!(app(&[], "foo.openai.azure.us"), us);
    let variable = [("AZURE_AUTHORITY_HOST", "login.microsoftonline.us")];
    assert_eq!(app(&variable, "apim.contoso.example"), us);
    let (_, scope) = app(&variable, HOST);
    assert_eq!(scope, "https://cognitiveservices.azure.com/.default");
}

#[test]
fn keys_differ_wherever_tokens_would() {
    let app = ["client_id=a", "client_secret=s", "tenant_id=t"];
    let key = |given: &[&str]| resolved(given).unwrap().key();
    let base = key(&app);
    assert_eq!(base, key(&app));
    // Who gave a value does not matter: it is the same application.
    assert_eq!(base, key(&["AZURE_CLIENT_ID=a", "AZURE_CLIENT_SECRET=s", "AZURE_TENANT_ID=t"]));
    for other in [
        ["client_id=b", "client_secret=s", "tenant_id=t"],
        ["client_id=a", "client_secret=s2", "tenant_id=t"],
        ["client_id=a", "client_secret=s", "tenant_id=u"],
    ] {
        assert_ne!(base, key(&other), "{other:?}");
    }
    for more in ["scope=https://ai.azure.com/.default", "authority_host=login.example"] {
        assert_ne!(base, key(&[&app[..], &[more]].concat()), "{more}");
    }
    assert_ne!(key(&["client_id=a"]), key(&["object_id=a"]));
    assert_ne!(key(&["client_id=a"]), key(&[]));
    assert_ne!(key(&[]), key(&["imds_endpoint=http://127.0.0.1:2"]));
}

#[test]
fn a_field_that_has_no_effect_is_told() {
    let notes = |given: &[&str]| resolved(given).unwrap().notes().to_vec();
    let imds = "imds_endpoint=http://127.0.0.1:2";
    let relics = ["client_id=a", imds, "tenant_id=t", "AZURE_CLIENT_SECRET=s"];
    assert_eq!(notes(&relics), ["auth.azure_imds_endpoint is not used by an application"]);
    assert_eq!(
        notes(&[imds, "tenant_id=t"]),
        ["auth.azure_tenant_id is not used by a managed identity"]
    );
    assert!(notes(&[imds]).is_empty());
}

#[test]
fn nothing_that_prints_an_identity_prints_its_secret() {
    let given = ["client_id=a", "client_secret=canary", "tenant_id=t"];
    let identity = resolved(&given).unwrap();
    let printed = format!("{identity} {identity:?} {:?} {:?}", identity.facts(), identity.key());
    assert!(!printed.contains("canary"), "{printed}");
    let given = ["IDENTITY_ENDPOINT=http://127.0.0.1:1", "IDENTITY_HEADER=canary"];
    let identity = resolved(&given).unwrap();
    assert!(!format!("{identity} {identity:?}").contains("canary"));
}
