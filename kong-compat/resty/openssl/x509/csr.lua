-- The module `resty.openssl.x509.csr`: what a CA is asked to certify (PKCS#10).

local der = require "silverback.openssl.der"
local altname_lib = require "resty.openssl.x509.altname"
local name_lib = require "resty.openssl.x509.name"
local pkey_lib = require "resty.openssl.pkey"

local EXTENSION_REQUEST, SUBJECT_ALT_NAME = "1.2.840.113549.1.9.14", "2.5.29.17"
local RSA_SHA256, ECDSA_SHA256 = "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"
local SET, BITS, OCTETS, ATTRIBUTES, NULL = 0x31, 0x03, 0x04, 0xa0, "\5\0"

-- An identifier by its text.
local function oid(text)
  return der.write(der.OID, der.oid(text))
end

local _M = {}
local mt = { __index = _M }

function _M.new(text)
  if text ~= nil then
    return nil, "x509.csr.new: reading a request is not supported"
  end
  return setmetatable({ ctx = true, subject = name_lib.new():to_der() }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M:set_version()
  return true
end

function _M:set_subject_name(name)
  if not name_lib.istype(name) then
    return false, "x509.csr:set_subject_name: expect a x509.name instance at #1"
  end
  self.subject = name:to_der()
  return true
end

function _M:set_subject_alt_name(names)
  if not altname_lib.istype(names) then
    return false, "x509.csr:set_subject_alt_name: expect a x509.altname instance at #1"
  end
  self.names = names:to_der()
  return true
end

_M.set_subject_alt = _M.set_subject_alt_name

function _M:set_pubkey(key)
  if not pkey_lib.istype(key) then
    return false, "x509.csr:set_pubkey: expect a pkey instance at #1"
  end
  self.key = key
  return true
end

function _M:get_pubkey()
  return self.key
end

local function attributes(self)
  if not self.names then
    return ""
  end
  local extension = der.sequence(oid(SUBJECT_ALT_NAME), der.write(OCTETS, self.names))
  local values = der.write(SET, der.sequence(extension))
  return der.sequence(oid(EXTENSION_REQUEST), values)
end

function _M:sign(key)
  if not pkey_lib.istype(key) then
    return false, "x509.csr:sign: expect a pkey instance at #1"
  end
  local public, err = (self.key or key):tostring("public", "DER")
  if not public then
    return false, "x509.csr:sign: " .. err
  end
  local whole = der.sequence(der.integer "\0", self.subject, public,
    der.write(ATTRIBUTES, attributes(self)))
  local signature
  signature, err = key:sign(whole, "sha256")
  if not signature then
    return false, "x509.csr:sign: " .. err
  end
  local is_rsa = key:get_key_type().sn == "rsaEncryption"
  local algorithm = is_rsa and der.sequence(oid(RSA_SHA256), NULL)
    or der.sequence(oid(ECDSA_SHA256))
  self.bytes = der.sequence(whole, algorithm, der.write(BITS, "\0" .. signature))
  return true
end

function _M:tostring(format)
  if not self.bytes then
    return nil, "x509.csr:tostring: it is not signed"
  end
  return format == "DER" and self.bytes or der.to_pem("CERTIFICATE REQUEST", self.bytes)
end

function _M:to_PEM()
  return self:tostring "PEM"
end

return _M
