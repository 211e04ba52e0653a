//! The certificate of TLS listeners for which nobody has named one, as Kong makes it.

use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use super::provider;

/// One for the process: a reload must not show clients another one.
static PAIR: OnceLock<Arc<CertifiedKey>> = OnceLock::new();

/// The pair for `localhost`. It is in memory and ends with the process.
///
/// # Errors
/// The system has no randomness.
pub(super) fn pair() -> anyhow::Result<Arc<CertifiedKey>> {
    if let Some(pair) = PAIR.get() {
        return Ok(pair.clone());
    }
    let pair = Arc::new(make()?);
    tracing::info!(
        "TLS listeners without a certificate of theirs show a self-signed one for localhost \
         (ssl_cert, ssl_cert_key)"
    );
    Ok(PAIR.get_or_init(|| pair).clone())
}

fn make() -> anyhow::Result<CertifiedKey> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = params.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok(CertifiedKey::from_der(vec![certificate.der().clone()], private, &provider())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_for_the_whole_process() {
        assert!(Arc::ptr_eq(&pair().unwrap(), &pair().unwrap()));
    }
}
