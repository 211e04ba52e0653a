-- The module `resty.evp` of lua-resty-jwt, which calls OpenSSL's C functions elsewhere.

local host = require "silverback.host"
local pkey = require "resty.openssl.pkey"
local signing = require "silverback.openssl.signing"
local store = require "resty.openssl.x509.store"
local x509 = require "resty.openssl.x509"
local keys = require "silverback.openssl.keys"

local _M = {
  _VERSION = "0.2.4",
  CONST = {
    SHA1_DIGEST = "SHA1", SHA256_DIGEST = "SHA256", SHA384_DIGEST = "SHA384",
    SHA512_DIGEST = "SHA512",
    RSA_PKCS1_PADDING = 1, RSA_SSLV23_PADDING = 2, RSA_NO_PADDING = 3, RSA_PKCS1_OAEP_PADDING = 4,
    RSA_X931_PADDING = 5, RSA_PKCS1_PSS_PADDING = 6,
    NID_rsaEncryption = 6, EVP_PKEY_RSA = 6,
  },
}

local function class()
  local methods = {}
  methods.__index = methods
  return methods
end

local function private(text, password)
  local key, err = pkey.new(text, { type = "pr", passphrase = password })
  return key, err
end

local RSASigner = class()
_M.RSASigner = RSASigner

function RSASigner:new(text, password, padding)
  local key, err = private(text, password)
  if not key then
    return nil, err
  end
  return setmetatable({ evp_pkey = key, padding = padding }, self)
end

function RSASigner:sign(message, digest)
  return self.evp_pkey:sign(message, digest, self.padding)
end

local ECSigner = class()
ECSigner.new, ECSigner.sign = RSASigner.new, RSASigner.sign
_M.ECSigner = ECSigner

function ECSigner:get_raw_sig(signature)
  if not signature then
    return nil, "Must pass a signature to convert"
  end
  local curve = keys.curves[self.evp_pkey.ctx.curve]
  local raw = curve and signing.from_der(signature, curve.size)
  return raw, not raw and "cannot read signature" or nil
end

local RSAVerifier = class()
_M.RSAVerifier = RSAVerifier

function RSAVerifier:new(source, padding)
  if not source then
    return nil, "You must pass in an key_source for a public key"
  end
  return setmetatable({ evp_pkey = source.public_key, padding = padding }, self)
end

function RSAVerifier:verify(message, signature, digest)
  local ok = self.evp_pkey:verify(signature, message, digest, self.padding)
  if ok then
    return true
  end
  return false, "Verification failed"
end

local ECVerifier = class()
ECVerifier.new = RSAVerifier.new
_M.ECVerifier = ECVerifier

function ECVerifier:get_der_sig(signature)
  if not signature then
    return nil, "Must pass a signature to convert"
  end
  local key = self.evp_pkey.ctx
  if key.kind ~= "EC" or not signing.is_raw(key, signature) then
    return nil, "signature length != 2 * order length"
  end
  return signing.to_der(signature)
end

function ECVerifier:verify(message, signature, digest)
  local bytes, err = self:get_der_sig(signature)
  if not bytes then
    return nil, err
  end
  return RSAVerifier.verify(self, message, bytes, digest)
end

local Cert = class()
_M.Cert = Cert

function Cert:new(text)
  if not text then
    return nil, "Must pass a PEM or binary DER cert"
  end
  local found, err = x509.new(text)
  local key = found and found:get_pubkey()
  if not key then
    return nil, err or "cannot read public key"
  end
  return setmetatable({ x509 = found, public_key = key }, self)
end

function Cert:get_der()
  return self.x509:tostring "DER"
end

function Cert:get_fingerprint(digest)
  local bytes, err = self.x509:digest(digest or "SHA1")
  if not bytes then
    return nil, err
  end
  return (bytes:gsub(".", function(byte) return (":%02X"):format(byte:byte()) end):sub(2))
end

function Cert:get_public_key()
  return self.public_key
end

function Cert:verify_trust(path)
  local trusted = store.new()
  local ok, err = trusted:load_file(path)
  if ok then
    ok, err = trusted:verify(self.x509)
  end
  return ok == true, err
end

local PublicKey = class()
_M.PublicKey = PublicKey

function PublicKey:new(text)
  if not text then
    return nil, "Must pass a PEM or binary DER public key"
  end
  local key, err = pkey.new(text, { type = "pu" })
  if not key then
    return nil, err
  end
  return setmetatable({ public_key = key }, self)
end

local RSAEncryptor = class()
_M.RSAEncryptor = RSAEncryptor

function RSAEncryptor:new(source, padding, digest)
  if not source then
    return nil, "You must pass in an key_source for a public key"
  end
  return setmetatable({ evp_pkey = source.public_key, padding = padding, digest = digest }, self)
end

local function oaep(self)
  local digest = self.digest or "SHA1"
  return { oaep_md = host.digest(digest, "") and digest or nil }
end

function RSAEncryptor:encrypt(text)
  return self.evp_pkey:encrypt(text, self.padding or 1, oaep(self))
end

local RSADecryptor = class()
_M.RSADecryptor = RSADecryptor

function RSADecryptor:new(text, password, padding, digest)
  local key, err = private(text, password)
  if not key then
    return nil, err
  end
  return setmetatable({ evp_pkey = key, padding = padding, digest = digest }, self)
end

function RSADecryptor:decrypt(text)
  return self.evp_pkey:decrypt(text, self.padding or 1, oaep(self))
end

return _M
