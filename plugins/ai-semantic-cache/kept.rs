//! A reply in the store: when it came, for how long it is good, and its body.

use bytes::Bytes;

/// What the first byte says: which form this is.
const FORM: u8 = 1;
const HEAD: usize = 17;

/// A reply that was kept.
pub(super) struct Kept {
    /// Unix seconds.
    stored_at: u64,
    /// Seconds from then on.
    ttl: u64,
    /// JSON, as the client got it.
    pub(super) body: Bytes,
}

impl Kept {
    /// The bytes for the store.
    pub(super) fn write(stored_at: u64, ttl: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        bytes.push(FORM);
        bytes.extend(stored_at.to_be_bytes());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// The reply in such bytes.
    pub(super) fn read(bytes: Bytes) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let (stored_at, ttl) = (number(1)?, number(9)?);
        let is_ours = bytes.first() == Some(&FORM);
        is_ours.then(|| Self { stored_at, ttl, body: bytes.slice(HEAD..) })
    }

    /// How old it is, and how long it is still good, in seconds.
    pub(super) fn age_and_rest(&self, now: u64) -> (u64, u64) {
        let age = now.saturating_sub(self.stored_at);
        (age, self.ttl.saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let kept = Kept::read(Kept::write(1000, 60, b"{}").into()).unwrap();
        assert_eq!(kept.body, "{}");
        assert_eq!(kept.age_and_rest(1010), (10, 50));
        assert_eq!(kept.age_and_rest(2000), (1000, 0));
        assert_eq!(kept.age_and_rest(900), (0, 60), "clocks differ");
        assert!(Kept::read(Bytes::from_static(b"{\"choices\":[]} and more")).is_none());
        assert!(Kept::read(Bytes::from_static(b"\x01")).is_none());
    }
}
