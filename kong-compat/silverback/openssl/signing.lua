-- Signatures over a hash with keys of RSA and of curves, for `resty.openssl.pkey` and `.x509`.

local host = require "silverback.host"
local bn = require "resty.openssl.bn"
local der = require "silverback.openssl.der"
local keys = require "silverback.openssl.keys"

local _M = {}

-- Options may come as texts too: `rsa_pss_saltlen:32`.
local function salt_length(key, digest, options, signs)
  local length = options.pss_saltlen
  for _, text in ipairs(options) do
    length = tostring(text):match "^rsa_pss_saltlen:(.+)$" or length
  end
  local size = digest and #(host.digest(digest, "") or "") or 0
  local most = #key.n - size - 2
  length = tonumber(length) or length
  if length == -1 or length == "digest" then
    return size
  elseif length == -3 or length == "max" then
    return most
  elseif type(length) == "number" and length >= 0 then
    return length
  elseif signs then
    -- As OpenSSL does unless it is told: as long as the digest, if the key has room for it.
    return math.max(math.min(size, most), 0)
  end
end

-- What `r` and `s` are side by side, as two numbers of DER, and back.
function _M.to_der(raw)
  local half = #raw / 2
  return der.sequence(der.integer(raw:sub(1, half)), der.integer(raw:sub(half + 1)))
end

function _M.from_der(signature, size)
  local body = der.take(signature, 1, der.SEQUENCE)
  local r, after = der.take_integer(body or "", 1)
  local s = r and der.take_integer(body, after)
  if not s or #r > size or #s > size then
    return nil
  end
  local raw = ("\0"):rep(size - #r) .. r .. ("\0"):rep(size - #s) .. s
  -- Another way to write the same numbers would be another signature of the same text.
  return _M.to_der(raw) == signature and raw or nil
end

function _M.is_raw(key, signature)
  return #signature == 2 * keys.curves[key.curve].size
end

function _M.sign(key, hash, digest, padding, options)
  if key.kind == "EC" then
    local raw = host.ec_sign(key.curve, key.d, hash)
    return raw and (options.ecdsa_use_raw and raw or _M.to_der(raw))
  elseif key.kind == "RSA" then
    local salt = salt_length(key, digest, options, true)
    return host.rsa_sign(key, padding or 1, digest, salt, hash)
  end
end

function _M.verify(key, signature, hash, digest, padding, options)
  if key.kind == "EC" then
    local raw = signature
    if not options.ecdsa_use_raw then
      raw = _M.from_der(signature, keys.curves[key.curve].size)
    end
    return raw ~= nil and host.ec_verify(key.curve, key.point, hash, raw)
  elseif key.kind == "RSA" then
    local salt = salt_length(key, digest, options, false)
    return host.rsa_verify(key, padding or 1, digest, salt, hash, signature)
  end
  return false
end

-- RSA without padding, with the public key.
function _M.raise(key, bytes)
  local n = bn.from_binary(key.n)
  local text = bn.from_binary(bytes)
  if not (text < n) then
    return nil
  end
  return bn.mod_exp(text, bn.from_binary(key.e), n):to_binary(#key.n)
end

return _M
