-- UUIDs of versions 3, 4 and 5, and whether a text is one.

local uuid = require "kong.tools.uuid"

local _M = { _VERSION = "0.0.7" }

-- Randomness is the system's; there is nothing to seed.
function _M.seed(seed)
  return seed or 0
end

function _M.generate_v4()
  return uuid.uuid()
end

function _M.is_valid(text)
  return type(text) == "string" and uuid.is_valid_uuid(text)
end

-- A UUID of the bytes of a digest (RFC 4122, section 4.3).
local function of_digest(digest, version)
  local bytes = { digest:byte(1, 16) }
  bytes[7] = bytes[7] % 16 + version * 16
  bytes[9] = bytes[9] % 64 + 128
  local shape = "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x"
  return shape:format(unpack(bytes))
end

-- Makers of UUIDs for names within a namespace, which is a UUID itself.
local function factory(digest, version)
  return function(namespace)
    if not _M.is_valid(namespace) then
      return nil, "namespace must be a valid UUID"
    end
    local prefix = namespace:gsub("-", ""):gsub("%x%x", function(byte)
      return string.char(tonumber(byte, 16))
    end)
    return function(name)
      if type(name) ~= "string" then
        return nil, "name must be a string"
      end
      return of_digest(digest(prefix .. name), version)
    end
  end
end

_M.factory_v3, _M.factory_v5 = factory(ngx.md5_bin, 3), factory(ngx.sha1_bin, 5)

local function generator(make)
  return function(namespace, name)
    local maker, err = make(namespace)
    if not maker then
      return nil, err
    end
    return maker(name)
  end
end

_M.generate_v3, _M.generate_v5 = generator(_M.factory_v3), generator(_M.factory_v5)

return setmetatable(_M, { __call = function() return uuid.uuid() end })
