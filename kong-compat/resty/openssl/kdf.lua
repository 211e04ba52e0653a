-- The module `resty.openssl.kdf`: PBKDF2, HKDF and scrypt.

local host = require "silverback.host"

local _M = {
  HKDEF_MODE_EXTRACT_AND_EXPAND = 0,
  HKDEF_MODE_EXTRACT_ONLY = 1,
  HKDEF_MODE_EXPAND_ONLY = 2,
  -- OpenSSL's numbers.
  PBKDF2 = 69,
  SCRYPT = 973,
  TLS1_PRF = 1021,
  HKDF = 1036,
}
local mt = { __index = _M }

local modes = { EXTRACT_AND_EXPAND = 0, EXTRACT_ONLY = 1, EXPAND_ONLY = 2 }

-- RFC 5869.
local function hkdf(digest, mode, key, salt, info, length)
  mode = modes[mode] or tonumber(mode) or 0
  local size = #(host.digest(digest, "") or "")
  if size == 0 then
    return nil
  end
  if mode ~= 2 then
    key = host.hmac(digest, salt or "", key)
  end
  if mode == 1 then
    return key
  end
  if length > 255 * size then
    return nil
  end
  local blocks, block = {}, ""
  for i = 1, math.ceil(length / size) do
    block = host.hmac(digest, key, block .. (info or "") .. string.char(i))
    blocks[i] = block
  end
  return table.concat(blocks):sub(1, length)
end

local kinds = {}

function kinds.PBKDF2(length, o)
  if not o.pass or not o.salt then
    return nil
  end
  -- 2048 rounds of SHA-1 is what OpenSSL does if it is told nothing.
  return host.pbkdf2(o.digest or "sha1", o.pass, o.salt, tonumber(o.iter) or 2048, length)
end

function kinds.HKDF(length, o)
  return o.digest and o.key and hkdf(o.digest, o.mode, o.key, o.salt, o.info, length)
end

function kinds.SCRYPT(length, o)
  return o.pass and o.salt and host.scrypt(o.pass, o.salt, tonumber(o.n) or 2 ^ 20,
    tonumber(o.r) or 8, tonumber(o.p) or 1, length, tonumber(o.maxmem_bytes) or 1025 * 2 ^ 20)
end

function _M.new(kind)
  local derive = type(kind) == "string" and kinds[kind:upper()]
  if not derive then
    return nil, ("kdf.new: invalid KDF type \"%s\": error:308010C:digital envelope routines:"
      .. "inner_evp_generic_fetch:unsupported:crypto/evp/evp_fetch.c:375:"):format(tostring(kind))
  end
  return setmetatable({ ctx = true, kind = derive, options = {} }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

-- An option stays until it is set anew or `reset` is called, as in OpenSSL.
function _M:set_params(options)
  for name, value in pairs(options) do
    self.options[name] = value
  end
  return true
end

function _M:reset()
  self.options = {}
  return true
end

function _M:get_provider_name()
  return "default"
end

local function has(options, name)
  if options[name] == nil then
    return nil, "kdf.derive: \"" .. name .. "\" must be set"
  end
  return true
end

local function derive_pbkdf2(o)
  return host.pbkdf2(o.md or "sha1", o.pass or "", o.salt or "", o.pbkdf2_iter or 1, o.outlen)
end

local function derive_hkdf(o)
  local mode = o.hkdf_mode or 0
  if mode == 0 and (not o.salt or not o.hkdf_info) then
    return nil, '""salt" and "hkdf_info" are required for EXTRACT_AND_EXPAND mode'
  elseif mode == 1 and not o.salt then
    return nil, '"salt" is required for EXTRACT_ONLY mode'
  end
  return hkdf(o.md or "sha1", mode, o.hkdf_key, o.salt, o.hkdf_info, o.outlen)
end

local function derive_scrypt(o)
  return host.scrypt(o.pass or "", o.salt or "", o.scrypt_N, o.scrypt_r, o.scrypt_p, o.outlen,
    o.scrypt_maxmem)
end

local legacy = {
  [_M.PBKDF2] = { derive_pbkdf2 },
  [_M.HKDF] = { derive_hkdf, "hkdf_key" },
  [_M.SCRYPT] = { derive_scrypt, "scrypt_N", "scrypt_r", "scrypt_p" },
}

-- The older form: everything in one table, `type` among it.
local function derive_legacy(options)
  local kind = options.type
  if not kind then
    return nil, "kdf.derive: \"type\" must be set"
  elseif type(kind) ~= "number" then
    return nil, "kdf.derive: expect a number as \"type\""
  end
  local known = legacy[kind]
  if not known then
    return nil, ("kdf.derive: unknown type %d"):format(kind)
  end
  local ok, err = has(options, "outlen")
  for i = 2, #known do
    if ok then
      ok, err = has(options, known[i])
    end
  end
  if not ok then
    return nil, err
  elseif options.md and not host.digest(options.md, "") then
    return nil, ("kdf.derive: invalid digest type \"%s\""):format(options.md)
  end
  local key, why = known[1](options)
  if not key then
    return nil, "kdf.derive" .. (why and ": " .. why or " failed")
  end
  return key
end

function _M:derive(length, options)
  if not _M.istype(self) then
    return derive_legacy(self)
  end
  self:set_params(options or {})
  local ok, key = pcall(self.kind, length or 0, self.options)
  if not ok or not key then
    return nil, "kdf:derive failed"
  end
  return key
end

_M.derive_legacy = derive_legacy

return _M
