-- The module `resty.openssl`, as lua-resty-openssl 1.x has it. Rust crates do the work.

local _M = { _VERSION = "1.6.1" }

local modules = {
  "bn", "cipher", "digest", "hmac", "kdf", "mac", "objects", "pkey", "rand", "version", "x509",
}
local below_x509 = { "altname", "chain", "csr", "extension", "name", "store" }

function _M.load_modules()
  for _, name in ipairs(modules) do
    _M[name] = require("resty.openssl." .. name)
  end
  for _, name in ipairs(below_x509) do
    _M[name] = require("resty.openssl.x509." .. name)
  end
  _M.bignum = _M.bn
end

-- The names of luaossl for some of the methods.
function _M.luaossl_compat()
  _M.load_modules()
  local x509 = _M.x509
  x509.getPublicKey, x509.setPublicKey = x509.get_pubkey, x509.set_pubkey
  x509.getSerial, x509.setSerial = x509.get_serial_number, x509.set_serial_number
  x509.getSubject, x509.setSubject = x509.get_subject_name, x509.set_subject_name
  x509.getIssuer, x509.setIssuer = x509.get_issuer_name, x509.set_issuer_name
  x509.getOCSP = x509.get_ocsp_url
end

function _M.get_fips_mode()
  return false
end

function _M.set_fips_mode(on)
  if on then
    return false, "openssl.set_fips_mode: FIPS mode is not supported"
  end
  return true
end

local ciphers = {
  "aes-128-cbc", "aes-128-ctr", "aes-128-ecb", "aes-128-gcm", "aes-192-cbc", "aes-192-ctr",
  "aes-192-ecb", "aes-192-gcm", "aes-256-cbc", "aes-256-ctr", "aes-256-ecb", "aes-256-gcm",
  "chacha20-poly1305", "des-ede3-cbc",
}
local digests = { "md5", "sha1", "sha224", "sha256", "sha384", "sha512" }

function _M.list_cipher_algorithms()
  return { unpack(ciphers) }
end

function _M.list_digest_algorithms()
  return { unpack(digests) }
end

function _M.list_mac_algorithms()
  return { "HMAC" }
end

function _M.list_kdf_algorithms()
  return { "HKDF", "PBKDF2", "SCRYPT" }
end

return _M
