-- The module `resty.openssl.pkey`: keys of RSA, of NIST's curves and of Ed25519.

local host = require "silverback.host"
local digest_lib = require "resty.openssl.digest"
local jwk = require "silverback.openssl.jwk"
local keys = require "silverback.openssl.keys"
local objects = require "resty.openssl.objects"
local der = require "silverback.openssl.der"
local signing = require "silverback.openssl.signing"
local parameters = require "silverback.openssl.parameters"

local _M = {
  PADDINGS = {
    RSA_PKCS1_PADDING = 1, RSA_SSLV23_PADDING = 2, RSA_NO_PADDING = 3, RSA_PKCS1_OAEP_PADDING = 4,
    RSA_X931_PADDING = 5, RSA_PKCS1_PSS_PADDING = 6,
  },
}
local mt = { __index = _M }

local NIDS = { RSA = 6, EC = 408, ED25519 = 1087 }
-- What OpenSSL says last when it has tried every format.
local UNREADABLE = "error:688010A:asn1 encoding routines:asn1_item_embed_d2i:nested asn1 error:"
  .. "asn1/tasn_dec.c:349:"

local function wrap(key)
  return setmetatable({ ctx = key, key_type = NIDS[key.kind] }, mt)
end
_M.wrap = wrap

local function generate(config)
  local kind = config.type or "RSA"
  if kind == "RSA" then
    local bits = config.bits or 2048
    if bits > 4294967295 then
      return nil, "bits out of range"
    end
    local key = host.rsa_generate(bits, config.exp or 65537)
    if not key then
      return nil, "EVP_PKEY_gen failed"
    end
    key.kind = "RSA"
    return key
  elseif kind == "EC" then
    local name = config.curve or "prime256v1"
    local curve = keys.curve_of(name)
    if not curve then
      return nil, "generate_param: unknown curve " .. tostring(name)
    end
    return keys.on_curve(curve, nil, host.ec_generate(curve))
  elseif tostring(kind):upper() == "ED25519" then
    local seed = host.random_bytes(32)
    return { kind = "ED25519", public = host.ed25519_public(seed), d = seed }
  end
  return nil, "EVP_PKEY_CTX_new_from_name failed"
end

local function load(text, options)
  local format, only = options.format or "*", options.type or "*"
  if format ~= "PEM" and format ~= "DER" and format ~= "JWK" and format ~= "*" then
    return nil, "expecting 'DER', 'PEM', 'JWK' or '*' as \"format\""
  elseif only ~= "pu" and only ~= "pr" and only ~= "*" then
    return nil, "expecting 'pr', 'pu' or '*' as \"type\""
  elseif options.passphrase and type(options.passphrase) ~= "string" then
    return nil, "passphrase must be a string"
  end
  only = only ~= "*" and only or nil
  local key, err
  if format == "PEM" or format == "*" then
    key = keys.from_pem(text, only, function()
      return options.passphrase or options.passphrase_cb and options.passphrase_cb()
    end)
  end
  if not key and (format == "JWK" or format == "*" and text:find "^%s*{") then
    key, err = jwk.read(text, only)
    if not key and format == "JWK" then
      return nil, err
    end
  end
  if not key and (format == "DER" or format == "*") then
    key = keys.from_der(text, only)
  end
  if not key then
    return nil, UNREADABLE
  end
  return key
end

function _M.new(some, options)
  some = some or {}
  local key, err
  if type(some) == "table" then
    if some.params then
      key, err = parameters.compose(some)
    else
      key, err = generate(some)
    end
    if not key then
      return nil, "pkey.new:new_key: " .. (err or "EVP_PKEY_fromdata failed")
    end
  elseif type(some) == "string" then
    key, err = load(some, options or {})
    if not key then
      return nil, "pkey.new:load_key: " .. err
    end
  else
    return nil, "pkey.new: unexpected type " .. type(some) .. " at #1"
  end
  return wrap(key)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M:get_key_type(only_number)
  return only_number and self.key_type or objects.nid2table(self.key_type)
end

function _M:get_size()
  local key = self.ctx
  if key.kind == "RSA" then
    return #key.n
  elseif key.kind == "EC" then
    -- The longest signature in DER.
    local size = keys.curves[key.curve].size
    return #der.sequence(("x"):rep(2 * (size + (key.curve == "P-521" and 2 or 3))))
  end
  return 64
end

function _M:get_default_digest_type()
  if self.ctx.kind == "ED25519" then
    local none = objects.nid2table(0)
    none.mandatory = true
    return none
  end
  local found = objects.nid2table(672)
  found.mandatory = false
  return found
end

function _M:get_provider_name()
  return "default"
end

function _M:is_private()
  return self.ctx.d ~= nil
end

function _M:get_parameters()
  return parameters.read(self.ctx)
end

function _M:set_parameters(options)
  local key, err = parameters.change(self.ctx, options)
  if not key then
    return false, err
  end
  self.ctx = key
  return true
end

local function crypt(self, name, operation, text, padding, options)
  if type(text) ~= "string" then
    return nil, "pkey:asymmetric_routine: expect a string at #1"
  end
  padding = padding or 1
  if not tonumber(padding) then
    return nil, "invalid padding: " .. tostring(padding)
  end
  local key, out = self.ctx, nil
  options = options or {}
  if key.kind == "RSA" and tonumber(padding) == 3 and name == "encrypt" then
    out = #text == #key.n and signing.raise(key, text)
  elseif key.kind == "RSA" and (key.d or name == "encrypt") then
    out = operation(key, tonumber(padding), options.oaep_md, options.mgf1_md, text)
  end
  if not out then
    return nil, "pkey:asymmetric_routine EVP_PKEY_" .. name .. ": code: -1 failed"
  end
  return out
