//! How connections to upstreams are encrypted: whom they trust, and what they show.
//!
//! What a Service asks for becomes a [`Policy`]. Policies with the same content are equal, in
//! whichever configuration and worker they were made, and share connections and TLS sessions;
//! others never do.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use super::verify::{Anybody, Careful};
use super::worded::Worded;
use super::{certificates, listener, provider, versions};
use crate::settings::{ProxySsl, Settings, TlsVersion};

/// Names a content.
type Digest = [u8; 32];

/// What makes encrypted connections to upstreams; one for all workers.
#[derive(Clone)]
pub struct UpstreamTls(Arc<Common>);

struct Common {
    terms: Terms,
    everybody: Arc<Trusted>,
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// Those that somebody still uses: a TLS session of one worker resumes in another.
    configs: Mutex<HashMap<Digest, Weak<ClientConfig>>>,
}

/// What is asked of connections.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) verify: bool,
    /// Intermediate certificates that a chain may have (OpenSSL's count); `None` is any number.
    pub(super) depth: Option<u32>,
    pub(super) trusted: Arc<Trusted>,
    /// What is shown to an upstream that asks for a certificate.
    pub(super) shown: Option<Arc<CertifiedKey>>,
}

/// Whose signatures count.
pub(super) struct Trusted {
    pub(super) roots: Arc<RootCertStore>,
    /// Certificates that somebody named, other than the system's.
    pub(super) named: Vec<CertificateDer<'static>>,
    digest: Digest,
}

/// How an encrypted connection is made. A worker has its own; equal content makes it equal.
pub struct Policy {
    terms: Terms,
    digest: Digest,
    config: Arc<ClientConfig>,
}

impl UpstreamTls {
    /// Reads the certificates that settings name.
    ///
    /// # Errors
    /// The setting, the file and what is wrong with it.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let given = &settings.proxy_ssl;
        let fault = |error: rustls::Error| error.to_string();
        let system = rustls_native_certs::load_native_certs().certs;
        let trusted =
            certificates_of("lua_ssl_trusted_certificate", &settings.trusted_certificates)?;
        let everybody = Arc::new(Trusted::new(trusted, system).map_err(fault)?);
        let trusted = match &given.trusted_certificate {
            None => everybody.clone(),
            Some(path) => {
                let setting = "nginx_proxy_proxy_ssl_trusted_certificate";
                let named = certificates_of(setting, std::slice::from_ref(path))?;
                Arc::new(Trusted::new(named, Vec::new()).map_err(fault)?)
            }
        };
        let terms = Terms {
            verify: given.verify,
            depth: given.verify_depth,
            trusted,
            shown: shown(given)?,
        };
        let errand = |verify| {
            let terms = Terms { verify, depth: None, trusted: everybody.clone(), shown: None };
            terms.config(rustls::ALL_VERSIONS).map(Arc::new).map_err(fault)
        };
        let (verified, unverified) = (errand(true)?, errand(false)?);
        let (versions, configs) = (versions(&given.protocols), Mutex::default());
        let common = Common { terms, everybody, verified, unverified, versions, configs };
        Ok(Self(Arc::new(common)))
    }

    /// For requests of the gateway's own, such as those for tokens.
    pub fn config(&self, verify: bool) -> Arc<ClientConfig> {
        if verify { self.0.verified.clone() } else { self.0.unverified.clone() }
    }

    /// For connections of Lua code: as for the gateway's own requests, with a certificate to show,
    /// and without a look at the name where none is given. See [`super::words`].
    ///
    /// # Errors
    /// The TLS library refuses it.
    pub fn worded(
        &self,
        verify: bool,
        any_name: bool,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<ClientConfig, rustls::Error> {
        let trusted = self.0.everybody.clone();
        let terms = Terms { verify, depth: None, trusted, shown };
        let mut config = terms.config(rustls::ALL_VERSIONS)?;
        if verify {
            let worded = Worded { inner: Careful::new(&terms)?, any_name };
            config.dangerous().set_certificate_verifier(Arc::new(worded));
        }
        Ok(config)
    }

    /// For requests of the gateway's own over connections that are kept: it trusts whom the
    /// gateway's other errands trust, and shows nothing.
    ///
    /// # Errors
    /// The TLS library refuses it.
    pub fn own(&self, verify: bool) -> Result<Rc<Policy>, rustls::Error> {
        let trusted = self.0.everybody.clone();
        self.policy(Terms { verify, depth: None, trusted, shown: None })
    }

    /// For connections to databases: as for the gateway's own requests, with a certificate and its
    /// key to show, out of files.
    ///
    /// # Errors
    /// The file and what is wrong with it.
    pub fn of_files(
        &self,
        verify: bool,
        shown: Option<(&Path, &Path)>,
        versions: &[TlsVersion],
    ) -> Result<ClientConfig, String> {
        let trusted = self.0.everybody.clone();
        let shown = shown.map(|(cert, key)| listener::of_files(cert, key)).transpose();
        let shown = shown.map_err(|error| error.to_string())?.map(Arc::new);
        let terms = Terms { verify, depth: None, trusted, shown };
        terms.config(&super::versions(versions)).map_err(|error| error.to_string())
    }

    /// What holds where nobody says anything else.
    pub(super) fn terms(&self) -> &Terms {
        &self.0.terms
    }

    /// Whom the gateway's own requests trust.
    pub(super) fn everybody(&self) -> &Arc<Trusted> {
        &self.0.everybody
    }

    /// The policy with these terms.
    pub(super) fn policy(&self, terms: Terms) -> Result<Rc<Policy>, rustls::Error> {
        /// From so many on, those that plugins have made and nobody uses are looked for.
        const CONFIGS: usize = 1024;
        let digest = terms.digest();
        let mut configs = self.0.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let config = match configs.get(&digest).and_then(Weak::upgrade) {
            Some(config) => config,
            None => {
                let config = Arc::new(terms.config(&self.0.versions)?);
                if configs.len() >= CONFIGS {
                    configs.retain(|_, config| config.strong_count() > 0);
                }
                configs.insert(digest, Arc::downgrade(&config));
                config
            }
        };
        Ok(Rc::new(Policy { terms, digest, config }))
    }

    /// Forgets what nobody uses any more.
    pub(super) fn sweep(&self) {
        let mut configs = self.0.configs.lock().unwrap_or_else(PoisonError::into_inner);
        configs.retain(|_, config| config.strong_count() > 0);
    }
}

