-- The module `kong.plugins.jwt.jwt_parser`: plugins of others read and make tokens with it.
--
-- The plugin jwt itself is native; it does not use this.

local cjson = require "cjson"
local base64 = require "ngx.base64"
local digest = require "resty.openssl.digest"
local host = require "silverback.host"
local mac = require "resty.openssl.mac"
local pkey = require "resty.openssl.pkey"

local _M = {}
_M.__index = _M

local RAW = { ecdsa_use_raw = true }
local PSS = pkey.PADDINGS.RSA_PKCS1_PSS_PADDING

local function hmac(name)
  local function sign(text, secret)
    return mac.new(secret, "HMAC", nil, name):final(text)
  end
  return {
    sign = sign,
    verify = function(text, signature, secret)
      return host.equal(signature, sign(text, secret))
    end,
  }
end

-- `length` is how many bytes a signature has to have.
local function with_key(name, padding, options, length)
  return {
    sign = function(text, key)
      local private = assert(pkey.new(key))
      return assert(private:sign(text, name, padding, options))
    end,
    verify = function(text, signature, key)
      local public = assert(pkey.new(key), "Consumer Public Key is Invalid")
      if length and #signature ~= length then
        error("Signature must be " .. length .. " bytes" .. (options and "." or ""))
      end
      return public:verify(signature, text, name, padding, options)
    end,
  }
end

-- The classic way to sign with RSA, through an object that collects the text.
local function rsa(name)
  local algorithm = with_key(name)
  function algorithm.sign(text, key)
    local collected = digest.new(name)
    assert(collected:update(text))
    return assert(pkey.new(key):sign(collected))
  end
  return algorithm
end

-- RFC 7518, and EdDSA of RFC 8037.
local algorithms = {
  HS256 = hmac "sha256", HS384 = hmac "sha384", HS512 = hmac "sha512",
  RS256 = rsa "sha256", RS384 = rsa "sha384", RS512 = rsa "sha512",
  ES256 = with_key("sha256", nil, RAW, 64), ES384 = with_key("sha384", nil, RAW, 96),
  ES512 = with_key("sha512", nil, RAW, 132),
  PS256 = with_key("sha256", PSS, nil, 256), PS384 = with_key("sha384", PSS, nil, 256),
  PS512 = with_key("sha512", PSS, nil, 256),
  EdDSA = with_key(),
}

local function decode_base64(text)
  return base64.decode_base64url((text:gsub("=+$", "")))
end

local function parse(token)
  local first = token:find(".", 1, true)
  local second = first and token:find(".", first + 1, true)
  local parsed = {
    token = token,
    header_64 = first and token:sub(1, first - 1) or token,
    claims_64 = first and token:sub(first + 1, (second or 0) - 1) or nil,
    signature_64 = second and token:sub(second + 1) or nil,
  }
  local ok = pcall(function()
    parsed.header = cjson.decode(decode_base64(parsed.header_64))
    parsed.claims = cjson.decode(decode_base64(parsed.claims_64))
    parsed.signature = decode_base64(parsed.signature_64)
  end)
  if not ok or type(parsed.header) ~= "table" then
    return nil, "invalid JSON"
  elseif type(parsed.header.alg) ~= "string" or not algorithms[parsed.header.alg] then
    return nil, "invalid alg"
  elseif type(parsed.claims) ~= "table" then
    return nil, "invalid claims"
  elseif not parsed.signature then
    return nil, "invalid signature"
  end
  return parsed
end

function _M:new(token)
  if type(token) ~= "string" then
    error("Token must be a string, got " .. tostring(token), 2)
  end
  local parsed, err = parse(token)
  if not parsed then
    return nil, err
  end
  return setmetatable(parsed, _M)
end

function _M:verify_signature(key)
  local text = self.header_64 .. "." .. self.claims_64
  return algorithms[self.header.alg].verify(text, self.signature, key)
end

function _M:base64_decode(text)
  return decode_base64(text)
end

-- What is wrong with a time, by the name of its claim.
local checks = {
  nbf = function(time)
    return time > ngx.time() and "token not valid yet" or nil
  end,
  exp = function(time)
    return time <= ngx.time() and "token expired" or nil
  end,
}

function _M:verify_registered_claims(names)
  local errors
  for _, name in pairs(names or {}) do
    local claim = self.claims[name]
    local wrong
    if type(claim) ~= "number" then
      wrong = "must be a number"
    else
      wrong = checks[name](claim)
    end
    if wrong then
      errors = errors or {}
      errors[name] = wrong
    end
  end
  return errors == nil, errors
end

function _M:check_maximum_expiration(seconds)
  if seconds <= 0 then
    return true
  end
  local exp = self.claims.exp
  if type(exp) ~= "number" or exp - ngx.time() > seconds then
    return false, { exp = "exceeds maximum allowed expiration" }
  end
  return true
end

-- A token with these claims.
function _M.encode(claims, key, algorithm, header)
  if type(claims) ~= "table" then
    error("Argument #1 must be table", 2)
  elseif type(key) ~= "string" then
    error("Argument #2 must be string", 2)
  elseif header and type(header) ~= "table" then
    error("Argument #4 must be a table", 2)
  end
  algorithm = algorithm or "HS256"
  if not algorithms[algorithm] then
    error("Algorithm not supported", 2)
  end
  header = header or { typ = "JWT", alg = algorithm }
  local encode = base64.encode_base64url
  local text = encode(cjson.encode(header)) .. "." .. encode(cjson.encode(claims))
  return text .. "." .. encode(algorithms[algorithm].sign(text, key))
end

return _M
