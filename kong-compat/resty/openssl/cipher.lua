-- The module `resty.openssl.cipher`: AES in the modes CBC, ECB, CTR, GCM and key wrap, Triple DES,
-- and ChaCha20-Poly1305.

local host = require "silverback.host"

local _M = {}
local mt = { __index = _M }

local aliases = {
  aes128 = "aes-128-cbc", aes192 = "aes-192-cbc", aes256 = "aes-256-cbc", des3 = "des-ede3-cbc",
  ["des-ede3"] = "des-ede3-ecb",
}

local known = { ["chacha20-poly1305"] = { cipher = "chacha20-poly1305", mode = "aead", 32, 12, 1 } }
for _, bits in ipairs { 128, 192, 256 } do
  local cipher, size = "aes-" .. bits, bits / 8
  -- The key, the initialization vector, and the block.
  known[cipher .. "-cbc"] = { cipher = cipher, mode = "cbc", size, 16, 16 }
  known[cipher .. "-ecb"] = { cipher = cipher, mode = "ecb", size, 0, 16 }
  known[cipher .. "-ctr"] = { cipher = cipher, mode = "ctr", size, 16, 1 }
  known[cipher .. "-gcm"] = { cipher = cipher, mode = "gcm", size, 12, 1 }
  known[cipher .. "-wrap"] = { cipher = cipher, mode = "wrap", size, 8, 8 }
  aliases["id-aes" .. bits .. "-gcm"] = cipher .. "-gcm"
  aliases["id-aes" .. bits .. "-wrap"] = cipher .. "-wrap"
end
known["des-ede3-cbc"] = { cipher = "des-ede3", mode = "cbc", 24, 8, 8 }
known["des-ede3-ecb"] = { cipher = "des-ede3", mode = "ecb", 24, 0, 8 }

