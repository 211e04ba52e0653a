//! Entra's token endpoint for client credentials, with the AADSTS errors that operators meet.

use http::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::assertion::Assertion;
use super::call::Call;
use super::clock;
use super::rule::Rule;
use super::state::State;
use super::tokens::Identity;
use super::wire::Reply;

const JSON: &str = "application/json; charset=utf-8";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Issues a token, or says in Entra's way what is wrong; the identity is for the record.
pub(super) fn reply(state: &State, call: &Call, rule: &Rule) -> (Reply, String) {
    if call.head.method != Method::POST {
        return (Reply::text(StatusCode::METHOD_NOT_ALLOWED, ""), "nobody".into());
    }
    let form = Form::of(call);
    let grant = match form.check(state) {
        Ok(grant) => grant,
        Err(refusal) => return (refusal.reply(), form.claimed()),
    };
    let life_secs = rule.token_lifetime_secs.or(state.options.token_lifetime_secs).unwrap_or(3599);
    let name = grant.identity.to_string();
    let token = state.tokens().issue(grant.identity, &grant.resource, life_secs);
    let mut body = json!({
        "token_type": "Bearer",
        "expires_in": life_secs,
        "ext_expires_in": life_secs,
        "access_token": token,
    });
    if life_secs >= 7200 {
        body["refresh_in"] = (life_secs / 2).into();
    }
    if let Some(form) = rule.expiry {
        form.rewrite(&mut body, life_secs);
    }
    let reply = Reply::new(StatusCode::OK, JSON, body.to_string().into());
    (reply.header("cache-control", "no-store"), name)
}

/// What a tenant's openid-configuration says, as far as client credentials need it.
pub(super) fn discovery(call: &Call) -> Reply {
    let tenant = call.tenant.as_deref().unwrap_or_default();
    let base = format!("{}/{tenant}", call.origin());
    let body = json!({
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
    });
    Reply::new(StatusCode::OK, JSON, body.to_string().into())
}

struct Form<'a> {
    tenant: &'a str,
    /// The address of this endpoint as its caller wrote it: the audience of assertions.
    url: String,
    fields: Vec<(String, String)>,
}

struct Grant {
    identity: Identity,
    resource: String,
}

struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

type Checked<T> = Result<T, Refusal>;

impl<'a> Form<'a> {
    fn of(call: &'a Call) -> Self {
        let fields = url::form_urlencoded::parse(&call.body).into_owned().collect();
        let url = format!("{}{}", call.origin(), call.path());
        Self { tenant: call.tenant.as_deref().unwrap_or_default(), url, fields }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, v)| n == name && !v.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Who the caller says they are.
    fn claimed(&self) -> String {
        let client = self.field("client_id").unwrap_or("none");
        format!("refused client id {client}, tenant {}", self.tenant)
    }

    fn check(&self, state: &State) -> Checked<Grant> {
        self.check_tenant(state)?;
        let grant_type = self.required("grant_type")?;
        if grant_type != "client_credentials" {
            let text = format!("The app requested an unsupported grant type '{grant_type}'.");
            return bad_request("unsupported_grant_type", 70_003, text);
        }
        let client_id = self.required("client_id")?;
        let resource = self.resource(self.required("scope")?)?;
        if client_id == "unknown-client" {
            let text = format!(
                "Application with identifier '{client_id}' was not found in the directory '{}'.",
                self.tenant
            );
            return bad_request("unauthorized_client", 700_016, text);
        }
        let by = self.check_proof(state, client_id)?;
        let (client_id, tenant) = (client_id.to_owned(), self.tenant.to_owned());
        Ok(Grant { identity: Identity::Application { by, client_id, tenant }, resource })
    }

