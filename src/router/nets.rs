//! `sources` and `destinations`: addresses and ports, either or both.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::entity::Address;

/// An address or range, a port, or both.
pub(super) struct Net {
    range: Option<IpNet>,
    port: Option<u16>,
}

impl From<&Address> for Net {
    /// The schema has checked the address.
    fn from(address: &Address) -> Self {
        let parse = |text: &String| {
            let address = text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or(address)
        };
        Self { range: address.ip.as_ref().and_then(parse), port: address.port }
    }
}

impl Net {
    pub(super) fn agrees(&self, (ip, port): (IpAddr, u32)) -> bool {
        self.range.is_none_or(|range| range.contains(&ip))
            && self.port.is_none_or(|own| u32::from(own) == port)
    }
}
