//! The certificates of TLS listeners, and which of them a client is shown.
//!
//! They come from `ssl_cert` and from the entities `certificates` and `snis`. All listeners ask one
//! [`Certificates`], whose [`Choice`] the loader replaces with each configuration: handshakes that
//! begin later see the new one, connections that are open keep theirs.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::{certificates, provider, self_signed, unusable, versions};
use crate::settings::{ListenerTls, Settings, is_reference};
use crate::snapshot::Snapshot;

/// Certificates for the same names with keys of different kinds: RSA and ECDSA.
type Pairs = Vec<Arc<CertifiedKey>>;

/// What the listeners show at the moment.
#[derive(Default)]
pub struct Certificates(RwLock<Arc<Choice>>);

/// The certificates of one configuration.
#[derive(Default)]
pub struct Choice {
    /// By server name in lower case: `a.test`, `*.test`, `a.*` or `*`.
    named: HashMap<String, Pairs>,
    /// For clients whose name nothing else fits (`ssl_cert`).
    default: Pairs,
}

impl Choice {
    /// Reads the files of `ssl_cert`, if there is a TLS listener, and the entities.
    ///
    /// # Errors
    /// One line for each file or entity that cannot be used.
    pub fn read(settings: &Settings, snapshot: &Snapshot) -> Result<Self, Vec<String>> {
        let mut choice = Self::default();
        let mut errors = Vec::new();
        let has_listener = settings.proxy_listen.iter().any(|listen| listen.tls);
        for (cert, key) in settings.ssl_cert.iter().filter(|_| has_listener) {
            match of_files(cert, key) {
                Ok(pair) => choice.default.push(Arc::new(pair)),
                Err(error) => errors.push(format!("ssl_cert {error}")),
            }
        }
        sort(&mut choice.default);
        errors.extend(choice.add_entities(snapshot));
        if has_listener && settings.ssl_cert.is_empty() {
            match self_signed::pair() {
                Ok(pair) => choice.default.push(pair),
                Err(error) => errors.push(format!("no certificate can be made: {error}")),
            }
        }
        if errors.is_empty() { Ok(choice) } else { Err(errors) }
    }

    /// What the status listener shows: its files, or the pair that Kong would make.
    ///
    /// # Errors
    /// One line for each file that cannot be used.
    fn of_status(settings: &Settings) -> Result<Self, Vec<String>> {
        let mut choice = Self::default();
        let mut errors = Vec::new();
        for (cert, key) in &settings.status_ssl_cert {
            match of_files(cert, key) {
                Ok(pair) => choice.default.push(Arc::new(pair)),
                Err(error) => errors.push(format!("status_ssl_cert {error}")),
            }
        }
        if settings.status_ssl_cert.is_empty() {
            let made = self_signed::pair().map_err(|error| vec![error.to_string()])?;
            choice.default.push(made);
        }
        sort(&mut choice.default);
        if errors.is_empty() { Ok(choice) } else { Err(errors) }
    }

    fn add_entities(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let records = |name: &str| snapshot.records.get(name).map_or(&[][..], Vec::as_slice);
        let mut errors = Vec::new();
        let mut by_id = HashMap::new();
        for record in records("certificates") {
            match of_entity(&record.json) {
                Ok(pairs) => {
                    let names = record.json["snis"].as_array().into_iter().flatten();
                    for name in names.filter_map(Value::as_str) {
                        self.named.insert(name.to_ascii_lowercase(), pairs.clone());
                    }
                    by_id.insert(record.id.to_string(), pairs);
                }
                Err(error) => {
                    let place = snapshot.places.get(&record.id).map(ToString::to_string);
                    let place = place.unwrap_or_else(|| format!("certificates {}", record.id));
                    errors.push(format!("{place}: {error}"));
                }
            }
        }
        for sni in records("snis") {
            let pairs = sni.json["certificate"]["id"].as_str().and_then(|id| by_id.get(id));
            if let (Some(pairs), Some(name)) = (pairs, sni.json["name"].as_str()) {
                self.named.insert(name.to_ascii_lowercase(), pairs.clone());
            }
        }
        errors
    }

    /// Kong's order: the name itself, a wildcard in place of its first label (of three or more),
    /// one in place of its last, the name `*`, and `ssl_cert`. Who names nobody gets `ssl_cert`;
    /// only without one, which Kong always has, is it `*`.
    fn of_name(&self, name: Option<&str>) -> &Pairs {
        let others = self.named.get("*");
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            return others.filter(|_| self.default.is_empty()).unwrap_or(&self.default);
        };
        let rest = name.split_once('.').map(|(_, rest)| rest).filter(|rest| rest.contains('.'));
        let first = || self.named.get(&format!("*.{}", rest?));
        let last = || self.named.get(&format!("{}.*", name.rsplit_once('.')?.0));
        let named = self.named.get(&name).or_else(first).or_else(last);
        named.or(others).unwrap_or(&self.default)
    }

    fn shown(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let pairs = self.of_name(name).iter();
        let mut fitting = pairs.filter(|pair| pair.key.choose_scheme(schemes).is_some());
        fitting.next().cloned()
    }
}