    fn check_tenant(&self, state: &State) -> Checked<()> {
        let tenant = self.tenant;
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if tenant.is_empty() || !tenant.chars().all(allowed) {
            let text = format!(
                "Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid \
                 external domain."
            );
            return bad_request("invalid_request", 900_023, text);
        }
        let known = match state.options.tenants.as_slice() {
            [] => tenant != "unknown-tenant",
            listed => listed.iter().any(|t| t.eq_ignore_ascii_case(tenant)),
        };
        if known {
            return Ok(());
        }
        let text = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and \
             are signing into the correct cloud."
        );
        bad_request("invalid_request", 90_002, text)
    }

    fn required(&self, name: &str) -> Checked<&str> {
        let missing = || {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", 900_144, text)
        };
        self.field(name).ok_or_else(missing)
    }

    /// The scope without its `/.default`, which the client credentials flow insists on.
    fn resource(&self, scope: &str) -> Checked<String> {
        let Some(resource) = scope.strip_suffix("/.default").filter(|r| !r.contains(' ')) else {
            let text = format!(
                "The provided value for scope {scope} is not valid. Client credential flows must \
                 have a scope value with /.default suffixed to the resource identifier \
                 (application ID URI)."
            );
            return bad_request("invalid_scope", 1_002_012, text);
        };
        if resource.is_empty() || resource.contains("unknown") {
            let text = format!(
                "The resource principal named {resource} was not found in the tenant named {}.",
                self.tenant
            );
            return bad_request("invalid_resource", 500_011, text);
        }
        Ok(resource.to_owned())
    }

    /// Checks the secret or the assertion and says which kind of credential it is.
    fn check_proof(&self, state: &State, client_id: &str) -> Checked<&'static str> {
        if let Some(assertion) = self.field("client_assertion") {
            return self.check_assertion(state, client_id, assertion);
        }
        let Some(secret) = self.field("client_secret") else {
            let text = "'client_assertion', 'client_secret' or 'request' is required for the \
                        'client_credentials' grant type.";
            return unauthorized(7_000_216, text.into());
        };
        if secret == "expired-secret" {
            let text = format!(
                "The provided client secret keys for app '{client_id}' are expired. Visit the \
                 Azure portal to create new keys for your app."
            );
            return unauthorized(7_000_222, text);
        }
        let known = match state.options.client_secrets.as_slice() {
            [] => secret != "wrong-secret",
            listed => listed.iter().any(|s| s == secret),
        };
        if known {
            return Ok("client secret");
        }
        let text = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the \
             client secret value, not the client secret ID, for a secret added to app \
             '{client_id}'."
        );
        unauthorized(7_000_215, text)
    }

    /// A federated token is not verified, but one that says itself that it has expired is refused,
    /// and so is white space, which a token file ends with and a client must trim. What is signed
    /// with a certificate is verified, once there are certificates.
    fn check_assertion(
        &self,
        state: &State,
        client_id: &str,
        assertion: &str,
    ) -> Checked<&'static str> {
        if self.field("client_assertion_type") != Some(ASSERTION_TYPE) {
            return self.required("client_assertion_type").and_then(|given| {
                let text = format!("The assertion type '{given}' is not supported.");
                bad_request("invalid_request", 900_144, text)
            });
        }
        if assertion.contains(char::is_whitespace) {
            let text = "Invalid JWT token. The token is malformed.".to_owned();
            return unauthorized(50_027, text);
        }
        let parsed = Assertion::read(assertion);
        let expiry = parsed.as_ref().and_then(|parsed| parsed.time("exp"));
        if assertion == "expired-assertion" || expiry.is_some_and(|exp| exp <= clock::now_secs()) {
            let text = format!(
                "Client assertion is not within its valid time range. Current time: {}, expiry \
                 time of assertion {}.",
                clock::entra_timestamp(clock::now_secs()),
                clock::entra_timestamp(expiry.unwrap_or_default()),
            );
            return unauthorized(700_024, text);
        }
        if assertion == "wrong-assertion" {
            let text = "No matching federated identity record found for presented assertion. \
                        Assertion Issuer: 'https://oidc.example/x/'. Assertion Subject: \
                        'system:serviceaccount:ns:sa'. Assertion Audience: \
                        'api://AzureADTokenExchange'.";
            return unauthorized(70_021, text.into());
        }
        let Some(parsed) = parsed.filter(Assertion::names_certificate) else {
            return Ok("workload identity");
        };
        let known = state.options.client_certificates.as_slice();
        match parsed.verify(known, &self.url, client_id) {
            Err(reason) if !known.is_empty() => {
                let text = format!(
                    "The certificate with identifier used to sign the client assertion is not \
                     registered on application. [Reason - {reason}.]"
                );
                unauthorized(700_027, text)
            }
            _ => Ok("client certificate"),
        }
    }
}

fn bad_request<T>(error: &'static str, code: u32, text: String) -> Checked<T> {
    Err(Refusal::new(StatusCode::BAD_REQUEST, error, code, text))
}

fn unauthorized<T>(code: u32, text: String) -> Checked<T> {
    Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", code, text))
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, code: u32, text: String) -> Self {
        Self { status, error, code, text }
    }

    /// Entra's error object; the description ends with the ids that support asks for.
    fn reply(&self) -> Reply {
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let timestamp = clock::entra_timestamp(clock::now_secs());
        let code = self.code;
        let body = json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{code}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: \
                 {timestamp}",
                self.text
            ),
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        let reply = Reply::new(self.status, JSON, body.to_string().into());
        reply.header("x-ms-request-id", &trace.to_string())
    }
}
