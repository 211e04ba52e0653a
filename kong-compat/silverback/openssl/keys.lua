-- Keys as files and JSON hold them, and as tables of their numbers: `kind` is RSA, EC or ED25519.
--
-- RSA has n, e, d, p, q, dp, dq, qi; EC has curve, point, d; ED25519 has public and d. All are
-- bytes.

local host = require "silverback.host"
local der = require "silverback.openssl.der"
local bn = require "resty.openssl.bn"

local RSA, EC, ED25519 = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112"
local RSA_PSS = "1.2.840.113549.1.1.10"

local _M = {
  curves = {
    ["P-256"] = { id = "1.2.840.10045.3.1.7", size = 32, nid = 415, name = "prime256v1" },
    ["P-384"] = { id = "1.3.132.0.34", size = 48, nid = 715, name = "secp384r1" },
    ["P-521"] = { id = "1.3.132.0.35", size = 66, nid = 716, name = "secp521r1" },
  },
}

-- A curve by its identifier, its number or OpenSSL's name.
function _M.curve_of(some)
  for name, curve in pairs(_M.curves) do
    if some == name or some == curve.id or some == curve.nid or some == curve.name then
      return name, curve
    end
  end
end

local function pad(bytes, size)
  bytes = bytes:gsub("^%z+", "")
  return ("\0"):rep(size - #bytes) .. bytes
end

-- A key on a curve, if its point is one and belongs to its number.
function _M.on_curve(curve, point, d)
  local size = _M.curves[curve].size
  d = d and pad(d, size)
  local own = d and host.ec_public(curve, d)
  if d and not own then
    return nil
  end
  point = point and host.ec_point(curve, point)
  if own and point and own ~= point or not (own or point) then
    return nil
  end
  return { kind = "EC", curve = curve, point = point or own, d = d }
end

local function numbers(bytes, names, at)
  local key = { kind = "RSA" }
  for _, name in ipairs(names) do
    key[name], at = der.take_integer(bytes, at)
    if not at then
      return nil
    end
  end
  return key
end

local PUBLIC = { "n", "e" }
local PRIVATE = { "version", "n", "e", "d", "p", "q", "dp", "dq", "qi" }

local function rsa_public(bytes)
  local body = der.take(bytes, 1, der.SEQUENCE)
  return body and numbers(body, PUBLIC)
end

local function rsa_private(bytes)
  local body = der.take(bytes, 1, der.SEQUENCE)
  local key = body and numbers(body, PRIVATE)
  if key then
    key.version = nil
  end
  return key
end

-- RFC 5915. The curve may be outside, in PKCS #8.
local function ec_private(bytes, curve)
  local body = der.take(bytes, 1, der.SEQUENCE)
  local version, after = der.take_integer(body or "", 1)
  if version ~= "\1" then
    return nil
  end
  local d, point
  d, after = der.take(body, after, der.OCTET_STRING)
  for _, part in ipairs(d and der.all(body:sub(after)) or {}) do
    if part.tag == 0xa0 then
      curve = _M.curve_of(der.oid_text(der.take(part.content, 1, der.OID) or ""))
    elseif part.tag == 0xa1 then
      point = (der.take(part.content, 1, der.BIT_STRING) or ""):sub(2)
    end
  end
  return d and curve and _M.on_curve(curve, point, d)
end

local function algorithm(bytes, at)
  local body, after = der.take(bytes, at, der.SEQUENCE)
  local id, rest = der.take(body or "", 1, der.OID)
  if id then
    return der.oid_text(id), body:sub(rest), after
  end
end

-- SubjectPublicKeyInfo of RFC 5280.
function _M.from_public_info(bytes)
  local body = der.take(bytes, 1, der.SEQUENCE)
  local id, parameters, after = algorithm(body or "", 1)
  local content = id and der.take(body, after, der.BIT_STRING)
  if not content then
    return nil
  end
  content = content:sub(2)
  if id == RSA or id == RSA_PSS then
    return rsa_public(content)
  elseif id == EC then
    local curve = _M.curve_of(der.oid_text(der.take(parameters, 1, der.OID) or ""))
    return curve and _M.on_curve(curve, content)
  elseif id == ED25519 and #content == 32 then
    return { kind = "ED25519", public = content }
  end
end

-- PrivateKeyInfo of RFC 5208.
local function from_private_info(bytes)
  local body = der.take(bytes, 1, der.SEQUENCE)
  local _, at = der.take_integer(body or "", 1)
  local id, parameters, after = algorithm(body or "", at)
  local content = id and der.take(body, after, der.OCTET_STRING)
  if not content then
    return nil
  elseif id == RSA or id == RSA_PSS then
    return rsa_private(content)
  elseif id == EC then
    return ec_private(content, (_M.curve_of(der.oid_text(der.take(parameters, 1, der.OID) or ""))))
  elseif id == ED25519 then
    local seed = der.take(content, 1, der.OCTET_STRING)
    local public = seed and host.ed25519_public(seed)
    return public and { kind = "ED25519", public = public, d = seed }
  end
end

-- A key in DER. `only` is "pr" or "pu", or nil for either.
function _M.from_der(bytes, only)
  local key
  if only ~= "pu" then
    key = from_private_info(bytes) or rsa_private(bytes) or ec_private(bytes)
  end
  if not key and only ~= "pr" then
    key = _M.from_public_info(bytes) or rsa_public(bytes)
  end
  return key
end

-- The older form of a password on a PEM: `DEK-Info: AES-256-CBC,<initialization vector>`.
local function decrypt_headers(bytes, headers, password)
  local cipher = require "resty.openssl.cipher"
  local name, hex = headers:match "DEK%-Info: *([%w-]+), *(%x+)"
  local found = name and cipher.new(name)
  if not found or #hex ~= found.iv_size * 2 then
    return nil
  end
  local iv = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
  return (found:decrypt(found:derive(password, iv, 1, "md5"), iv, bytes))
end

local function is_private(name)
  return name:find "PRIVATE KEY$" ~= nil
end

local function is_public(name)
  return name:find "PUBLIC KEY$" ~= nil
end

-- A key in PEM; `password` gives the password when one is needed.
function _M.from_pem(text, only, password)
  local bytes, name, headers
  if only ~= "pu" then
    bytes, name, headers = der.from_pem(text, is_private)
  end
  if not bytes and only ~= "pr" then
    bytes = der.from_pem(text, is_public)
    return bytes and (_M.from_public_info(bytes) or rsa_public(bytes))
  elseif not bytes then
    return nil
  end
  if name == "ENCRYPTED PRIVATE KEY" then
    local secret = password()
    bytes = secret and host.decrypt_private_info(bytes, secret)
  elseif headers and headers:find("ENCRYPTED", 1, true) then
    local secret = password()
    bytes = secret and decrypt_headers(bytes, headers, secret)
  end
  return bytes and _M.from_der(bytes, "pr")
end

-- The numbers of an RSA key that follow from its others.
function _M.complete(key)
  if key.kind ~= "RSA" or not key.p or key.qi and key.dp and key.dq then
    return key
  end
  local d, p, q = bn.from_binary(key.d), bn.from_binary(key.p), bn.from_binary(key.q)
  key.dp = key.dp or (d % (p - 1)):to_binary()
  key.dq = key.dq or (d % (q - 1)):to_binary()
  key.qi = key.qi or bn.mod_inverse(q, p):to_binary()
  return key
end

local function info(id, parameters, tag, content)
  local kind = der.sequence(der.write(der.OID, der.oid(id)), parameters)
  if tag == der.BIT_STRING then
    return der.sequence(kind, der.write(tag, "\0", content))
  end
  return der.sequence(der.integer "\0", kind, der.write(tag, content))
end

local NULL = der.write(der.NULL)

function _M.to_public_der(key)
  if key.kind == "RSA" then
    local body = der.sequence(der.integer(key.n), der.integer(key.e))
    return info(RSA, NULL, der.BIT_STRING, body)
  elseif key.kind == "EC" then
    local curve = der.write(der.OID, der.oid(_M.curves[key.curve].id))
    return info(EC, curve, der.BIT_STRING, key.point)
  end
  return info(ED25519, "", der.BIT_STRING, key.public)
end

function _M.to_private_der(key)
  if not key.d then
    return nil
  elseif key.kind == "RSA" then
    _M.complete(key)
    local parts = { der.integer "\0" }
    for i = 2, #PRIVATE do
      parts[i] = der.integer(key[PRIVATE[i]] or "")
    end
    return info(RSA, NULL, der.OCTET_STRING, der.sequence(unpack(parts)))
  elseif key.kind == "EC" then
    local curve = der.write(der.OID, der.oid(_M.curves[key.curve].id))
    local point = der.write(0xa1, der.write(der.BIT_STRING, "\0", key.point))
    local body = der.sequence(der.integer "\1", der.write(der.OCTET_STRING, key.d), point)
    return info(EC, curve, der.OCTET_STRING, body)
  end
  return info(ED25519, "", der.OCTET_STRING, der.write(der.OCTET_STRING, key.d))
end

return _M
