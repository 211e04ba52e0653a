//! How TLS listeners speak: Kong's `ssl_*`.

use std::time::Duration;

use super::layers::Layers;
use super::proxy_ssl::TlsVersion;
use super::text::time;

/// The TLS of listeners.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// The versions that are spoken.
    pub versions: Vec<TlsVersion>,
    /// OpenSSL's names of the ciphers of TLS 1.2, in order, all of [`CIPHERS`].
    pub ciphers: Vec<&'static str>,
    /// Our order of ciphers counts, not the client's.
    pub own_order: bool,
    /// Whether sessions are kept by the client, in tickets.
    pub tickets: bool,
    /// How long a session can be resumed.
    pub session_time: Duration,
    /// Sessions that are kept here.
    pub sessions: usize,
}

/// Settings that are read here, `nginx_http_ssl_*` beside some of them.
pub(super) const NAMES: &[&str] = &[
    "ssl_cipher_suite",
    "ssl_ciphers",
    "ssl_protocols",
    "ssl_prefer_server_ciphers",
    "ssl_session_cache_size",
    "ssl_session_tickets",
    "ssl_session_timeout",
    "nginx_http_ssl_protocols",
    "nginx_http_ssl_prefer_server_ciphers",
    "nginx_http_ssl_session_tickets",
    "nginx_http_ssl_session_timeout",
];

/// The ciphers of TLS 1.2 that are built.
pub const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// A row of Kong's table: the versions, the ciphers, and whether our order counts.
struct Suite {
    name: &'static str,
    versions: &'static str,
    ciphers: &'static str,
    own_order: bool,
}

/// Kong's suites (Mozilla's, version 5.7), as far as the TLS library has their ciphers: it has no
/// CBC, no DHE and no RSA key exchange. `old` is therefore `intermediate`.
const SUITES: [Suite; 4] = [
    Suite { name: "modern", versions: "TLSv1.3", ciphers: "", own_order: false },
    Suite { name: "intermediate", versions: "TLSv1.2 TLSv1.3", ciphers: "", own_order: false },
    Suite { name: "old", versions: "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", ciphers: "", own_order: true },
    Suite {
        name: "fips",
        versions: "TLSv1.2",
        ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
                  ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
        own_order: true,
    },
];

impl Layers {
    pub(super) fn listener_tls(&mut self, has_listener: bool) -> ListenerTls {
        let suite = self.text("ssl_cipher_suite", "intermediate");
        let row = SUITES.iter().find(|row| row.name == suite);
        if row.is_none() && suite != "custom" {
            self.refuse("ssl_cipher_suite", &format!("Undefined cipher suite {suite}"));
        }
        // As in Kong, what a suite says stands above what is set one by one.
        let protocols = match row {
            Some(row) => row.versions.to_owned(),
            None => self.text(&self.directive("ssl_protocols"), "TLSv1.2 TLSv1.3"),
        };
        let own_order = match row {
            Some(row) => row.own_order,
            None => self.flag(&self.directive("ssl_prefer_server_ciphers"), "on"),
        };
        let ciphers = match row {
            Some(row) => row.ciphers.to_owned(),
            None => self.text("ssl_ciphers", ""),
        };
        let versions = self.versions(&protocols);
        if has_listener {
            self.tell_of_versions(&suite, &protocols);
        }
        ListenerTls {
            versions,
            ciphers: self.ciphers(&ciphers),
            own_order,
            tickets: self.flag(&self.directive("ssl_session_tickets"), "on"),
            session_time: self.session_time(),
            sessions: self.sessions(),
        }
    }

    /// nginx' own name for it, if that is set; Kong's otherwise.
    fn directive(&self, name: &str) -> String {
        let nginx = format!("nginx_http_{name}");
        if self.has(&nginx) && !self.has(name) { nginx } else { name.to_owned() }
    }

    fn versions(&mut self, protocols: &str) -> Vec<TlsVersion> {
        let known = |word: &str| match word {
            "TLSv1.2" => Some(TlsVersion::V1_2),
            "TLSv1.3" => Some(TlsVersion::V1_3),
            _ => None,
        };
        let versions: Vec<_> = protocols.split_whitespace().filter_map(known).collect();
        if versions.is_empty() {
            let name = self.directive("ssl_protocols");
            self.refuse(
                &name,
                "ssl_protocols has neither TLSv1.2 nor TLSv1.3: older ones are not \
                                built",
            );
        }
        versions
    }

