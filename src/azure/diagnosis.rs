//! From an endpoint's answer to a [`Cause`]: what it means and what to do.
//!
//! Entra is judged by its `AADSTS` number, never by `error` or the status: the same number has been
//! seen with 400 and 401 and under three names. Metadata endpoints have no numbers, and their
//! texts are documented as unstable, so those rules are few and loose.

use std::error::Error;
use std::io;

use serde_json::Value;

use super::clients::{NoReply, Reply};
use super::failure::{Cause, Class};
use super::source::Source;

/// What an AADSTS number means.
struct Known {
    code: u32,
    class: Class,
    meaning: &'static str,
    remedy: &'static str,
}

const fn known(code: u32, class: Class, meaning: &'static str, remedy: &'static str) -> Known {
    Known { code, class, meaning, remedy }
}

const NO_RECORD: &str = "no federated credential matches this service account";
const CHECK_RECORD: &str = "compare issuer (with its trailing slash), subject and audience of the \
                            federated credential; a new one needs minutes to work";
const CHECK_IDS: &str = "check client id, tenant and cloud (authority)";
const CHECK_SCOPE: &str = "set auth.azure_scope to the resource of this cloud, ending in /.default";

/// Microsoft's numbers that have one known repair.
const AADSTS: [Known; 20] = [
    known(
        7_000_215,
        Class::Config,
        "the client secret is wrong",
        "use the secret's value, not the secret's ID",
    ),
    known(
        7_000_222,
        Class::Config,
        "all secrets of the application have expired",
        "make a new client secret",
    ),
    known(700_016, Class::Config, "the client id is not in this tenant", CHECK_IDS),
    known(90_002, Class::Config, "the tenant was not found", CHECK_IDS),
    known(900_023, Class::Config, "the tenant is neither a GUID nor a domain", CHECK_IDS),
    known(1_002_012, Class::Config, "the scope is not <resource>/.default", CHECK_SCOPE),
    known(70_011, Class::Config, "the scope is not <resource>/.default", CHECK_SCOPE),
    known(500_011, Class::Config, "the resource is unknown in this tenant or cloud", CHECK_SCOPE),
    known(50_001, Class::Config, "the resource is unknown in this tenant or cloud", CHECK_SCOPE),
    known(
        700_027,
        Class::Config,
        "the certificate is not one of the application's, or has expired",
        "upload its public part (.cer) to the app registration",
    ),
    known(
        700_024,
        Class::Assertion,
        "the federated token or signed assertion is out of date",
        "see that the kubelet renews the token file and that the clock is right",
    ),
    known(70_021, Class::Config, NO_RECORD, CHECK_RECORD),
    known(700_211, Class::Config, NO_RECORD, CHECK_RECORD),
    known(700_212, Class::Config, NO_RECORD, CHECK_RECORD),
    known(700_213, Class::Config, NO_RECORD, CHECK_RECORD),
    known(
        90_061,
        Class::Transient,
        "Entra cannot read the cluster's OIDC documents",
        "see that the issuer URL is public",
    ),
    known(53_003, Class::Config, "a conditional access policy blocks this", "ask its owner"),
    known(50_005, Class::Config, "a conditional access policy blocks this", "ask its owner"),
    known(90_055, Class::Transient, "Entra throttles this client", ""),
    known(90_033, Class::Transient, "Entra fails for a moment", ""),
];

/// An answer without a token, as a source judges it.
pub(super) struct Heard<'a> {
    pub(super) status: u16,
    /// In lower case.
    body: &'a str,
}

impl Heard<'_> {
    /// Whether the answer holds these words, which are in lower case.
    pub(super) fn says(&self, words: &str) -> bool {
        self.body.contains(words)
    }
}

/// How an endpoint failed to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// No connection: nobody listens, no route, no such name.
    NoConnection,
    Timeout,
    /// Its certificate is not accepted.
    Certificate,
    /// What answers does not speak TLS.
    NoTls,
    /// The connection broke.
    Broken,
}

/// What an answer without a token means.
pub(super) fn refused(source: &dyn Source, reply: &Reply, secrets: &[&str]) -> Cause {
    let said = Said::read(reply, secrets);
    let known = said.code.and_then(|code| AADSTS.iter().find(|known| known.code == code));
    let mut cause = match known {
        Some(known) => Cause::new(known.class, known.meaning, known.remedy),
        None => {
            let body = reply.body.to_lowercase();
            let heard = Heard { status: reply.status, body: &body };
            source.explain(&heard).unwrap_or_else(|| by_status(reply))
        }
    };
    cause.status = Some(reply.status);
    cause.code = said.code;
    cause.said = said.text.into();
    cause.correlation_id = said.correlation_id;
    cause.retry_after = reply.retry_after;
    cause
}

