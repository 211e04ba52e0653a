//! What plugins want of a handshake (Kong's phase `certificate`), in terms of rustls.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::listener::certified;
use super::worded::of_chain;
use super::{provider, versions};
use crate::pdk::request::ClientChain;
use crate::pdk::{Shown, Wish};
use crate::settings::ListenerTls;

/// A listener's configuration with the wishes of plugins.
///
/// # Errors
/// The TLS library refuses what they want.
pub fn wished(
    base: &ServerConfig,
    tls: &ListenerTls,
    wish: &Wish,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(base.crypto_provider().clone())
        .with_protocol_versions(&versions(&tls.versions))?;
    let builder = match &wish.asks {
        Some(authorities) => builder.with_client_cert_verifier(Arc::new(Anybody::new(authorities))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(match &wish.shown {
        Some(shown) => Arc::new(Only(pair(shown)?)),
        None => base.cert_resolver.clone(),
    });
    config.alpn_protocols.clone_from(&base.alpn_protocols);
    config.ignore_client_order = base.ignore_client_order;
    if wish.is_once {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.session_storage = base.session_storage.clone();
        config.ticketer = base.ticketer.clone();
    }
    Ok(Arc::new(config))
}

/// What a plugin shows; nothing as long as a part of it is missing.
fn pair(shown: &Shown) -> Result<Option<Arc<CertifiedKey>>, Error> {
    match &shown.key {
        Some(key) if !shown.chain.is_empty() => {
            certified(shown.chain.clone(), key.clone_key()).map(Arc::new).map(Some)
        }
        _ => Ok(None),
    }
}

/// What a client has shown that was asked, and what nginx would say of it.
pub fn client_chain(
    connection: &ServerConnection,
    authorities: &[CertificateDer<'static>],
) -> Option<ClientChain> {
    let chain = connection.peer_certificates().filter(|chain| !chain.is_empty())?;
    let chain: Vec<_> = chain.iter().map(|one| one.clone().into_owned()).collect();
    let (first, others) = chain.split_first()?;
    let verify = match verified(first, others, authorities) {
        true => "SUCCESS".to_owned(),
        false => {
            let words = of_chain(first, others);
            format!("FAILED:{}", words.split_once(": ").map_or(words, |(_, words)| words))
        }
    };
    Some(ClientChain { chain, verify })
}

fn verified(
    first: &CertificateDer<'static>,
    others: &[CertificateDer<'static>],
    authorities: &[CertificateDer<'static>],
) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    verifier
        .is_ok_and(|verifier| verifier.verify_client_cert(first, others, UnixTime::now()).is_ok())
}

/// Shows one certificate, or none at all.
#[derive(Debug)]
struct Only(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

/// Asks for a certificate, and leaves it to plugins what to make of it. The client has to own its
/// key all the same.
#[derive(Debug)]
struct Anybody {
    names: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl Anybody {
    fn new(authorities: &[CertificateDer<'static>]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        Self { names: roots.subjects(), provider: provider() }
    }
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
