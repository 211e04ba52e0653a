//! The TLS policies of one configuration: what each Service asks of its upstream (Kong's
//! `upstream_ssl`).

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use uuid::Uuid;

use super::listener::pair_of;
use super::upstream::{Policy, Terms, Trusted, UpstreamTls};
use crate::entity::{Record, Service, Upstream};
use crate::pdk::service::TlsChange;
use crate::snapshot::Snapshot;

/// The policies of one worker.
pub struct Policies {
    tls: UpstreamTls,
    default: Rc<Policy>,
    /// Of the Services that ask for something.
    own: HashMap<Uuid, Rc<Policy>>,
    /// Of the Services whose Upstream has the client certificate that they have not.
    balanced: HashMap<Uuid, Rc<Policy>>,
}

impl Policies {
    /// Those of a configuration that says nothing.
    ///
    /// # Errors
    /// The TLS library refuses what settings ask for.
    pub fn plain(tls: &UpstreamTls) -> Result<Self, String> {
        let default = tls.policy(tls.terms().clone()).map_err(|error| error.to_string())?;
        Ok(Self { tls: tls.clone(), default, own: HashMap::new(), balanced: HashMap::new() })
    }

    /// Those of a Snapshot.
    ///
    /// # Errors
    /// Every field that names something which cannot be used, with its place.
    pub fn new(tls: &UpstreamTls, snapshot: &Snapshot) -> Result<Self, Vec<String>> {
        tls.sweep();
        let mut policies = Self::plain(tls).map_err(|error| vec![error])?;
        let mut store = Store { snapshot, pairs: HashMap::new(), trusted: HashMap::new() };
        let mut errors = Vec::new();
        for service in snapshot.services.values() {
            if let Err((field, error)) = policies.add(service, &mut store) {
                let place = match snapshot.places.get(&service.id) {
                    Some(place) => place.to_string(),
                    None => format!("services {}", service.id),
                };
                errors.push(format!("{place}.{field}: {error}"));
            }
        }
        if errors.is_empty() {
            return Ok(policies);
        }
        errors.sort();
        Err(errors)
    }

    fn add(&mut self, service: &Service, store: &mut Store<'_>) -> Result<(), Fault> {
        let given = self.tls.terms();
        let mut terms = Terms {
            verify: service.tls_verify.unwrap_or(given.verify),
            depth: service.tls_verify_depth.or(given.depth),
            ..given.clone()
        };
        if let Some(ids) = service.ca_certificates.as_ref().filter(|ids| !ids.is_empty()) {
            let trusted = store.trusted(ids).map_err(|error| ("ca_certificates", error))?;
            terms.trusted = trusted.unwrap_or(terms.trusted);
        }
        if let Some(certificate) = &service.client_certificate {
            let pair = store.pair(certificate.id);
            terms.shown = pair.map_err(|error| ("client_certificate", error))?;
        }
        let asks = service.tls_verify.is_some()
            || service.tls_verify_depth.is_some()
            || service.ca_certificates.is_some()
            || service.client_certificate.is_some();
        let failed = |error: rustls::Error| ("client_certificate", error.to_string());
        let upstream = store.snapshot.upstreams.get(&service.host);
        let lent = upstream.and_then(|upstream| upstream.client_certificate.as_ref());
        if let (Some(certificate), None) = (lent, &service.client_certificate) {
            let pair = store.pair(certificate.id).map_err(|error| {
                ("host", format!("client_certificate of upstream '{}': {error}", service.host))
            });
            let terms = Terms { shown: pair?, ..terms.clone() };
            self.balanced.insert(service.id, self.tls.policy(terms).map_err(failed)?);
        }
        if asks {
            self.own.insert(service.id, self.tls.policy(terms).map_err(failed)?);
        }
        Ok(())
    }

    /// The policy for a connection on behalf of a Service, to a target of its Upstream or not.
    pub fn of(&self, service: Option<Uuid>, is_balanced: bool) -> &Rc<Policy> {
        let Some(service) = service else { return &self.default };
        let lent = if is_balanced { self.balanced.get(&service) } else { None };
        lent.or_else(|| self.own.get(&service)).unwrap_or(&self.default)
    }