end

function _M:encrypt(text, padding, options)
  return crypt(self, "encrypt", host.rsa_encrypt, text, padding, options)
end

function _M:decrypt(text, padding, options)
  return crypt(self, "decrypt", host.rsa_decrypt, text, padding, options)
end

-- `input` is a text, or a digest object that has collected it.
local function hash_of(input, name)
  if digest_lib.istype(input) then
    return input:final(), input.algo
  end
  name = name or "sha256"
  return host.digest(name, input), name
end

function _M:sign(input, name, padding, options)
  if not digest_lib.istype(input) and type(input) ~= "string" then
    return nil, "pkey:sign: expect a digest instance or a string at #1"
  end
  local key = self.ctx
  if key.kind == "ED25519" then
    if not key.d then
      return nil, "pkey:sign: missing private key"
    elseif name or type(input) ~= "string" then
      return nil, "pkey:sign_verify_prepare: Init failed"
    end
    return host.ed25519_sign(key.d, input)
  end
  local hash, digest = hash_of(input, name)
  if not hash then
    return nil, ("pkey:sign_verify_prepare: invalid digest type \"%s\""):format(name)
  end
  local signature = key.d and signing.sign(key, hash, digest, padding, options or {})
  if not signature then
    return nil, type(input) == "string" and "pkey:sign: EVP_DigestSign failed"
      or "pkey:sign: EVP_SignFinal failed"
  end
  return signature
end

function _M:verify(signature, input, name, padding, options)
  if type(signature) ~= "string" then
    return nil, "pkey:verify: expect a string at #1"
  elseif not digest_lib.istype(input) and type(input) ~= "string" then
    return nil, "pkey:verify: expect a digest instance or a string at #2"
  end
  local key = self.ctx
  if key.kind == "ED25519" then
    if name or type(input) ~= "string" then
      return nil, "pkey:sign_verify_prepare: Init failed"
    end
    local ok = host.ed25519_verify(key.public, input, signature)
    return ok, not ok and "pkey:verify failed" or nil
  end
  local hash, digest = hash_of(input, name)
  if not hash then
    return nil, ("pkey:sign_verify_prepare: invalid digest type \"%s\""):format(name)
  end
  options = options or {}
  if key.kind == "EC" and options.ecdsa_use_raw and not signing.is_raw(key, signature) then
    return nil, "pkey:sign: ecdsa.sig_raw2der: invalid signature length, expect "
      .. 2 * keys.curves[key.curve].size .. " but got " .. #signature
  end
  local ok = signing.verify(key, signature, hash, digest, padding, options)
  return ok, not ok and "pkey:verify failed" or nil
end

-- What is signed here is a hash already, or anything that fits.
function _M:sign_raw(text, padding, options)
  if type(text) ~= "string" then
    return nil, "pkey:asymmetric_routine: expect a string at #1"
  end
  local key = self.ctx
  local signature = key.d and signing.sign(key, text, nil, padding, options or {})
  if not signature then
    return nil, "pkey:asymmetric_routine EVP_PKEY_sign: code: -1 failed"
  end
  return signature
end

function _M:verify_raw(signature, hash, digest, padding, options)
  if not signing.verify(self.ctx, signature, hash, digest, padding, options or {}) then
    return nil, "pkey:asymmetric_routine EVP_PKEY_verify: code: 0 failed"
  end
  return true
end

-- What an RSA signature is of.
function _M:verify_recover(signature, padding)
  local key = self.ctx
  local text = key.kind == "RSA" and #signature == #key.n and signing.raise(key, signature)
  if text and tonumber(padding or 1) == 1 then
    text = text:match "^%z\1\255\255\255\255\255\255\255\255+%z(.*)$"
  end
  if not text then
    return nil, "pkey:asymmetric_routine EVP_PKEY_verify_recover: code: -1 failed"
  end
  return text
end

function _M:derive(other)
  if not _M.istype(other) then
    return nil, "pkey:derive: expect a pkey instance at #1"
  end
  local own, peer = self.ctx, other.ctx
  local shared = own.kind == "EC" and own.d and own.curve == peer.curve
    and host.ec_shared(own.curve, own.d, peer.point)
  if not shared then
    return nil, "pkey:derive: EVP_PKEY_derive_set_peer: code: -1 failed"
  end
  return shared
end

function _M:tostring(which, format, pkcs1)
  local private = which == "private" or which == "PrivateKey" or which == true
  if which and which ~= "public" and which ~= "PublicKey" and not private then
    return nil, "pkey:tostring: can only export private or public key, not " .. tostring(which)
  elseif format == "JWK" then
    return jwk.write(self.ctx, private)
  elseif pkcs1 then
    return nil, "writing out RSA key in PKCS#1 format is not supported in OpenSSL 3.0"
  end
  local bytes = private and keys.to_private_der(self.ctx) or not private
    and keys.to_public_der(self.ctx)
  if not bytes then
    return nil, "pkey:tostring failed"
  elseif format == "DER" then
    return bytes
  end
  return der.to_pem(private and "PRIVATE KEY" or "PUBLIC KEY", bytes)
end

function _M:to_PEM(which, pkcs1)
  return self:tostring(which, "PEM", pkcs1)
end

mt.__tostring = function(self)
  return self:tostring()
end

function _M.paramgen()
  return nil, "pkey.paramgen: EVP_PKEY_paramgen failed"
end


return _M
