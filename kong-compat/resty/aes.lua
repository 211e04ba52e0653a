-- The module `resty.aes` of lua-resty-string.

local cipher_lib = require "resty.openssl.cipher"

local _M = {
  _VERSION = "0.16",
  hash = { md5 = "md5", sha1 = "sha1", sha224 = "sha224", sha256 = "sha256", sha384 = "sha384",
    sha512 = "sha512" },
}
local mt = { __index = _M }

local modes = { ecb = true, cbc = true, ctr = true, gcm = true }

function _M.cipher(size, mode)
  size, mode = size or 128, mode or "cbc"
  if not modes[mode] or not cipher_lib.new(("aes-%d-%s"):format(size, mode)) then
    return nil
  end
  return { size = size, cipher = mode, method = ("aes-%d-%s"):format(size, mode) }
end

-- `hash` is the name of a digest, or `{ iv = ..., method = ... }`, when the key is one already.
function _M:new(key, salt, cipher, hash, rounds, iv_length, padding)
  cipher = cipher or _M.cipher(128, "cbc")
  hash = hash or _M.hash.md5
  local engine = cipher_lib.new(cipher.method)
  iv_length = iv_length or engine.iv_size
  local iv
  if type(hash) == "table" then
    if not hash.iv or #hash.iv > 16 then
      return nil, "bad iv"
    end
    if hash.method then
      key = hash.method(key)
    end
    if #key ~= engine.key_size then
      return nil, "bad key length"
    end
    iv = hash.iv
  else
    if salt and #salt ~= 8 then
      return nil, "salt must be 8 characters or nil"
    end
    key, iv = engine:derive(key, salt, rounds or 1, hash)
  end
  if cipher.cipher ~= "ecb" and #iv < engine.iv_size then
    return nil, "bad iv length"
  end
  return setmetatable({
    key = key, iv = iv:sub(1, engine.iv_size), cipher = cipher, engine = engine,
    no_padding = padding == false,
  }, mt)
end

-- With GCM, the text and its tag; the tag goes the other way with `decrypt`.
function _M:encrypt(text)
  local sealed, err = self.engine:encrypt(self.key, self.iv, text, self.no_padding)
  if not sealed then
    return nil, err
  elseif self.cipher.cipher == "gcm" then
    return { sealed, self.engine.tag }
  end
  return sealed
end

function _M:decrypt(text, tag)
  local opened, err = self.engine:decrypt(self.key, self.iv, text, self.no_padding, nil, tag)
  if not opened then
    return nil, err
  end
  return opened
end

return _M
