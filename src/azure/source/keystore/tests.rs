use super::*;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/spec/certificates/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn read(bytes: &[u8], password: &str) -> Result<Keystore, BadKeystore> {
    let password = Some(Secret::new(password)).filter(|password| !password.expose().is_empty());
    Keystore::read(bytes, password.as_ref())
}

fn problem(bytes: &[u8], password: &str) -> BadKeystore {
    read(bytes, password).err().unwrap()
}

#[test]
fn every_wrapping_gives_the_same_key_and_certificate() {
    let plain = read(&file("pkcs8.pem"), "").unwrap();
    for (name, password, certificates) in [
        ("pkcs8.pem", "not needed", 1),
        ("pkcs1-chain.pem", "", 2),
        ("encrypted.pem", "test-password", 1),
        ("encrypted-2005.pem", "test-password", 1),
        ("modern.pfx", "test-password", 2),
        ("no-password.pfx", "", 2),
        ("legacy-rc2.pfx", "test-password", 2),
        ("legacy-3des.pfx", "test-password", 2),
    ] {
        let store = read(&file(name), password).unwrap_or_else(|bad| panic!("{name} {bad}"));
        assert_eq!(store.key.public().as_ref(), plain.key.public().as_ref(), "{name}");
        assert_eq!(store.chain[0], plain.chain[0], "{name}: the key's own comes first");
        assert_eq!(store.chain.len(), certificates, "{name}");
    }
}

#[test]
fn what_key_vault_gives_as_text_is_read() {
    let text = STANDARD.encode(file("no-password.pfx"));
    let (first, rest) = text.split_at(64);
    assert!(read(format!("{first}\r\n{rest}\n").as_bytes(), "").is_ok());
}

#[test]
fn passwords_are_asked_for_and_checked() {
    for name in ["encrypted.pem", "encrypted-2005.pem", "modern.pfx", "legacy-rc2.pfx"] {
        assert_eq!(problem(&file(name), ""), BadKeystore::NeedsPassword, "{name}");
        assert_eq!(problem(&file(name), "wrong"), BadKeystore::WrongPassword, "{name}");
    }
    assert!(BadKeystore::WrongPassword.remedy().contains("AZURE_CLIENT_CERTIFICATE_PASSWORD"));
}

#[test]
fn what_cannot_sign_is_told_apart() {
    let text = |name| String::from_utf8(file(name)).unwrap();
    let pem = text("pkcs8.pem");
    let (key, certificate) = pem.split_at(pem.find("-----BEGIN CERTIFICATE").unwrap());
    let (_, ca_first) = text("ec.pem")
        .split_once("-----END PRIVATE KEY-----\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for (bytes, bad) in [
        (key.as_bytes(), BadKeystore::NoCertificate),
        (certificate.as_bytes(), BadKeystore::NoKey),
        (format!("{key}{ca_first}").as_bytes(), BadKeystore::Strangers),
        (&file("ec.pem"), BadKeystore::NotRsa),
        (&file("proc-type.pem"), BadKeystore::OldCipher),
    ] {
        assert_eq!(problem(bytes, "test-password"), bad);
    }
    for junk in ["", "no such thing", "0\u{1}\u{2}", "-----BEGIN PRIVATE KEY-----\n?\n"] {
        assert!(matches!(problem(junk.as_bytes(), ""), BadKeystore::Malformed(_)), "{junk:?}");
    }
}