/// What the lack of an answer means.
pub(super) fn unreachable(source: &dyn Source, error: &NoReply) -> Cause {
    let (silence, said) = match error {
        NoReply::Transport(error) => (Silence::of(error), clean(&innermost(error), &[])),
        NoReply::Tls(error) => (Silence::Broken, error.to_string()),
        NoReply::TooLong => {
            let meaning = "the answer is longer than any token";
            return Cause::new(Class::Protocol, meaning, "see what answers at this address");
        }
    };
    let cause = source.explain_silence(silence).unwrap_or_else(|| match silence {
        Silence::Certificate => Cause::new(
            Class::Config,
            "the endpoint's certificate is not trusted",
            "add the CA of a TLS-inspecting proxy to the system's trust store",
        ),
        Silence::Timeout => Cause::new(Class::Transient, "the endpoint did not answer", ""),
        _ => Cause::new(
            Class::Transient,
            "the endpoint cannot be reached",
            "check DNS, firewall and HTTPS_PROXY",
        ),
    });
    cause.saying(said)
}

/// The silence of an endpoint that a platform serves on the machine itself, at the address that a
/// variable gives.
pub(super) fn local_silence(silence: Silence, variable: &str) -> Option<Cause> {
    let is_absent = matches!(silence, Silence::NoConnection | Silence::Timeout);
    is_absent.then(|| {
        let meaning = format!("nothing answers at the address of {variable}");
        let remedy = "the platform sets it for each process: see that it is not a copy from \
                      elsewhere";
        Cause::new(Class::Transient, meaning, remedy)
    })
}

impl Silence {
    fn of(error: &reqwest::Error) -> Self {
        let tls = causes(error).find_map(|error| error.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => return Self::Certificate,
            Some(rustls::Error::InvalidMessage(_)) => return Self::NoTls,
            _ => {}
        }
        let is_eof = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
        let mut io = causes(error).filter_map(|error| error.downcast_ref::<io::Error>());
        if error.is_connect() && io.any(is_eof) {
            Self::NoTls // it hung up in the middle of the handshake
        } else if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::NoConnection
        } else {
            Self::Broken
        }
    }
}

/// Rules by status alone, for what has no number and no known text.
fn by_status(reply: &Reply) -> Cause {
    match reply.status {
        200..=299 if reply.is_html => not_a_token_endpoint(),
        200..=299 => Cause::new(Class::Protocol, "the answer holds no token", ""),
        300..=399 => Cause::new(
            Class::Protocol,
            "a redirect was answered, and a secret follows none",
            "set the address of the endpoint itself",
        ),
        408 | 500..=599 => Cause::new(Class::Transient, "the endpoint failed", ""),
        429 => Cause::new(Class::Transient, "the endpoint throttles this client", ""),
        _ => Cause::new(Class::Config, "the endpoint refused", "see its words"),
    }
}

/// Somebody answers who is not Azure: a portal, a proxy, a desktop's network.
pub(super) fn not_a_token_endpoint() -> Cause {
    let remedy = "this machine is not on Azure, or a portal or proxy answers for the endpoint";
    Cause::new(Class::Unavailable, "what answers is not a token endpoint", remedy)
}

/// An error body in any of its shapes.
#[derive(Default)]
struct Said {
    text: String,
    code: Option<u32>,
    correlation_id: Option<Box<str>>,
}

impl Said {
    fn read(reply: &Reply, secrets: &[&str]) -> Self {
        if (200..=299).contains(&reply.status) || reply.is_html {
            return Self::default(); // a token might be in it, or nothing worth reading
        }
        let Ok(body) = serde_json::from_str::<Value>(&reply.body) else {
            return Self { text: clean(&reply.body, secrets), ..Self::default() };
        };
        let nested = if body["error"].is_object() { &body["error"] } else { &body };
        let text = ["error_description", "message", "error", "code"]
            .into_iter()
            .find_map(|name| nested[name].as_str().filter(|text| !text.is_empty()))
            .unwrap_or_default();
        // Service Fabric and Cloud Shell say it best in a word beside the sentence.
        let text = match nested["code"].as_str().filter(|code| *code != text) {
            Some(code) => format!("{code}: {text}"),
            None => text.to_owned(),
        };
        let number = nested["error_codes"][0].as_u64().and_then(|code| u32::try_from(code).ok());
        let id = ["correlation_id", "correlationId"].into_iter().find_map(|n| nested[n].as_str());
        Self {
            code: number.or_else(|| aadsts(&text)),
            correlation_id: id.map(|id| clean(id, secrets).into()),
            text: clean(&text, secrets),
        }
    }
}

/// The first `AADSTS<number>` of a text.
fn aadsts(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("AADSTS")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// One printable line without secrets, as long as a log line needs.
pub fn clean(text: &str, secrets: &[&str]) -> String {
    const CHARS_MAX: usize = 400;
    if text.contains("access_token") {
        return String::new();
    }
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        text = text.replace(secret, "***").replace(&encoded, "***");
    }
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
    words.join(" ").chars().take(CHARS_MAX).collect()
}

/// An error and its causes, outermost first. An `io::Error` hides the error it wraps from
/// `source`, and TLS errors arrive in two of them.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |&error| {
        let io = error.downcast_ref::<io::Error>();
        match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// The deepest cause: reqwest's own words only say that sending failed.
fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
