//! Ciphers for `resty.openssl.cipher`, under OpenSSL's names.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, AeadCore, Payload};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt as _, BlockModeEncrypt as _,
    BlockSizeUser, KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek,
};
use mlua::{BString, Lua, Table};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::function;

/// Runs an expression with the type of a block cipher; `None` for one that is not here.
macro_rules! with_cipher {
    ($name:expr, $cipher:ident => $body:expr) => {
        match $name {
            "aes-128" => {
                type $cipher = aes::Aes128;
                Some($body)
            }
            "aes-192" => {
                type $cipher = aes::Aes192;
                Some($body)
            }
            "aes-256" => {
                type $cipher = aes::Aes256;
                Some($body)
            }
            _ => None,
        }
    };
}

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    host.set("cipher_blocks", function(lua, blocks)?)?;
    host.set("cipher_stream", function(lua, stream)?)?;
    host.set("cipher_seal", function(lua, seal)?)?;
    host.set("cipher_open", function(lua, open)?)
}

/// Cipher, mode, whether it encrypts, key, initialization vector, text.
type Blocks = (String, String, bool, BString, BString, BString);

/// Whole blocks in the modes ECB and CBC; padding is the caller's.
fn blocks((cipher, mode, encrypts, key, iv, text): Blocks) -> Option<BString> {
    let (key, iv, text) = (&*key, &*iv, &*text);
    match (cipher.as_str(), mode.as_str()) {
        ("des-ede3", "cbc") => cbc_blocks::<des::TdesEde3>(encrypts, key, iv, text),
        ("des-ede3", "ecb") => ecb_blocks::<des::TdesEde3>(encrypts, key, text),
        (name, "cbc") => with_cipher!(name, C => cbc_blocks::<C>(encrypts, key, iv, text))?,
        (name, "ecb") => with_cipher!(name, C => ecb_blocks::<C>(encrypts, key, text))?,
        _ => None,
    }
}

fn cbc_blocks<C>(encrypts: bool, key: &[u8], iv: &[u8], text: &[u8]) -> Option<BString>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + KeyInit,
{
    if encrypts {
        if !text.len().is_multiple_of(C::block_size()) {
            return None;
        }
        let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).ok()?;
        return Some(cipher.encrypt_padded_vec::<NoPadding>(text).into());
    }
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    Some(cipher.decrypt_padded_vec::<NoPadding>(text).ok()?.into())
}

fn ecb_blocks<C>(encrypts: bool, key: &[u8], text: &[u8]) -> Option<BString>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser + KeyInit,
{
    let cipher = C::new_from_slice(key).ok()?;
    let mut bytes = text.to_vec();
    let mut chunks = bytes.chunks_exact_mut(C::block_size());
    for chunk in &mut chunks {
        let block = chunk.try_into().ok()?;
        if encrypts { cipher.encrypt_block(block) } else { cipher.decrypt_block(block) }
    }
    chunks.into_remainder().is_empty().then(|| bytes.into())
}

/// Cipher, mode, key, initialization vector, how many bytes went before, text.
type Stream = (String, String, BString, BString, u64, BString);

/// The mode CTR, and GCM without its tag: both ways are the same.
fn stream((cipher, mode, key, iv, at, text): Stream) -> Option<BString> {
    let mut bytes = text.to_vec();
    match mode.as_str() {
        "ctr" => with_cipher!(cipher.as_str(), C => {
            xor(ctr::Ctr128BE::<C>::new_from_slices(&key, &iv).ok()?, at, &mut bytes)
        })??,
        "gcm" => {
            // NIST SP 800-38D: the counter of the first block of text is 2.
            let counter = [&iv[..], &[0, 0, 0, 2]].concat();
            with_cipher!(cipher.as_str(), C => {
                xor(ctr::Ctr32BE::<C>::new_from_slices(&key, &counter).ok()?, at, &mut bytes)
            })??;
        }
        _ => return None,
    }
    Some(bytes.into())
}

fn xor(mut cipher: impl StreamCipher + StreamCipherSeek, at: u64, bytes: &mut [u8]) -> Option<()> {
    cipher.try_seek(at).ok()?;
    cipher.try_apply_keystream(bytes).ok()
}

/// Cipher, key, initialization vector, additional data, text.
type Sealing = (String, BString, BString, BString, BString);

/// GCM and ChaCha20-Poly1305: what is sealed, and behind it the tag of 16 bytes.
fn seal((cipher, key, iv, aad, text): Sealing) -> Option<BString> {
    let (aad, text) = (&aad[..], &text[..]);
    if cipher == "chacha20-poly1305" {
        let mut bytes = text.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&iv).ok()?;
        chacha(&key)?.seal_in_place_append_tag(nonce, Aad::from(aad), &mut bytes).ok()?;
        return Some(bytes.into());
    }
    with_cipher!(cipher.as_str(), C => {
        let sealed = gcm::<AesGcm<C, U12>>(&key, &iv)?;
        sealed.0.encrypt(&sealed.1, Payload { msg: text, aad }).ok()?.into()
    })
}

/// The other way: the text, if the tag behind it is right.
fn open((cipher, key, iv, aad, text): Sealing) -> Option<BString> {
    let (aad, text) = (&aad[..], &text[..]);
    if cipher == "chacha20-poly1305" {
        let mut bytes = text.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(&iv).ok()?;
        let opened = chacha(&key)?.open_in_place(nonce, Aad::from(aad), &mut bytes).ok()?;
        return Some(opened.to_vec().into());
    }
    with_cipher!(cipher.as_str(), C => {
        let sealed = gcm::<AesGcm<C, U12>>(&key, &iv)?;
        sealed.0.decrypt(&sealed.1, Payload { msg: text, aad }).ok()?.into()
    })
}

fn chacha(key: &[u8]) -> Option<LessSafeKey> {
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?))
}

fn gcm<A: Aead + AeadCore<NonceSize = U12> + KeyInit>(
    key: &[u8],
    iv: &[u8],
) -> Option<(A, aes_gcm::Nonce<U12>)> {
    Some((A::new_from_slice(key).ok()?, aes_gcm::Nonce::<U12>::try_from(iv).ok()?))
}
