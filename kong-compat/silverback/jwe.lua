-- `kong.jwe` of Kong Enterprise: JSON Web Encryption (RFC 7516) with the algorithms ECDH-ES,
-- RSA-OAEP and dir, and AES-GCM for the text.

local base64 = require "ngx.base64"
local cipher_lib = require "resty.openssl.cipher"
local cjson = require "cjson.safe"
local host = require "silverback.host"
local pkey = require "resty.openssl.pkey"

local encode, decode = base64.encode_base64url, base64.decode_base64url
local OAEP = pkey.PADDINGS.RSA_PKCS1_OAEP_PADDING

local _M = {}

local SIZES = { A128GCM = 16, A192GCM = 24, A256GCM = 32 }

local function word(number)
  return string.char(math.floor(number / 2 ^ 24), math.floor(number / 2 ^ 16) % 256,
    math.floor(number / 256) % 256, number % 256)
end

-- The key that two owners of keys share (RFC 7518, 4.6.2).
local function agreed_key(shared, enc, header)
  local function part(text)
    return word(#text) .. text
  end
  local size = SIZES[enc]
  local info = part(enc) .. part(header.apu and decode(header.apu) or "")
    .. part(header.apv and decode(header.apv) or "") .. word(size * 8)
  return host.digest("sha256", word(1) .. shared .. info):sub(1, size)
end

local function load_key(key)
  if type(key) == "table" then
    key = cjson.encode(key)
  end
  if type(key) ~= "string" then
    return nil, "invalid key argument"
  end
  return pkey.new(key)
end

local NAMES = { "protected", "encrypted_key", "iv", "ciphertext", "tag" }

-- The five parts of a token, as they are and decoded.
function _M.decode(token)
  if type(token) ~= "string" then
    return nil, "invalid token argument"
  end
  local parts = {}
  for part in (token .. "."):gmatch "([^.]*)%." do
    parts[#parts + 1] = part
  end
  if #parts ~= 5 then
    return nil, "invalid jwe token"
  end
  for i, name in ipairs(NAMES) do
    local bytes = decode(parts[i])
    if not bytes then
      return nil, "unable to base64url decode " .. name
    end
    parts[name] = bytes
  end
  parts.protected = cjson.decode(parts.protected)
  if type(parts.protected) ~= "table" then
    return nil, "unable to json decode protected header"
  end
  parts.aad = parts[1]
  return parts
end

local function content_key(key, parts)
  local header = parts.protected
  if header.alg == "dir" then
    return type(key) == "string" and key or nil, "invalid key argument"
  end
  local private, err = load_key(key)
  if not private then
    return nil, err
  elseif header.alg == "RSA-OAEP" then
    return private:decrypt(parts.encrypted_key, OAEP)
  elseif header.alg == "ECDH-ES" and type(header.epk) == "table" then
    local other
    other, err = load_key(header.epk)
    local shared = other
    if other then
      shared, err = private:derive(other)
    end
    if not shared then
      return nil, err
    end
    return agreed_key(shared, header.enc, header)
  end
  return nil, "unsupported alg " .. tostring(header.alg)
end

-- The text of a token, or nil and why not.
function _M.decrypt(key, token)
  local parts, err = _M.decode(token)
  if not parts then
    return nil, err
  end
  local header = parts.protected
  if not SIZES[header.enc] then
    return nil, "unsupported enc " .. tostring(header.enc)
  elseif header.zip ~= nil then
    return nil, "unsupported zip " .. tostring(header.zip)
  elseif header.crit ~= nil then
    return nil, "unsupported crit"
  end
  local secret
  secret, err = content_key(key, parts)
  if not secret then
    return nil, err
  elseif #parts.tag ~= 16 then
    return nil, "invalid tag"
  end
  local cipher = cipher_lib.new("aes-" .. SIZES[header.enc] * 8 .. "-gcm")
  return cipher:decrypt(secret, parts.iv, parts.ciphertext, true, parts.aad, parts.tag)
end

-- The key for the text, and what the token carries of it; puts into the header what is needed.
local function new_key(header, key, options)
  local size = SIZES[header.enc]
  if header.alg == "dir" then
    return key, ""
  end
  local public, err = load_key(key)
  if not public then
    return nil, err
  elseif header.alg == "RSA-OAEP" then
    local secret = host.random_bytes(size)
    local sealed
    sealed, err = public:encrypt(secret, OAEP)
    return sealed and secret, sealed or err
  end
  local curve = public.ctx.kind == "EC" and public.ctx.curve
  if not curve then
    return nil, "ECDH-ES needs an EC key"
  end
  local keys = require "silverback.openssl.keys"
  local own = pkey.new { type = "EC", curve = keys.curves[curve].name }
  local epk = cjson.decode((own:tostring("public", "JWK")))
  header.epk = { kty = epk.kty, crv = epk.crv, x = epk.x, y = epk.y }
  for _, name in ipairs { "apu", "apv" } do
    if options[name] ~= false then
      header[name] = encode(options[name] or host.random_bytes(16))
    end
  end
  return agreed_key(own:derive(public), header.enc, header), ""
end

-- A token with this text for the owner of a key.
function _M.encrypt(alg, enc, key, text, options)
  options = options or {}
  if alg ~= "ECDH-ES" and alg ~= "RSA-OAEP" and alg ~= "dir" then
    return nil, "unsupported alg " .. tostring(alg)
  elseif not SIZES[enc] then
    return nil, "unsupported enc " .. tostring(enc)
  elseif type(text) ~= "string" then
    return nil, "invalid plaintext argument"
  elseif options.zip then
    return nil, "unsupported zip " .. tostring(options.zip)
  end
  local header = { alg = alg, enc = enc }
  local secret, carried = new_key(header, key, options)
  if not secret then
    return nil, carried
  end
  local protected, iv = encode(cjson.encode(header)), host.random_bytes(12)
  local cipher = cipher_lib.new("aes-" .. SIZES[enc] * 8 .. "-gcm")
  local sealed, err = cipher:encrypt(secret, iv, text, true, protected)
  if not sealed then
    return nil, err
  end
  return table.concat({ protected, encode(carried), encode(iv), encode(sealed),
    encode(cipher.tag) }, ".")
end

return _M
