//! A token taken apart: header, claims and signature. Nothing in it is believed yet.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use serde_json::Value;

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// What a token may say of its algorithm.
const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA",
];

/// A token.
pub(super) struct Token<'t> {
    /// What is signed: header and claims as they were sent.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    header: Value,
    claims: Value,
}

impl<'t> Token<'t> {
    /// Reads a token; serde_json bounds how deep its parts may be nested.
    ///
    /// # Errors
    /// What is wrong, in Kong's words.
    pub(super) fn parse(text: &'t str) -> Result<Self, &'static str> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or("Bad token; invalid JSON");
        let (head, body, tail) = (part()?, part()?, part()?);
        let header = json(head).ok_or("Bad token; invalid JSON")?;
        let claims = json(body).ok_or("Bad token; invalid JSON")?;
        let algorithm = header.get("alg").and_then(Value::as_str);
        if !algorithm.is_some_and(|name| ALGORITHMS.contains(&name)) {
            return Err("Bad token; invalid alg");
        }
        if matches!(claims, Value::Null | Value::Bool(_) | Value::Number(_)) {
            return Err("Bad token; invalid claims");
        }
        let signature = decode(tail).ok_or("Bad token; invalid signature")?;
        let signed = text.get(..head.len() + 1 + body.len()).unwrap_or_default().as_bytes();
        Ok(Self { signed, signature, header, claims })
    }

    /// A token of which only the signature is looked at.
    #[cfg(test)]
    pub(super) fn for_test(signed: &'t [u8], signature: Vec<u8>) -> Self {
        Self { signed, signature, header: Value::Null, claims: Value::Null }
    }

    /// What the token says of its algorithm.
    pub(super) fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// A claim.
    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// A claim, or what the header has under its name.
    pub(super) fn claim_or_header(&self, name: &str) -> Option<&Value> {
        let is_said = |value: &&Value| !matches!(value, Value::Null | Value::Bool(false));
        self.claim(name).filter(is_said).or_else(|| self.header.get(name).filter(is_said))
    }
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&decode(part)?).ok()
}

/// nginx's `decode_base64url`: everything behind the first `=` is ignored.
fn decode(part: &str) -> Option<Vec<u8>> {
    LENIENT.decode(part.split('=').next()?).ok()
}

/// The secret behind base64 of either alphabet.
pub(super) fn decode_secret(text: &str) -> Option<Vec<u8>> {
    decode(&text.replace('+', "-").replace('/', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", LENIENT.encode(header), LENIENT.encode(claims))
    }

    #[test]
    fn garbage_is_told_in_kongs_words() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let good = r#"{"alg":"HS256"}"#;
        for (text, expected) in [
            (String::new(), "Bad token; invalid JSON"),
            ("abc".to_owned(), "Bad token; invalid JSON"),
            ("a.b".to_owned(), "Bad token; invalid JSON"),
            (token("{}", "{}", "").replace('.', ""), "Bad token; invalid JSON"),
            (token(good, &deep, ""), "Bad token; invalid JSON"),
            (token("{}", "{}", ""), "Bad token; invalid alg"),
            (token("5", "{}", ""), "Bad token; invalid alg"),
            (token(r#"{"alg":"none"}"#, "{}", ""), "Bad token; invalid alg"),
            (token(r#"{"alg":["HS256"]}"#, "{}", ""), "Bad token; invalid alg"),
            (token(good, "false", ""), "Bad token; invalid claims"),
            (token(good, "{}", "+"), "Bad token; invalid signature"),
            (token(good, "{}", "A"), "Bad token; invalid signature"),
            (token(good, "{}", "AA.AA"), "Bad token; invalid signature"),
        ] {
            assert_eq!(Token::parse(&text).err(), Some(expected), "{text:.40}");
        }
    }

    #[test]
    fn the_claim_stands_above_the_header() {
        let text = token(r#"{"alg":"HS256","iss":"h","kid":"k"}"#, r#"{"iss":"c","kid":null}"#, "");
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.claim_or_header("iss").unwrap(), "c");
        assert_eq!(token.claim_or_header("kid").unwrap(), "k");
        assert_eq!(token.claim_or_header("sub"), None);
        assert_eq!(token.signed, text.trim_end_matches('.').as_bytes());
    }

    #[test]
    fn a_secret_may_be_in_either_alphabet() {
        assert_eq!(decode_secret("-_8="), decode_secret("+/8"));
        assert_eq!(decode_secret("+/8").unwrap(), [0xfb, 0xff]);
        assert_eq!(decode_secret("a b"), None);
    }
}