    /// The same with what a plugin asks for this request.
    ///
    /// # Errors
    /// The TLS library refuses it.
    pub fn changed(&self, policy: &Policy, change: &TlsChange) -> Result<Rc<Policy>, String> {
        let terms = policy.terms();
        let trusted = match &change.trusted {
            Some(named) => {
                let trusted = Trusted::new(named.to_vec(), Vec::new());
                Arc::new(trusted.map_err(|error| error.to_string())?)
            }
            None => terms.trusted.clone(),
        };
        let terms = Terms {
            verify: change.verify.unwrap_or(terms.verify),
            depth: change.depth.or(terms.depth),
            shown: change.shown.clone().or_else(|| terms.shown.clone()),
            trusted,
        };
        self.tls.policy(terms).map_err(|error| error.to_string())
    }
}

/// What the health checks of an Upstream connect with (Kong's rule): it trusts whom the gateway's
/// own requests trust, and shows the certificate of the Upstream or that of the settings.
///
/// # Errors
/// The client certificate cannot be used.
pub fn probe_config(
    tls: &UpstreamTls,
    snapshot: &Snapshot,
    upstream: &Upstream,
) -> Result<Arc<ClientConfig>, String> {
    let mut store = Store { snapshot, pairs: HashMap::new(), trusted: HashMap::new() };
    let given = tls.terms();
    let shown = upstream.client_certificate.as_ref();
    let shown = shown.map(|certificate| store.pair(certificate.id)).transpose()?.flatten();
    let terms = Terms {
        verify: upstream.healthchecks.active.https_verify_certificate,
        depth: given.depth,
        trusted: tls.everybody().clone(),
        shown: shown.or_else(|| given.shown.clone()),
    };
    Ok(tls.policy(terms).map_err(|error| error.to_string())?.config().clone())
}

/// The field that is at fault, and why.
type Fault = (&'static str, String);

/// The certificates of a Snapshot; each is read once.
struct Store<'a> {
    snapshot: &'a Snapshot,
    pairs: HashMap<Uuid, Arc<CertifiedKey>>,
    trusted: HashMap<Vec<Uuid>, Arc<Trusted>>,
}

impl Store<'_> {
    /// The certificate with this id. None is shown as long as the secret that it refers to is not
    /// there.
    fn pair(&mut self, id: Uuid) -> Result<Option<Arc<CertifiedKey>>, String> {
        if let Some(pair) = self.pairs.get(&id) {
            return Ok(Some(pair.clone()));
        }
        let missing = || format!("there is no certificate with the id {id}");
        let record = self.record("certificates", id).ok_or_else(missing)?;
        let pair = pair_of(&record.json, "cert", "key").transpose()?;
        self.pairs.extend(pair.iter().map(|pair| (id, pair.clone())));
        Ok(pair)
    }

    /// Those with these ids. Nothing if one of them is not there: Kong then trusts whom it trusts
    /// for other Services. `config` has warned of it.
    fn trusted(&mut self, ids: &[Uuid]) -> Result<Option<Arc<Trusted>>, String> {
        if let Some(trusted) = self.trusted.get(ids) {
            return Ok(Some(trusted.clone()));
        }
        let records = ids.iter().map(|id| self.record("ca_certificates", *id));
        let Some(records) = records.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let authority = |record: &Record| {
            let pem = record.json["cert"].as_str().unwrap_or_default();
            let read = CertificateDer::from_pem_slice(pem.as_bytes());
            read.map_err(|error| format!("{}: {error}", record.id))
        };
        let named = records.into_iter().map(authority).collect::<Result<Vec<_>, _>>()?;
        let trusted = Trusted::new(named, Vec::new()).map_err(|error| error.to_string())?;
        let trusted = Arc::new(trusted);
        self.trusted.insert(ids.to_vec(), trusted.clone());
        Ok(Some(trusted))
    }

    fn record(&self, collection: &str, id: Uuid) -> Option<&Record> {
        let records = self.snapshot.records.get(collection)?;
        records.iter().map(Arc::as_ref).find(|record| record.id == id)
    }
}
