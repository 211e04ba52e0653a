//! Who the client is: the peer, or whom a trusted peer names (nginx' realip).

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::HeaderMap;
use ipnet::IpNet;

use crate::pdk::request::Connection;
use crate::settings::Settings;

/// The value of `real_ip_header` for the address of the PROXY protocol.
const PROXY_PROTOCOL: &str = "proxy_protocol";

/// Whether a peer may name the client.
pub(super) fn is_trusted(networks: &[IpNet], peer: SocketAddr) -> bool {
    networks.iter().any(|network| network.contains(&peer.ip()))
}

/// The client of a connection whose peer has named one in a PROXY header.
pub(super) fn of_proxy_header(
    settings: &Settings,
    named: Option<SocketAddr>,
) -> Option<SocketAddr> {
    named.filter(|_| settings.real_ip_header == PROXY_PROTOCOL)
}

/// The connection as one request sees it: a trusted peer may name the client (`real_ip_header`).
pub(super) fn seen_from(
    settings: &Settings,
    connection: &Rc<Connection>,
    headers: &HeaderMap,
) -> Rc<Connection> {
    if !connection.trusted || settings.real_ip_header == PROXY_PROTOCOL {
        return connection.clone();
    }
    let named = headers.get_all(settings.real_ip_header.as_str());
    let last_first = named.iter().rev().filter_map(|v| v.to_str().ok());
    let last_first = last_first.flat_map(|v| v.rsplit(','));
    let client = real_ip(last_first, &settings.trusted_ips, settings.real_ip_recursive);
    client.map_or_else(
        || connection.clone(),
        |ip| {
            let client = SocketAddr::new(ip, 0);
            Rc::new(Connection { client, text: OnceCell::new(), ..(**connection).clone() })
        },
    )
}

/// nginx' realip: the last address, or with `recursive` the last one that is not trusted.
fn real_ip<'a>(
    last_first: impl Iterator<Item = &'a str>,
    trusted: &[IpNet],
    recursive: bool,
) -> Option<IpAddr> {
    // Some proxies write the port, too.
    let parse = |text: &str| {
        let text = text.trim();
        text.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
    };
    let mut last = None;
    for ip in last_first.map_while(parse).map(|ip: IpAddr| ip.to_canonical()) {
        last = Some(ip);
        if !recursive || !trusted.iter().any(|network| network.contains(&ip)) {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realip_takes_the_last_address_that_is_not_trusted() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let real_ip = |named: &str, recursive: bool| {
            real_ip(named.rsplit(','), &trusted, recursive).map(|ip| ip.to_string())
        };
        let addresses = "1.1.1.1, 2.2.2.2, 10.0.0.7";
        assert_eq!(real_ip(addresses, true).as_deref(), Some("2.2.2.2"));
        assert_eq!(real_ip(addresses, false).as_deref(), Some("10.0.0.7"));
        assert_eq!(real_ip("1.1.1.1, nonsense", true), None);
        assert_eq!(real_ip("1.1.1.1:80,[::1]:9", false).as_deref(), Some("::1"));
    }
}
