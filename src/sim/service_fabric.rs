//! Service Fabric's identity endpoint: TLS with a self-signed certificate that callers must know by
//! its thumbprint, because the secret they send is the identity.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::call::Call;
use super::metadata::{TokenRequest, is_version, method_not_allowed, resource};
use super::state::State;
use super::tokens::Identity;
use super::wire::Refusal;

/// The certificate of the endpoint.
#[derive(Clone)]
pub struct Pinned {
    thumbprint: String,
    tls: Arc<ServerConfig>,
}

/// Where the endpoint is, for the environment of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFabric {
    /// The value for `IDENTITY_ENDPOINT`.
    pub endpoint: String,
    /// The value for `IDENTITY_SERVER_THUMBPRINT`: SHA-1 of the certificate in 40 hex digits.
    pub thumbprint: String,
}

impl Pinned {
    /// A certificate, which need not be signed by anybody, and its key.
    pub fn new(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let mut thumbprint = String::new();
        for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, &certificate).as_ref() {
            let _ = write!(thumbprint, "{byte:02X}");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(Self { thumbprint, tls: tls.into() })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.tls).into()
    }

    pub(super) fn at(&self, addr: SocketAddr) -> ServiceFabric {
        let endpoint = format!("https://{addr}/fabric/metadata/identity/oauth2/token");
        ServiceFabric { endpoint, thumbprint: self.thumbprint.clone() }
    }
}

/// The refusals are those of Microsoft's table for this endpoint. Nothing selects an identity here.
pub(super) fn check(state: &State, call: &Call) -> Result<TokenRequest, Refusal> {
    let refused = |status, code: &str, message: &str| {
        let id = uuid::Uuid::new_v4();
        let error = json!({ "correlationId": id, "code": code, "message": message });
        Err(Refusal(status, json!({ "error": error })))
    };
    if !call.is_tls {
        let text = "The endpoint speaks TLS only.";
        return refused(StatusCode::FORBIDDEN, "TlsRequired", text);
    }
    if call.head.method != Method::GET {
        return Err(method_not_allowed());
    }
    let Some(secret) = call.header("secret") else {
        let text = "Secret is not found in the request headers.";
        return refused(StatusCode::NOT_FOUND, "SecretHeaderNotFound", text);
    };
    let version = call.argument("api-version").unwrap_or_default();
    if !is_version(&version) {
        let text = format!("The api-version '{version}' is not supported.");
        return refused(StatusCode::BAD_REQUEST, "InvalidApiVersion", &text);
    }
    if secret != state.options.identity_header || !state.options.system_identity {
        let text = "Managed identity not found for the specified application host.";
        return refused(StatusCode::NOT_FOUND, "ManagedIdentityNotFound", text);
    }
    let Some(resource) = resource(call) else {
        let text = "The parameter 'resource' should not be null or empty string.";
        return refused(StatusCode::BAD_REQUEST, "ArgumentNullOrEmpty", text);
    };
    let identity = Identity::Managed { by: "service fabric managed identity", named: None };
    Ok(TokenRequest { identity, resource })
}
