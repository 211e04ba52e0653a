//! What a certificate says of itself: until when it is valid, whether it is a CA, which kind of
//! key it has.
//!
//! rustls verifies chains but tells none of this. The walk knows just these fields of RFC 5280.

/// The fields of a certificate that entity checks ask for.
pub(super) struct Certificate<'a> {
    /// Seconds since 1970.
    pub(super) not_after: i64,
    /// The basic constraint `CA`.
    pub(super) is_ca: bool,
    /// The inside of its SubjectPublicKeyInfo.
    pub(super) public_key: &'a [u8],
    /// The object identifier of the key's algorithm.
    pub(super) key_algorithm: &'a [u8],
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

impl<'a> Certificate<'a> {
    /// Reads a certificate in DER; `None` if it is none.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).take(SEQUENCE)?);
        let mut body = Der(certificate.take(SEQUENCE)?);
        body.take(VERSION);
        body.take(INTEGER)?;
        body.take(SEQUENCE)?; // signature algorithm
        body.take(SEQUENCE)?; // issuer
        let not_after = not_after(body.take(SEQUENCE)?)?;
        body.take(SEQUENCE)?; // subject
        let public_key = body.take(SEQUENCE)?;
        let key_algorithm = key_algorithm(public_key)?;
        let mut is_ca = false;
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                is_ca = has_ca_constraint(content)?;
            }
        }
        Some(Self { not_after, is_ca, public_key, key_algorithm })
    }
}

/// The algorithm of a public key, from the inside of its SubjectPublicKeyInfo.
pub(super) fn key_algorithm(info: &[u8]) -> Option<&[u8]> {
    let mut info = Der(info);
    let mut algorithm = Der(info.take(SEQUENCE)?);
    info.take(BIT_STRING)?;
    algorithm.take(OID)
}

/// The inside of the one SEQUENCE that a DER value is.
pub(super) fn sequence(der: &[u8]) -> Option<&[u8]> {
    Der(der).take(SEQUENCE)
}

fn not_after(validity: &[u8]) -> Option<i64> {
    let mut validity = Der(validity);
    validity.next()?;
    match validity.next()? {
        (UTC_TIME, text) => {
            let year = number(text, 0, 2)?;
            seconds(year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
        }
        (GENERALIZED_TIME, text) => seconds(number(text, 0, 4)?, text.get(4..)?),
        _ => None,
    }
}

/// Seconds since 1970 from a year and `MMDDhhmmss`.
fn seconds(year: i64, rest: &[u8]) -> Option<i64> {
    let (month, day) = (number(rest, 0, 2)?, number(rest, 2, 2)?);
    let time = number(rest, 4, 2)? * 3600 + number(rest, 6, 2)? * 60 + number(rest, 8, 2)?;
    // Days of the civil calendar, in years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(days * 86_400 + time)
}

fn number(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    std::str::from_utf8(text.get(at..at + digits)?).ok()?.parse().ok()
}

fn has_ca_constraint(extensions: &[u8]) -> Option<bool> {
    let mut list = Der(Der(extensions).take(SEQUENCE)?);
    while let Some((_, extension)) = list.next() {
        let mut extension = Der(extension);
        if extension.take(OID)? != BASIC_CONSTRAINTS {
            continue;
        }
        extension.take(BOOLEAN); // critical
        let mut constraints = Der(sequence(extension.take(OCTET_STRING)?)?);
        return Some(constraints.take(BOOLEAN).is_some_and(|flag| flag != [0]));
    }
    Some(false)
}

/// The rest of a series of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > 4 {
                return None;
            }
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }

    /// The next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.next().map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn der(ca: bool, year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn validity_and_the_ca_constraint_are_read() {
        // The first is a UTCTime, the second a GeneralizedTime (RFC 5280, 4.1.2.5).
        for (year, seconds) in [(2024, 1_709_251_200), (2096, 3_981_398_400)] {
            let (leaf, ca) = (der(false, year), der(true, year));
            let (leaf, ca) = (Certificate::read(&leaf).unwrap(), Certificate::read(&ca).unwrap());
            assert_eq!((leaf.not_after, leaf.is_ca), (seconds, false));
            assert_eq!((ca.not_after, ca.is_ca), (seconds, true));
            assert_eq!(leaf.key_algorithm, ca.key_algorithm);
        }
    }

    #[test]
    fn a_cut_certificate_is_none() {
        let whole = der(true, 2096);
        for end in 0..whole.len() {
            assert!(Certificate::read(&whole[..end]).is_none(), "{end} bytes");
        }
    }
}
