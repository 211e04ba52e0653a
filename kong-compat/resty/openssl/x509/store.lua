-- The module `resty.openssl.x509.store`: whom to trust, and whether a chain leads there.

local chain_lib = require "resty.openssl.x509.chain"
local der = require "silverback.openssl.der"
local x509 = require "resty.openssl.x509"

local _M = {
  verify_flags = {
    X509_V_FLAG_CB_ISSUER_CHECK = 0x0, X509_V_FLAG_USE_CHECK_TIME = 0x2,
    X509_V_FLAG_CRL_CHECK = 0x4, X509_V_FLAG_CRL_CHECK_ALL = 0x8,
    X509_V_FLAG_IGNORE_CRITICAL = 0x10, X509_V_FLAG_X509_STRICT = 0x20,
    X509_V_FLAG_TRUSTED_FIRST = 0x8000, X509_V_FLAG_PARTIAL_CHAIN = 0x80000,
    X509_V_FLAG_NO_CHECK_TIME = 0x200000,
  },
}
local mt = { __index = _M }

-- Flags that ask for lists of revoked certificates. A store holds none.
local CRL_FLAGS = bit.bor(_M.verify_flags.X509_V_FLAG_CRL_CHECK,
  _M.verify_flags.X509_V_FLAG_CRL_CHECK_ALL)

-- The most certificates in a chain, as OpenSSL's default depth has it.
local DEPTH = 100

function _M.new()
  return setmetatable({ ctx = true, trusted = {}, flags = 0 }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M:add(item)
  if not x509.istype(item) then
    return false, "x509.store:add: expect an x509 or crl instance at #1"
  end
  self.trusted[#self.trusted + 1] = item
  return true
end

local function add_file(self, path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  local found = false
  for name, _, pem in der.sections(text or "") do
    local certificate = name:find "^[%u ]*CERTIFICATE$" and x509.new(pem)
    if certificate then
      found = true
      self:add(certificate)
    end
  end
  return found
end

function _M:load_file(path)
  if type(path) ~= "string" then
    return false, "x509.store:load_file: expect a string at #1"
  elseif not add_file(self, path) then
    return false, "x509.store:load_file failed"
  end
  return true
end

function _M:load_directory(path)
  if type(path) ~= "string" then
    return false, "x509.store:load_directory expect a string at #1"
  end
  return false, "x509.store:load_directory failed"
end

-- Where the usual systems have their authorities.
local BUNDLES = {
  "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
}

function _M:use_default()
  for _, path in ipairs(BUNDLES) do
    if add_file(self, path) then
      return true
    end
  end
  return true
end

function _M:set_depth(depth)
  depth = depth and tonumber(depth)
  if not depth then
    return nil, "x509.store:set_depth: expect a number at #1"
  end
  self.depth = depth
  return true
end

local purposes = {
  sslclient = "TLS Web Client Authentication", sslserver = "TLS Web Server Authentication",
  any = false, crlsign = false, smimesign = false, smimeencrypt = false, ocsphelper = false,
  timestampsign = false, nssslserver = "TLS Web Server Authentication",
}

function _M:set_purpose(purpose)
  if type(purpose) ~= "string" then
    return nil, "x509.store:set_purpose: expect a string at #1"
  elseif purposes[purpose] == nil then
    return false, "invalid purpose \"" .. purpose .. "\""
  end
  self.purpose = purposes[purpose] or nil
  return true
end

function _M:set_flags(...)
  for _, flag in ipairs { ... } do
    self.flags = bit.bor(self.flags, flag)
  end
  return true
end

-- Who has issued a certificate: of those with the name, the one whose key fits. Without any, the
-- first with the name, so that the signature is what is found wrong.
local function issuer_of(certificate, trusted, untrusted)
  local named
  for _, list in ipairs { trusted, untrusted } do
    for _, candidate in ipairs(list) do
      if candidate:issued(certificate) then
        local key = candidate:get_pubkey()
        if key and certificate:verify(key) then
          return candidate
        end
        named = named or candidate
      end
    end
  end
  return named
end

local function holds(list, certificate)
  for _, candidate in ipairs(list) do
    if candidate:tostring "DER" == certificate:tostring "DER" then
      return true
    end
  end
end

local function build(self, leaf, untrusted, partial)
  local path, certificate = { leaf }, leaf
  for _ = 1, math.min(self.depth and self.depth + 2 or DEPTH, DEPTH) do
    local trusted = holds(self.trusted, certificate)
    local own = certificate:issued(certificate)
    if trusted and (own or partial) then
      return path
    elseif own then
      return nil, #path == 1 and "self-signed certificate"
        or "self-signed certificate in certificate chain"
    end
    local issuer = issuer_of(certificate, self.trusted, untrusted)
    if not issuer then
      return nil, #path == 1 and "unable to get local issuer certificate"
        or "unable to get issuer certificate"
    end
    path[#path + 1] = issuer
    certificate = issuer
  end
  return nil, "certificate chain too long"
end

-- Whether the certificates of a path say that it may be one: signatures, times, authorities.
local function check(self, path, without_time)
  local now = ngx.time()
  for i = #path, 1, -1 do
    local certificate = path[i]
    local from, till = certificate:get_lifetime()
    if i > 1 and not certificate:may_sign(i - 2) then
      return "invalid CA certificate"
    elseif not without_time and from > now then
      return "certificate is not yet valid"
    elseif not without_time and till < now then
      return "certificate has expired"
    elseif certificate:unknown_critical() then
      return "unhandled critical extension"
    end
    local issuer = path[i + 1] or certificate:issued(certificate) and certificate
    local key = issuer and issuer:get_pubkey()
    if issuer and not (key and certificate:verify(key)) then
      return "certificate signature failure"
    end
  end
  local usage = self.purpose and path[1]:get_extension "extendedKeyUsage"
  if usage and not tostring(usage):find(self.purpose, 1, true) then
    return "unsuitable certificate purpose"
  end
end

function _M:verify(certificate, chain, return_chain, _, method, flags)
  if not x509.istype(certificate) then
    return nil, "x509.store:verify: expect a x509 instance at #1"
  elseif chain and not chain_lib.istype(chain) then
    return nil, "x509.store:verify: expect a x509.chain instance at #1"
  end
  flags = bit.bor(self.flags, flags or 0)
  local partial = bit.band(flags, _M.verify_flags.X509_V_FLAG_PARTIAL_CHAIN) ~= 0
  local path, err = build(self, certificate, chain and chain:all() or {}, partial)
  if not path then
    return nil, err
  elseif self.depth and #path - 2 > self.depth then
    return nil, "certificate chain too long"
  elseif bit.band(flags, CRL_FLAGS) ~= 0 then
    return nil, "unable to get certificate CRL"
  end
  if method == "ssl_client" or method == "ssl_server" then
    self = { purpose = purposes[method == "ssl_client" and "sslclient" or "sslserver"] }
  end
  local without_time = bit.band(flags, _M.verify_flags.X509_V_FLAG_NO_CHECK_TIME) ~= 0
  local wrong = check(self, path, without_time)
  if wrong then
    return nil, wrong
  elseif not return_chain then
    return true
  end
  local verified = chain_lib.new()
  for _, part in ipairs(path) do
    verified:add(part)
  end
  return verified
end

return _M