function _M.new(name)
  if not name then
    return nil, "cipher.new: expect type to be defined"
  end
  local lower = tostring(name):lower()
  local found = known[aliases[lower] or lower]
  if not found then
    return nil, ("cipher.new: invalid cipher type \"%s\": error:308010C:digital envelope routines:"
      .. "inner_evp_generic_fetch:unsupported:crypto/evp/evp_fetch.c:375:"):format(tostring(name))
  end
  return setmetatable({
    ctx = true, cipher = found.cipher, mode = found.mode, initialized = false,
    key_size = found[1], iv_size = found[2], block_size = found[3],
  }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M.set_buffer_size()
  return true
end

function _M:get_provider_name()
  return "default"
end

function _M:init(key, iv, options)
  options = options or {}
  if not key or #key ~= self.key_size then
    return false, ("cipher:init: incorrect key size, expect %d"):format(self.key_size)
  elseif self.iv_size > 0 and (not iv or #iv ~= self.iv_size) then
    return false, ("cipher:init: incorrect iv size, expect %d"):format(self.iv_size)
  end
  self.key, self.iv = key, iv or ""
  self.encrypts = not not options.is_encrypt
  self.pads = not options.no_padding
  self.aad, self.tag, self.rest, self.done = "", nil, "", 0
  -- What GCM makes a tag of, at the end.
  self.text = {}
  self.initialized = true
  return true
end

local function blocks(self, text)
  local out = host.cipher_blocks(self.cipher, self.mode, self.encrypts, self.key, self.iv, text)
  if out and self.mode == "cbc" and text ~= "" then
    self.iv = (self.encrypts and out or text):sub(-self.block_size)
  end
  return out
end

-- Blocks go out when they are whole; the last one of a text with padding waits for the end.
local function update_blocks(self, text)
  text = self.rest .. text
  local keep = #text % self.block_size
  if not self.encrypts and self.pads and keep == 0 and text ~= "" then
    keep = self.block_size
  end
  self.rest = text:sub(#text - keep + 1)
  return blocks(self, text:sub(1, #text - keep))
end

local function final_blocks(self)
  local size, rest = self.block_size, self.rest
  self.rest = ""
  if not self.pads then
    return rest == "" and "" or nil
  elseif self.encrypts then
    local pad = size - #rest
    return blocks(self, rest .. string.char(pad):rep(pad))
  end
  local text = #rest == size and blocks(self, rest)
  local pad = text and text:byte(-1) or 0
  if pad < 1 or pad > size or text:sub(-pad) ~= string.char(pad):rep(pad) then
    return nil
  end
  return text:sub(1, -pad - 1)
end

-- RFC 3394.
local function wrap(self, text)
  local function block(bytes)
    return host.cipher_blocks(self.cipher, "ecb", self.encrypts, self.key, "", bytes)
  end
  local function mix(register, count)
    local a, b = register:byte(7, 8)
    a, b = bit.bxor(a, math.floor(count / 256)), bit.bxor(b, count % 256)
    return register:sub(1, 6) .. string.char(a, b)
  end
  local parts = {}
  for part in text:gmatch(("."):rep(8)) do
    parts[#parts + 1] = part
  end
  if #text % 8 ~= 0 or #parts < (self.encrypts and 2 or 3) or #parts > 1024 then
    return nil
  end
  if self.encrypts then
    local register = self.iv
    for round = 0, 5 do
      for i, part in ipairs(parts) do
        local out = block(register .. part)
        register, parts[i] = mix(out:sub(1, 8), #parts * round + i), out:sub(9)
      end
    end
    return register .. table.concat(parts)
  end
  local register = table.remove(parts, 1)
  for round = 5, 0, -1 do
    for i = #parts, 1, -1 do
      local out = block(mix(register, #parts * round + i) .. parts[i])
      register, parts[i] = out:sub(1, 8), out:sub(9)
    end
  end
  return register == self.iv and table.concat(parts) or nil
end

local function update_one(self, text)
  local mode = self.mode
  if mode == "cbc" or mode == "ecb" then
    return update_blocks(self, text)
  elseif mode == "wrap" then
    return wrap(self, text)
  end
  self.text[#self.text + 1] = text
  if mode == "aead" then
    return ""
  end
  local out = host.cipher_stream(self.cipher, mode, self.key, self.iv, self.done, text)
  self.done = self.done + #text
  return out
end

-- The text of GCM has gone out; here its tag is made or compared.
local function final_aead(self)
  local text = table.concat(self.text)
  local function seal(plain)
    local sealed = host.cipher_seal(self.cipher, self.key, self.iv, self.aad, plain)
    return sealed:sub(1, -17), sealed:sub(-16)
  end
  if self.encrypts then
    local out, tag = seal(text)
    self.tag = tag
    return self.mode == "aead" and out or ""
  elseif not self.tag or #self.tag > 16 or #self.tag < 4 then
    return nil
  elseif self.mode == "aead" then
    return #self.tag == 16
      and host.cipher_open(self.cipher, self.key, self.iv, self.aad, text .. self.tag)
  end
  local plain = host.cipher_stream(self.cipher, "gcm", self.key, self.iv, 0, text)
  local _, tag = seal(plain)
  return host.equal(tag:sub(1, #self.tag), self.tag) and "" or nil
end

function _M:update(...)
  if not self.initialized then
    return nil, "cipher:update: cipher not initalized, call cipher:init first"
  end
  local out = {}
  for i = 1, select("#", ...) do
    out[i] = update_one(self, (select(i, ...)))
    if not out[i] then
      return nil, "cipher:update failed"
    end
  end
  return table.concat(out)
end

function _M:final(text)
  if not self.initialized then
    return nil, "cipher:update: cipher not initalized, call cipher:init first"
  end
  local first = ""
  if text then
    first = update_one(self, text)
    if not first then
      return nil, "cipher:final failed"
    end
  end
  local last = ""
  if self.mode == "cbc" or self.mode == "ecb" then
    last = final_blocks(self)
  elseif self.mode == "gcm" or self.mode == "aead" then
    last = final_aead(self)
  end
  if not last then
    local bad_pad = self.mode == "cbc" or self.mode == "ecb"
    return nil, bad_pad and not self.encrypts
      and "cipher:final: EVP_CipherFinal_ex: error:1C800064:Provider routines:"
        .. "ossl_cipher_unpadblock:bad decrypt:providers/implementations/ciphers/"
        .. "ciphercommon_block.c:107:"
      or "cipher:final: EVP_CipherFinal_ex failed"
  end
  return first .. last
end

function _M:encrypt(key, iv, text, no_padding, aad)
  local ok, err = self:init(key, iv, { is_encrypt = true, no_padding = no_padding })
  if not ok then
    return nil, err
  end
  if aad then
    self:update_aead_aad(aad)
  end
  return self:final(text)
end

function _M:decrypt(key, iv, text, no_padding, aad, tag)
  local ok, err = self:init(key, iv, { is_encrypt = false, no_padding = no_padding })
  if not ok then
    return nil, err
  end
  if aad then
    self:update_aead_aad(aad)
  end
  if tag then
    ok, err = self:set_aead_tag(tag)
    if not ok then
      return nil, err
    end
  end
  return self:final(text)
end

function _M:update_aead_aad(aad)
  if not self.initialized then
    return nil, "cipher:update_aead_aad: cipher not initalized, call cipher:init first"
  end
  self.aad = self.aad .. aad
  return true
end

function _M:get_aead_tag(size)
  if not self.initialized then
    return nil, "cipher:get_aead_tag: cipher not initalized, call cipher:init first"
  end
  size = size or self.key_size / 2
  if size > self.key_size then
    return nil, ("tag size %d is too large"):format(size)
  elseif not self.tag or size > #self.tag then
    return nil, "cipher:get_aead_tag failed"
  end
  return self.tag:sub(1, size)
end

function _M:set_aead_tag(tag)
  if not self.initialized then
    return nil, "cipher:set_aead_tag: cipher not initalized, call cipher:init first"
  elseif type(tag) ~= "string" then
    return false, "cipher:set_aead_tag expect a string at #1"
  end
  self.tag = tag
  return true
end

-- OpenSSL's `EVP_BytesToKey`: the key and the initialization vector of a password.
function _M:derive(password, salt, count, digest)
  if type(password) ~= "string" then
    return nil, nil, "cipher:derive: expect a string at #1"
  elseif salt and type(salt) ~= "string" then
    return nil, nil, "cipher:derive: expect a string at #2"
  elseif digest and not host.digest(digest, "") then
    return nil, nil, ("cipher:derive: invalid digest type \"%s\""):format(digest)
  end
  -- Eight bytes of salt are used, as OpenSSL has it.
  salt = (salt or ""):sub(1, 8)
  local bytes, last = "", ""
  while #bytes < self.key_size + self.iv_size do
    last = host.digest(digest or "sha1", last .. password .. salt)
    for _ = 2, count or 1 do
      last = host.digest(digest or "sha1", last)
    end
    bytes = bytes .. last
  end
  return bytes:sub(1, self.key_size), bytes:sub(self.key_size + 1, self.key_size + self.iv_size)
end

return _M
