//! How connections to upstreams are encrypted: nginx' `proxy_ssl_*` and Kong's `client_ssl*`.

use std::path::PathBuf;

use super::layers::Layers;

/// What holds for Services that do not say it themselves.
#[derive(Debug, Clone)]
pub struct ProxySsl {
    /// Whether upstreams must prove who they are.
    pub verify: bool,
    /// Intermediate certificates that their chains may have; `None` is any number.
    pub verify_depth: Option<u32>,
    /// Who is trusted in place of everybody the system trusts.
    pub trusted_certificate: Option<PathBuf>,
    /// The versions of TLS that are spoken.
    pub protocols: Vec<TlsVersion>,
    /// Certificate and key for upstreams that ask for them (`client_ssl`).
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

const VERIFY: [&str; 2] = ["nginx_proxy_proxy_ssl_verify", "nginx_http_proxy_ssl_verify"];
const DEPTH: [&str; 2] =
    ["nginx_proxy_proxy_ssl_verify_depth", "nginx_http_proxy_ssl_verify_depth"];
const TRUSTED: [&str; 2] =
    ["nginx_proxy_proxy_ssl_trusted_certificate", "nginx_http_proxy_ssl_trusted_certificate"];
const PROTOCOLS: [&str; 2] = ["nginx_proxy_proxy_ssl_protocols", "nginx_http_proxy_ssl_protocols"];

/// Names of settings that are read here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let ours = ["client_ssl", "client_ssl_cert", "client_ssl_cert_key"];
    [VERIFY, DEPTH, TRUSTED, PROTOCOLS].into_iter().flatten().chain(ours)
}

impl Layers {
    pub(super) fn proxy_ssl(&mut self) -> ProxySsl {
        let verify = self.flag(self.given(VERIFY), "on");
        let depth = |text: &str| match text {
            "" => Some(None),
            depth => depth.parse().ok().map(Some),
        };
        let expected = "a number of intermediate certificates";
        let depth = self.parse(self.given(DEPTH), "", expected, depth);
        let expected = "a list with TLSv1.2 or TLSv1.3";
        let versions = self.parse(self.given(PROTOCOLS), "TLSv1.2 TLSv1.3", expected, versions);
        ProxySsl {
            verify,
            verify_depth: depth.flatten(),
            trusted_certificate: self.optional(self.given(TRUSTED)).map(PathBuf::from),
            protocols: versions.unwrap_or_default(),
            certificate: self.client_certificate(),
        }
    }

    /// The files of `lua_ssl_trusted_certificate`; the system's are always there.
    pub(super) fn trusted_certificates(&self) -> Vec<PathBuf> {
        let paths = self.list("lua_ssl_trusted_certificate", "system").into_iter();
        paths.filter(|path| path != "system").map(PathBuf::from).collect()
    }

    /// Kong's settings put a directive into nginx' server or around it; the inner one counts.
    fn given(&self, [server, http]: [&'static str; 2]) -> &'static str {
        let is_outer = !self.has(server) && self.has(http);
        if is_outer { http } else { server }
    }

    fn client_certificate(&mut self) -> Option<(PathBuf, PathBuf)> {
        if !self.flag("client_ssl", "off") {
            return None;
        }
        let pair = self.optional("client_ssl_cert").zip(self.optional("client_ssl_cert_key"));
        if pair.is_none() {
            let line = "client_ssl is on: set client_ssl_cert and client_ssl_cert_key to PEM files";
            self.errors.push(line.to_owned());
        }
        pair.map(|(cert, key)| (cert.into(), key.into()))
    }
}

/// Older versions, which nobody should speak, are left out.
fn versions(text: &str) -> Option<Vec<TlsVersion>> {
    let version = |word: &str| match word {
        "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1" => Some(None),
        "TLSv1.2" => Some(Some(TlsVersion::V1_2)),
        "TLSv1.3" => Some(Some(TlsVersion::V1_3)),
        _ => None,
    };
    let versions = text.split_whitespace().map(version).collect::<Option<Vec<_>>>()?;
    let versions: Vec<_> = versions.into_iter().flatten().collect();
    (!versions.is_empty()).then_some(versions)
}

#[cfg(test)]
mod tests {
    use super::super::{Env, Flags, Settings};
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<ProxySsl, Vec<String>> {
        let flags: Flags =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Settings::read(&flags, Env::default(), None)?.settings.proxy_ssl)
    }

    #[test]
    fn nginx_directives_say_how_upstreams_are_verified() {
        let default = read(&[]).unwrap();
        assert!(default.verify && default.verify_depth.is_none());
        assert_eq!(default.protocols, [TlsVersion::V1_2, TlsVersion::V1_3]);
        let given = read(&[
            ("nginx_http_proxy_ssl_verify", "on"),
            ("nginx_proxy_proxy_ssl_verify", "off"),
            ("nginx_http_proxy_ssl_verify_depth", "2"),
            ("nginx_proxy_proxy_ssl_protocols", "TLSv1.1 TLSv1.3"),
            ("nginx_proxy_proxy_ssl_trusted_certificate", "/a.pem"),
        ]);
        let given = given.unwrap();
        assert!(!given.verify, "the inner block counts");
        assert_eq!(given.verify_depth, Some(2));
        assert_eq!(given.protocols, [TlsVersion::V1_3]);
        assert_eq!(given.trusted_certificate, Some("/a.pem".into()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (given, message) in [
            (("nginx_proxy_proxy_ssl_verify_depth", "many"), "'many' is not a number of"),
            (("nginx_proxy_proxy_ssl_protocols", "TLSv1"), "'TLSv1' is not a list with TLSv1.2"),
            (("client_ssl", "on"), "set client_ssl_cert and client_ssl_cert_key"),
        ] {
            let errors = read(&[given]).unwrap_err();
            assert!(errors[0].contains(message), "{errors:?}");
        }
    }
}