impl Certificates {
    /// Shows these from now on.
    pub fn replace(&self, choice: Choice) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(choice);
    }

    fn current(&self) -> Arc<Choice> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Certificates {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().shown(hello.server_name(), hello.signature_schemes())
    }
}

/// The configuration of a TLS listener; `http2` is offered by ALPN.
///
/// # Errors
/// The TLS library refuses what it is asked for.
pub fn server(
    shown: &Arc<Certificates>,
    http2: bool,
    tls: &ListenerTls,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(ciphers(tls))
        .with_protocol_versions(&versions(&tls.versions))?
        .with_no_client_auth()
        .with_cert_resolver(shown.clone());
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    config.ignore_client_order = tls.own_order;
    config.session_storage = ServerSessionMemoryCache::new(tls.sessions);
    if let (true, Ok(tickets)) = (tls.tickets, ring::Ticketer::new()) {
        let most = u64::from(tickets.lifetime());
        let lifetime = u32::try_from(tls.session_time.as_secs().min(most)).unwrap_or(u32::MAX);
        config.ticketer = Arc::new(Tickets { tickets, lifetime });
    }
    Ok(Arc::new(config))
}

/// The TLS of the status listener. Its files are read once.
///
/// # Errors
/// One line for each file that cannot be used.
pub fn of_status(settings: &Settings) -> Result<Arc<ServerConfig>, Vec<String>> {
    let shown = Arc::new(Certificates::default());
    shown.replace(Choice::of_status(settings)?);
    server(&shown, false, &settings.listener_tls)
        .map_err(|error| vec![format!("status_listen: {error}")])
}

/// The library with the ciphers that are wanted; those of TLS 1.3 are always there (as in nginx).
fn ciphers(tls: &ListenerTls) -> Arc<CryptoProvider> {
    let all = provider();
    let named = |name: &str| {
        let suite = suite(name)?;
        all.cipher_suites.iter().find(|known| known.suite() == suite).copied()
    };
    let new = all.cipher_suites.iter().filter(|suite| suite.tls13().is_some()).copied();
    let cipher_suites = new.chain(tls.ciphers.iter().filter_map(|name| named(name))).collect();
    Arc::new(CryptoProvider { cipher_suites, ..(*all).clone() })
}

/// OpenSSL's names of [`CIPHERS`](crate::settings::CIPHERS).
fn suite(name: &str) -> Option<CipherSuite> {
    Some(match name {
        "ECDHE-ECDSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "ECDHE-RSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305" => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

/// Session tickets with a lifetime of our own; their keys change as the library sees fit.
#[derive(Debug)]
struct Tickets {
    tickets: Arc<dyn ProducesTickets>,
    lifetime: u32,
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.lifetime > 0 && self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.decrypt(cipher)
    }
}

pub(super) fn of_files(cert: &Path, key: &Path) -> Result<CertifiedKey, super::Unusable> {
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
    certified(chain, private).map_err(|e| unusable(key, e))
}

/// A chain and its key. rustls reads the certificate only to compare the two, and cannot read one
/// of X.509 version 1, which Kong shows like any other.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    let pair = CertifiedKey::new(chain, provider().key_provider.load_private_key(private)?);
    match pair.keys_match() {
        Ok(())
        | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown))
        | Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(_))) => Ok(pair),
        Err(error) => Err(error),
    }
}

fn of_entity(entity: &Value) -> Result<Pairs, String> {
    let kinds = [("cert", "key"), ("cert_alt", "key_alt")];
    let pairs = kinds.into_iter().filter_map(|(cert, key)| pair_of(entity, cert, key));
    let mut pairs = pairs.collect::<Result<Pairs, _>>()?;
    sort(&mut pairs);
    Ok(pairs)
}

/// The pair in two fields of an entity; `None` if it has none there. What an unresolved reference
/// stands for is not there (Kong); a warning has told of it.
pub(super) fn pair_of(
    entity: &Value,
    cert: &str,
    key: &str,
) -> Option<Result<Arc<CertifiedKey>, String>> {
    let text = |field: &str| entity[field].as_str().filter(|text| !is_reference(text));
    let (chain, private) = (text(cert)?, text(key)?);
    let read = || {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = chain.map_err(|error| format!("{cert}: {error}"))?;
        let failed = |error: &dyn fmt::Display| format!("{key}: {error}");
        let private = PrivateKeyDer::from_pem_slice(private.as_bytes()).map_err(|e| failed(&e))?;
        let pair = certified(chain, private).map_err(|e| failed(&e))?;
        Ok(Arc::new(pair))
    };
    Some(read())
}

