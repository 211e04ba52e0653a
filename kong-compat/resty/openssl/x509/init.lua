-- The module `resty.openssl.x509`: a certificate, read or made.

local bn = require "resty.openssl.bn"
local certificate = require "silverback.openssl.certificate"
local der = require "silverback.openssl.der"
local digest_lib = require "resty.openssl.digest"
local host = require "silverback.host"
local keys = require "silverback.openssl.keys"
local name_lib = require "resty.openssl.x509.name"
local objects = require "resty.openssl.objects"
local pkey = require "resty.openssl.pkey"
local signed = require "silverback.openssl.signed"

local _M = {}
local mt = { __index = _M }

local UNREADABLE = "x509.new: error:688010A:asn1 encoding routines:asn1_item_embed_d2i:"
  .. "nested asn1 error:asn1/tasn_dec.c:349:"

local function is_certificate(name)
  return name == "CERTIFICATE" or name == "X509 CERTIFICATE" or name == "TRUSTED CERTIFICATE"
end

local function empty()
  local none = name_lib.new():to_der()
  local now = ngx.time()
  return { version = 0, serial = "\0", issuer = none, subject = none, not_before = now,
    not_after = now, extensions = {} }
end

function _M.new(text, format)
  if text == nil then
    return setmetatable({ ctx = empty() }, mt)
  elseif type(text) ~= "string" then
    return nil, "x509.new: expect nil or a string at #1"
  end
  local bytes
  if format ~= "DER" then
    bytes = der.from_pem(text, is_certificate)
  end
  if not bytes and format ~= "PEM" then
    bytes = text
  end
  local read = bytes and certificate.read(bytes)
  if not read then
    return nil, UNREADABLE
  end
  return setmetatable({ ctx = read }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M.dup(ctx)
  if type(ctx) ~= "table" or not ctx.extensions then
    return nil, "x509.dup: expect a x509 ctx at #1"
  end
  local copy = {}
  for key, value in pairs(ctx) do
    copy[key] = value
  end
  return setmetatable({ ctx = copy }, mt)
end

function _M:tostring(format)
  if format and format ~= "PEM" and format ~= "DER" then
    return nil, "x509:tostring: can only write PEM or DER format, not " .. format
  elseif not self.ctx.whole then
    return nil, "x509:tostring failed"
  end
  return format == "DER" and self.ctx.whole or der.to_pem("CERTIFICATE", self.ctx.whole)
end

function _M:to_PEM()
  return self:tostring "PEM"
end

mt.__tostring = function(self)
  return self:tostring() or "x509"
end

function _M:get_version()
  return self.ctx.version + 1
end

function _M:set_version(version)
  if type(version) ~= "number" then
    return false, "x509:set_version: expect a number at #1"
  end
  self.ctx.version = version - 1
  return true
end

function _M:get_serial_number()
  return bn.from_binary(self.ctx.serial)
end

function _M:set_serial_number(number)
  if not bn.istype(number) then
    return false, "x509:set_serial_number: expect a bn instance at #1"
  end
  self.ctx.serial = select(2, der.read(der.integer(number.ctx:sub(2))))
  return true
end

for _, field in ipairs { "not_before", "not_after" } do
  _M["get_" .. field] = function(self)
    return self.ctx[field]
  end
  _M["set_" .. field] = function(self, time)
    if type(time) ~= "number" then
      return false, "x509:set_" .. field .. ": expect a number at #1"
    end
    self.ctx[field] = time
    return true
  end
end

function _M:get_lifetime()
  return self.ctx.not_before, self.ctx.not_after
end

function _M:set_lifetime(from, till)
  for field, time in pairs { not_before = from, not_after = till } do
    local ok, err = self["set_" .. field](self, time)
    if not ok then
      return ok, err
    end
  end
  return true
end

for _, field in ipairs { "subject", "issuer" } do
  _M["get_" .. field .. "_name"] = function(self)
    return name_lib.from_der(self.ctx[field])
  end
  _M["set_" .. field .. "_name"] = function(self, name)
    if not name_lib.istype(name) then
      return false, "x509:set_" .. field .. "_name: expect a x509.name instance at #1"
    end
    self.ctx[field] = name:to_der()
    return true
  end
end

function _M:get_pubkey()
  local key = self.ctx.key and keys.from_public_info(self.ctx.key)
  return key and pkey.wrap(key)
end

function _M:set_pubkey(key)
  if not pkey.istype(key) then
    return false, "x509:set_pubkey: expect a pkey instance at #1"
  end
  self.ctx.key = keys.to_public_der(key.ctx)
  return true
end

local function digest(name, bytes)
  local found = host.digest(name or "sha1", bytes)
  if not found then
    return nil, ("x509:digest: invalid digest type \"%s\""):format(tostring(name))
  end
  return found
end

function _M:digest(name)
  if not self.ctx.whole then
    return nil, "x509:digest failed"
  end
  return digest(name, self.ctx.whole)
end

-- Over the key itself, without what tells its kind.
function _M:pubkey_digest(name)
  if not self.ctx.key then
    return nil, "x509:pubkey_digest failed"
  end
  local parts = der.all(der.take(self.ctx.key, 1, der.SEQUENCE))
  return digest(name, parts[2].content:sub(2))
end

function _M:check_private_key(key)
  if not pkey.istype(key) then
    return false, "x509:check_private_key: except a pkey instance at #1"
  elseif not key:is_private() then
    return false, "x509:check_private_key: not a private key"
  elseif keys.to_public_der(key.ctx) ~= self.ctx.key then
    return false, "x509:check_private_key: error:5800074:x509 certificate routines:"
      .. "X509_check_private_key:key values mismatch:crypto/x509/x509_cmp.c:408:"
  end
  return true
end

function _M:sign(key, name)
  if not pkey.istype(key) then
    return false, "x509:sign: expect a pkey instance at #1"
  elseif name and not digest_lib.istype(name) then
    return false, "x509:sign: expect a digest instance at #2"
  end
  local algorithm, sign = signed.signer(key.ctx, name and name.algo)
  if not algorithm or not self.ctx.key then
    return false, "x509:sign failed"
  end
  local body = certificate.to_be_signed(self.ctx, algorithm)
  local whole = der.sequence(body, algorithm, der.write(der.BIT_STRING, "\0", sign(body)))
  self.ctx = certificate.read(whole)
  return true
end

function _M:verify(key)
  if not pkey.istype(key) then
    return false, "x509:verify: expect a pkey instance at #1"
  end
  local c = self.ctx
  return c.signature ~= nil and der.sequence(c.signature_algorithm) == c.algorithm
    and signed.verify(key.ctx, c.signature_algorithm, c.signed, c.signature)
end

function _M:get_signature_nid()
  local id = der.take(self.ctx.signature_algorithm or "", 1, der.OID)
  if not id then
    return nil, "x509:get_signature_nid failed"
  end
  return objects.obj2table(id).nid
end

function _M:get_signature_name()
  local nid, err = self:get_signature_nid()
  return nid and objects.nid2table(nid).sn, err
end

function _M:get_signature_digest_name()
  local nid, err = self:get_signature_nid()
  return nid and objects.nid2table(objects.find_sigid_algs(nid)).sn, err
end

require "silverback.openssl.extended" (_M, "x509")

-- Whether this one names itself the issuer of `other`.
function _M:issued(other)
  return self.ctx.subject == other.ctx.issuer
end

-- Whether this one is an authority, with so many others between it and the leaf.
function _M:may_sign(between)
  local constraints, bounded = self:get_basic_constraints()
  if not constraints then
    -- A root of X.509 version 1 has no way to say so.
    return self.ctx.version == 0 and self:issued(self)
  elseif not constraints.ca or bounded and constraints.pathlen < between then
    return false
  end
  local usage = self:get_extension "keyUsage"
  return not usage or tostring(usage):find("Certificate Sign", 1, true) ~= nil
end

local UNDERSTOOD = {
  ["2.5.29.14"] = true, ["2.5.29.15"] = true, ["2.5.29.17"] = true, ["2.5.29.18"] = true,
  ["2.5.29.19"] = true, ["2.5.29.31"] = true, ["2.5.29.32"] = true, ["2.5.29.35"] = true,
  ["2.5.29.37"] = true,
}

function _M:unknown_critical()
  for _, extension in ipairs(self.ctx.extensions) do
    -- Constraints of names are not looked at, so no chain with them can be said to hold.
    if extension.id == "2.5.29.30" or extension.critical and not UNDERSTOOD[extension.id] then
      return true
    end
  end
  return false
end

return _M
