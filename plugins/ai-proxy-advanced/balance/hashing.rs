//! Where a header leads: a ring on which every target has cells by its weight.
//!
//! The ring is that of Upstreams. A target's cells depend on where it is, so the order of the file
//! does not matter, and when a target is not there its keys go to the next one on the ring.

use http::HeaderName;

use crate::balancer::hashing::{Share, Wheel};
use crate::pdk::Exchange;

/// The ring of one plugin.
pub(in super::super) struct Ring {
    wheel: Wheel,
    header: Option<HeaderName>,
}

impl Ring {
    /// A ring of so many cells for targets with these places and weights.
    pub(in super::super) fn new(slots: u32, header: &str, targets: &[(String, u32)]) -> Self {
        let share = |(place, weight): &(String, u32)| Share {
            target: ("", 0),
            address: place.clone(),
            weight: (*weight).max(1),
        };
        let shares: Vec<_> = targets.iter().map(share).collect();
        let wheel = Wheel::new(slots, shares.len(), &shares);
        Self { wheel, header: crate::pdk::request::header_name(header) }
    }

    /// What is hashed: the header, as nginx joins several. A request without it is like no other.
    pub(super) fn key(&self, ex: &Exchange) -> String {
        let headers = ex.request.headers();
        let values = self.header.iter().flat_map(|name| headers.get_all(name));
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        if values.is_empty() { ex.id.as_str().to_owned() } else { values.join(", ") }
    }

    /// The first of the open targets at the key's cell or after it.
    pub(super) fn find(&self, key: Option<&str>, open: &[usize]) -> Option<usize> {
        let found = self.wheel.find(key.unwrap_or_default(), |index| open.contains(&index));
        // On a small ring somebody may have got no cell.
        found.or_else(|| open.first().copied())
    }
}