impl Trusted {
    /// Of the system's certificates, those that rustls cannot read are left out.
    pub(super) fn new(
        named: Vec<CertificateDer<'static>>,
        system: Vec<CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let mut hash = Sha256::new();
        named
            .iter()
            .chain(&system)
            .for_each(|certificate| hash.update(Sha256::digest(certificate)));
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            roots.add(certificate.clone())?;
        }
        roots.add_parsable_certificates(system);
        Ok(Self { roots: Arc::new(roots), named, digest: hash.finalize().into() })
    }
}

impl Terms {
    fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update([u8::from(self.verify)]);
        hash.update(self.depth.map_or(u64::MAX, u64::from).to_be_bytes());
        hash.update(self.trusted.digest);
        for certificate in self.shown.iter().flat_map(|shown| &shown.cert) {
            hash.update(Sha256::digest(certificate));
        }
        hash.finalize().into()
    }

    fn config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .dangerous();
        let builder = if self.verify {
            builder.with_custom_certificate_verifier(Arc::new(Careful::new(self)?))
        } else {
            builder.with_custom_certificate_verifier(Arc::new(Anybody::new(provider())))
        };
        let mut config = match &self.shown {
            Some(pair) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        if !self.verify {
            // Nothing that was not verified may be resumed as if it were.
            config.resumption = rustls::client::Resumption::disabled();
        }
        Ok(config)
    }
}

impl Policy {
    /// What a connection is made with.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Whether the upstream must prove who it is.
    pub fn verifies(&self) -> bool {
        self.terms.verify
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for Policy {
    /// Without the key that is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Terms { verify, depth, shown, .. } = &self.terms;
        let shows = shown.is_some();
        write!(f, "Policy {{ verify: {verify}, depth: {depth:?}, shows: {shows} }}")
    }
}

fn certificates_of(
    setting: &str,
    paths: &[std::path::PathBuf],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = paths.iter().map(|path| certificates(path)).collect();
    Ok(all.map_err(|error| format!("{setting} {error}"))?.into_iter().flatten().collect())
}

fn shown(given: &ProxySsl) -> Result<Option<Arc<CertifiedKey>>, String> {
    let Some((cert, key)) = &given.certificate else { return Ok(None) };
    let pair = listener::of_files(cert, key).map_err(|error| format!("client_ssl_cert {error}"))?;
    Ok(Some(Arc::new(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Env, Flags};

    #[test]
    fn policies_that_nobody_uses_any_more_do_not_pile_up() {
        crate::tls::install_provider();
        let settings = Settings::read(&Flags::new(), Env::default(), None).unwrap().settings;
        let tls = UpstreamTls::new(&settings).unwrap();
        let count = || tls.0.configs.lock().unwrap().len();
        let with = |depth| tls.policy(Terms { depth: Some(depth), ..tls.terms().clone() }).unwrap();
        let kept = with(0);
        for depth in 1..1100 {
            drop(with(depth));
        }
        assert!(count() <= 1024, "{}", count());
        tls.sweep();
        assert_eq!(count(), 1);
        assert!(Arc::ptr_eq(with(0).config(), kept.config()), "what is used is still known");
    }
}
