//! Where tokens come from: checked addresses of authorities and metadata endpoints.
//!
//! An identity's secret travels to these addresses, so plain http is accepted only where the
//! packets do not leave the machine: loopback, and the addresses on which Azure itself serves
//! metadata.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use super::identity::Given;
use super::incomplete::Incomplete;

/// The metadata service of virtual machines and AKS nodes.
pub(super) const IMDS: &str = "http://169.254.169.254";

const IMDS_IP: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// An Entra origin. A bare host name gets https (the Python SDK's rule), a trailing slash goes
/// (the AKS webhook sets one).
pub(super) fn authority(given: &Given<String>) -> Result<Given<Url>, Incomplete> {
    origin(parse(given, "https", is_loopback)?)
}

/// An IMDS origin: an override of [`IMDS`].
pub(super) fn imds(given: &Given<String>) -> Result<Given<Url>, Incomplete> {
    origin(parse(given, "http", |url| is_loopback(url) || ip(url) == Some(IMDS_IP.into()))?)
}

/// `IDENTITY_ENDPOINT` of App Service, Functions and Container Apps, or the older `MSI_ENDPOINT`.
///
/// The platform sets it to an http address that is loopback, link-local or private.
pub(super) fn platform(given: &Given<String>) -> Result<Given<Url>, Incomplete> {
    parse(given, "http", |url| is_loopback(url) || ip(url).is_some_and(is_local))
}

/// The agent of Azure Arc: it runs on this machine, and gets the content of a file of its own.
pub(super) fn arc(given: &Given<String>) -> Result<Given<Url>, Incomplete> {
    parse(given, "http", is_loopback)
}

/// `IDENTITY_ENDPOINT` of Service Fabric, whose certificate is known by its thumbprint.
pub(super) fn service_fabric(given: &Given<String>) -> Result<Given<Url>, Incomplete> {
    let endpoint = parse(given, "https", |_| true)?;
    match endpoint.value.scheme() {
        "https" => Ok(endpoint),
        _ => Err(Incomplete::invalid(given.from, "Service Fabric serves tokens over https only")),
    }
}

/// A tenant: a GUID or a verified domain. Anything else would change the path of the token URL.
pub(super) fn tenant(given: Given<String>) -> Result<Given<String>, Incomplete> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if given.value.chars().all(allowed) && !given.value.contains("..") {
        return Ok(given);
    }
    let problem = "a tenant is a GUID or a domain: only letters, digits, `-` and `.`";
    Err(Incomplete::invalid(given.from, problem))
}

/// Whether the address is this machine: `localhost`, 127.0.0.0/8 or ::1.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// An origin followed by a path, with exactly one slash between them.
pub(super) fn join(origin: &Url, path: &str) -> String {
    format!("{}/{path}", origin.as_str().trim_end_matches('/'))
}

fn parse(
    given: &Given<String>,
    scheme: &str,
    may_be_plain: impl Fn(&Url) -> bool,
) -> Result<Given<Url>, Incomplete> {
    let invalid = |problem: &str| Incomplete::invalid(given.from, problem.to_owned());
    let text = given.value.trim();
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("{scheme}://{text}"),
    };
    let url = Url::parse(&text).map_err(|e| invalid(&format!("not an address: {e}")))?;
    if !url.has_host() || !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("an https:// address is needed"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(invalid("the address may not hold a user, a password or a fragment"));
    }
    if url.scheme() == "http" && !may_be_plain(&url) {
        return Err(invalid("http:// is accepted for loopback addresses only, use https://"));
    }
    Ok(Given { value: url, from: given.from })
}

fn origin(given: Given<Url>) -> Result<Given<Url>, Incomplete> {
    match given.value.query() {
        Some(_) => Err(Incomplete::invalid(given.from, "the address may not hold a query")),
        None => Ok(given),
    }
}

fn ip(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Origin;
    use super::*;

    fn given(value: &str) -> Given<String> {
        Given { value: value.into(), from: Origin::Variable("AZURE_AUTHORITY_HOST") }
    }

    #[test]
    fn authorities_are_normalised() {
        for (typed, url) in [
            ("login.microsoftonline.us", "https://login.microsoftonline.us/t/x"),
            ("https://login.microsoftonline.com/", "https://login.microsoftonline.com/t/x"),
            ("http://127.0.0.1:9000/entra/", "http://127.0.0.1:9000/entra/t/x"),
            ("http://localhost:9000", "http://localhost:9000/t/x"),
            ("http://[::1]:9000", "http://[::1]:9000/t/x"),
        ] {
            assert_eq!(join(&authority(&given(typed)).unwrap().value, "t/x"), url, "{typed}");
        }
    }

    #[test]
    fn plain_http_leaves_the_machine_for_no_authority() {
        for typed in [
            "http://login.microsoftonline.com",
            "http://169.254.169.254",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
        ] {
            let error = authority(&given(typed)).unwrap_err().to_string();
            assert!(error.starts_with("AZURE_AUTHORITY_HOST: http://"), "{typed}: {error}");
            assert!(error.contains("loopback"), "{typed}: {error}");
        }
    }

    #[test]
    fn metadata_may_be_plain_where_azure_serves_it() {
        assert!(imds(&given("169.254.169.254")).is_ok());
        assert!(imds(&given("http://10.0.0.1")).is_err());
        assert!(platform(&given("http://172.16.1.3:8081/msi/token")).is_ok());
        assert!(platform(&given("http://169.254.129.3:8081/msi/token")).is_ok());
        assert!(platform(&given("http://collector.example.com/msi/token")).is_err());
    }

    #[test]
    fn secrets_of_local_agents_stay_on_their_machine() {
        assert!(arc(&given("http://localhost:40342/metadata/identity/oauth2/token")).is_ok());
        assert!(arc(&given("http://10.0.0.1:40342/")).is_err());
        assert!(service_fabric(&given("https://10.0.0.4:2377/metadata")).is_ok());
        let error = service_fabric(&given("http://127.0.0.1:2377/")).unwrap_err().to_string();
        assert!(error.contains("over https only"), "{error}");
    }

    #[test]
    fn addresses_that_would_leak_or_confuse_are_refused() {
        for typed in ["https://user:pw@login.example", "https://login.example/?a=b", "ftp://a", ""]
        {
            assert!(authority(&given(typed)).is_err(), "{typed}");
        }
    }

    #[test]
    fn tenants_cannot_change_the_path() {
        for typed in ["a/b", "a?b", "a#b", "..", "a b", "a%2fb"] {
            assert!(tenant(given(typed)).is_err(), "{typed}");
        }
        assert!(tenant(given("contoso.onmicrosoft.com")).is_ok());
        assert!(tenant(given("11111111-2222-3333-4444-555555555555")).is_ok());
    }
}