/// RSA last: it costs more, and clients that can use another key are glad of it.
fn sort(pairs: &mut Pairs) {
    pairs.sort_by_key(|pair| pair.key.algorithm() == SignatureAlgorithm::RSA);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(kind: &'static rcgen::SignatureAlgorithm) -> Arc<CertifiedKey> {
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![cert.der().clone()], private, &provider()).unwrap())
    }

    #[test]
    fn a_name_is_looked_up_in_kongs_order() {
        let mut choice = Choice::default();
        let names = ["a.b.test", "*.b.test", "a.b.*", "*"];
        let pairs: Vec<_> = names.iter().map(|_| pair(&rcgen::PKCS_ECDSA_P256_SHA256)).collect();
        choice.default.push(pair(&rcgen::PKCS_ECDSA_P256_SHA256));
        let is = |choice: &Choice, name: Option<&str>, expected: &Arc<CertifiedKey>| {
            assert!(Arc::ptr_eq(&choice.of_name(name)[0], expected), "{name:?}");
        };
        let default = choice.default[0].clone();
        is(&choice, Some("a.b.test"), &default);
        is(&choice, None, &default);
        for (name, pair) in names.iter().zip(&pairs).rev() {
            choice.named.insert((*name).to_owned(), vec![pair.clone()]);
            is(&choice, Some("A.b.test"), pair);
        }
        is(&choice, Some("x.b.test"), &pairs[1]);
        is(&choice, Some("a.b.other"), &pairs[2]);
        is(&choice, Some("x.y.b.test"), &pairs[3]);
        is(&choice, Some("b.test"), &pairs[3]);
        is(&choice, None, &default);
        choice.default.clear();
        is(&choice, None, &pairs[3]);
    }

    #[test]
    fn every_cipher_that_can_be_named_is_built() {
        let tls = Settings::defaults().listener_tls;
        let suites = |tls: &ListenerTls| ciphers(tls).cipher_suites.len();
        assert_eq!(suites(&tls), crate::settings::CIPHERS.len() + 3);
        let one = ListenerTls { ciphers: vec!["ECDHE-RSA-AES128-GCM-SHA256"], ..tls };
        assert_eq!(suites(&one), 1 + 3);
        assert!(server(&Arc::default(), true, &one).is_ok());
    }

    #[test]
    fn a_client_is_shown_a_key_that_it_can_check() {
        let (p256, p384) =
            (pair(&rcgen::PKCS_ECDSA_P256_SHA256), pair(&rcgen::PKCS_ECDSA_P384_SHA384));
        let choice = Choice { default: vec![p256.clone(), p384.clone()], ..Choice::default() };
        let shown = |scheme| choice.shown(None, &[scheme]);
        assert!(Arc::ptr_eq(&shown(SignatureScheme::ECDSA_NISTP256_SHA256).unwrap(), &p256));
        assert!(Arc::ptr_eq(&shown(SignatureScheme::ECDSA_NISTP384_SHA384).unwrap(), &p384));
        assert!(shown(SignatureScheme::RSA_PSS_SHA256).is_none());
    }

    /// The certificate without what version 1 of X.509 does not have: a version, and extensions.
    fn version_1(der: &[u8]) -> Vec<u8> {
        fn split(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
            let (header, length) = match der[1] {
                0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
                0x81 => (3, usize::from(der[2])),
                short => (2, usize::from(short)),
            };
            (&der[..header + length], &der[header..header + length], &der[header + length..])
        }
        let sequence = |content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            let header = match length {
                [0, short @ ..0x80] => vec![0x30, short],
                [0, length] => vec![0x30, 0x81, length],
                [high, low] => vec![0x30, 0x82, high, low],
            };
            [&header, content].concat()
        };
        let (_, certificate, _) = split(der);
        let (_, body, signature) = split(certificate);
        let (mut fields, mut rest) = (Vec::new(), body);
        while !rest.is_empty() {
            let (field, _, after) = split(rest);
            (rest, fields) = (after, [fields, vec![field]].concat());
        }
        fields.retain(|field| !matches!(field[0], 0xa0 | 0xa3));
        sequence(&[sequence(&fields.concat()), signature.to_vec()].concat())
    }

    #[test]
    fn a_certificate_of_version_1_is_shown_like_any_other() {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let der = version_1(made.cert.der());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let pair = certified(vec![der.clone().into()], key).unwrap();
        assert_eq!(pair.cert[0].as_ref(), der);
        let other = rcgen::KeyPair::generate().unwrap().serialize_der();
        let other = PrivateKeyDer::try_from(other).unwrap();
        assert!(certified(vec![made.cert.der().clone()], other).is_err());
    }

    #[test]
    fn an_unresolved_reference_stands_for_no_certificate() {
        let entity = serde_json::json!({"cert": "{vault://env/c}", "key": "{vault://env/k}"});
        assert!(of_entity(&entity).unwrap().is_empty());
    }
}