    fn tell_of_versions(&mut self, suite: &str, protocols: &str) {
        let is_new = |word: &&str| matches!(*word, "TLSv1.2" | "TLSv1.3");
        let old: Vec<_> = protocols.split_whitespace().filter(|word| !is_new(word)).collect();
        if !old.is_empty() {
            let old = old.join(", ");
            self.warnings.push(format!("listeners do not speak {old}: TLS 1.2 is the oldest here"));
        }
        if suite == "fips" {
            let line = "ssl_cipher_suite fips chooses its ciphers, but the TLS library is not \
                        validated";
            self.warnings.push(line.to_owned());
        }
    }

    fn session_time(&mut self) -> Duration {
        let expected = "a time such as 1d, 10m or 300";
        let name = self.directive("ssl_session_timeout");
        self.parse(&name, "1d", expected, time).unwrap_or_default()
    }

    /// nginx' megabyte holds about 4000 sessions.
    fn sessions(&mut self) -> usize {
        const EACH: u64 = 256;
        const MOST: u64 = 65_536;
        let bytes = self.size("ssl_session_cache_size", "10m");
        usize::try_from((bytes / EACH).min(MOST)).unwrap_or_default()
    }
    /// Ciphers by OpenSSL's names. Its words for groups (`HIGH`, `!aNULL`) are not understood: with
    /// none but those, all that are built are meant, which are the strong ones.
    fn ciphers(&mut self, list: &str) -> Vec<&'static str> {
        let names = list.split([':', ',', ' ']).map(str::trim).filter(|name| !name.is_empty());
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for name in names.filter(|name| !name.starts_with("TLS_")) {
            match CIPHERS.iter().find(|cipher| **cipher == name) {
                Some(cipher) => known.push(*cipher),
                None => unknown.push(name),
            }
        }
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            self.warnings.push(format!("ssl_ciphers: not built, left out: {unknown}"));
        }
        if known.is_empty() { CIPHERS.to_vec() } else { known }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Env, Flags, Read, Settings};
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Read, Vec<String>> {
        let flags: Flags =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&flags, Env::default(), None)
    }

    fn tls(given: &[(&str, &str)]) -> ListenerTls {
        read(given).ok().unwrap().settings.listener_tls
    }

    #[test]
    fn a_suite_stands_above_single_settings() {
        let modern = tls(&[("ssl_cipher_suite", "modern"), ("ssl_protocols", "TLSv1.2")]);
        assert_eq!(modern.versions, [TlsVersion::V1_3]);
        let given = [
            ("ssl_cipher_suite", "custom"),
            ("ssl_protocols", "TLSv1.2"),
            ("ssl_ciphers", "ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:!aNULL"),
            ("ssl_prefer_server_ciphers", "off"),
        ];
        let custom = tls(&given);
        assert_eq!(custom.versions, [TlsVersion::V1_2]);
        assert_eq!(custom.ciphers, ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert!(!custom.own_order);
        let warnings = read(&given).ok().unwrap().warnings;
        assert_eq!(warnings, ["ssl_ciphers: not built, left out: AES128-SHA, !aNULL"]);
        assert_eq!(tls(&[]).ciphers, CIPHERS);
    }

    #[test]
    fn versions_that_are_not_spoken_are_told() {
        let given = [("ssl_cipher_suite", "old"), ("proxy_listen", "127.0.0.1:0 ssl")];
        let read = read(&given).ok().unwrap();
        let line = "listeners do not speak TLSv1, TLSv1.1: TLS 1.2 is the oldest here";
        assert_eq!(read.warnings, [line]);
        assert_eq!(read.settings.listener_tls.versions, [TlsVersion::V1_2, TlsVersion::V1_3]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |given: &[(&str, &str)]| read(given).err().unwrap().remove(0);
        let error = refused(&[("ssl_cipher_suite", "modrn")]);
        assert_eq!(error, "--ssl-cipher-suite: Undefined cipher suite modrn");
        let error = refused(&[("ssl_cipher_suite", "custom"), ("ssl_protocols", "TLSv1.1")]);
        assert!(error.contains("neither TLSv1.2 nor TLSv1.3"), "{error}");
    }

    #[test]
    fn sessions_are_kept_for_as_long_and_as_many_as_is_set() {
        let given = [("ssl_session_timeout", "10m"), ("ssl_session_cache_size", "1m")];
        let given = tls(&given);
        assert_eq!((given.session_time, given.sessions), (Duration::from_secs(600), 4096));
        assert!(given.tickets);
    }
}
