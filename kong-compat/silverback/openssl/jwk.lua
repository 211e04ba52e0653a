-- JSON Web Keys (RFC 7517, 7518, 8037) for `resty.openssl.pkey`.

local cjson = require "cjson.safe"
local base64 = require "ngx.base64"
local host = require "silverback.host"
local keys = require "silverback.openssl.keys"

local encode = base64.encode_base64url
local _M = {}

local RSA = { "n", "e", "d", "p", "q", "dp", "dq", "qi" }

local function read_members(jwk, names, needed)
  local found = {}
  for i, name in ipairs(names) do
    local text = jwk[name]
    if type(text) == "string" then
      local bytes = base64.decode_base64url(text)
      if not bytes then
        return nil, "cannot decode parameter \"" .. name .. "\" from base64"
      end
      found[name] = bytes
    elseif i <= needed then
      return nil, "missing required parameter \"" .. name .. "\""
    end
  end
  return found
end

local kinds = {}

function kinds.RSA(jwk)
  local key, err = read_members(jwk, RSA, 2)
  if key then
    key.kind = "RSA"
  end
  return key, err
end

function kinds.EC(jwk)
  local curve, known = keys.curve_of(jwk.crv)
  if not jwk.crv then
    return nil, "missing required parameter \"crv\""
  end
  local found, err = read_members(jwk, { "x", "y", "d" }, 2)
  if not found then
    return nil, err
  elseif not curve then
    return nil, "pad_ec_coordinate: unsupported curve " .. tostring(jwk.crv)
  end
  local point = "\4"
  for _, name in ipairs { "x", "y" } do
    local number = found[name]
    if #number > known.size then
      return nil, ("pad_ec_coordinate: coordinate length %d is longer than expected %d")
        :format(#number, known.size)
    end
    point = point .. ("\0"):rep(known.size - #number) .. number
  end
  local key = keys.on_curve(curve, point, found.d)
  return key, not key and "EVP_PKEY_fromdata() failed" or nil
end

function kinds.OKP(jwk)
  if not jwk.crv then
    return nil, "missing \"crv\" parameter from OKP JWK"
  elseif not jwk.x and not jwk.d then
    return nil, "missing at least one of \"x\" or \"d\" parameter from OKP JWK"
  elseif jwk.crv ~= "Ed25519" then
    return nil, "EVP_PKEY_CTX_new_from_name() failed"
  end
  local found, err = read_members(jwk, { "x", "d" }, 0)
  if not found then
    return nil, err
  end
  local public = found.d and host.ed25519_public(found.d) or found.x
  if not public or #public ~= 32 then
    return nil, "EVP_PKEY_fromdata() failed"
  end
  return { kind = "ED25519", public = public, d = found.d }
end

-- A key from its JSON; `only` is "pu" for its public half.
function _M.read(text, only)
  local jwk, err = cjson.decode(text)
  if err then
    return nil, "jwk:load_jwk: error decoding JSON from JWK: " .. err
  elseif type(jwk) ~= "table" then
    return nil, "jwk:load_jwk: except input to be decoded as a table, got " .. type(jwk)
  elseif not jwk.kty then
    return nil, "jwk:load_jwk: missing \"kty\" parameter from JWK"
  elseif not kinds[jwk.kty] then
    return nil, "jwk:load_jwk: not yet supported jwk type \"" .. tostring(jwk.kty) .. "\""
  end
  local key
  key, err = kinds[jwk.kty](jwk)
  if not key then
    return nil, "jwk:load_jwk: " .. err
  end
  if only == "pu" then
    key = { kind = key.kind, n = key.n, e = key.e, curve = key.curve, point = key.point,
      public = key.public }
  end
  return key
end

-- The JSON of a key; its `kid` is the digest of its DER, as in lua-resty-openssl.
function _M.write(key, private)
  if private and not key.d then
    return nil, "jwk.dump_jwk: could not dump public key as private key"
  end
  local jwk
  if key.kind == "RSA" then
    jwk = { kty = "RSA" }
    keys.complete(key)
    for i, name in ipairs(RSA) do
      if (i <= 2 or private) and key[name] then
        jwk[name] = encode(key[name])
      end
    end
  elseif key.kind == "EC" then
    local size = keys.curves[key.curve].size
    jwk = { kty = "EC", crv = key.curve, x = encode(key.point:sub(2, size + 1)),
      y = encode(key.point:sub(size + 2)), d = private and encode(key.d) or nil }
  else
    jwk = { kty = "OKP", crv = "Ed25519", x = encode(key.public),
      d = private and encode(key.d) or nil }
  end
  local bytes = private and keys.to_private_der(key) or keys.to_public_der(key)
  jwk.kid = encode(host.digest("sha256", bytes))
  return cjson.encode(jwk)
end

return _M
