-- Whether an address is in one of several networks, and what the narrowest of them stands for.

local host = require "silverback.host"

local _M = { _VERSION = 0.3 }
local matcher = { __index = _M }

local function parts(text)
  local address, length = text:match("^(.-)/(%d+)$")
  return address or text, tonumber(length)
end

-- The bytes of an address, and how many bits they are.
local function packed(text)
  local bytes = host.ip_bytes(text)
  return bytes, bytes and #bytes * 8
end

-- The first `length` bits of an address, as a key.
local function prefix(bytes, length)
  local whole, rest = math.floor(length / 8), length % 8
  local key = bytes:sub(1, whole)
  if rest > 0 then
    local mask = 256 - 2 ^ (8 - rest)
    key = key .. string.char(bit.band(bytes:byte(whole + 1), mask))
  end
  return #bytes .. "/" .. length .. "/" .. key
end

local function word(bytes, at)
  local a, b, c, d = bytes:byte(at, at + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- The number that an address is.
function _M.parse_ipv4(text)
  local bytes = type(text) == "string" and packed(text)
  return bytes and #bytes == 4 and word(bytes, 1) or false
end

function _M.parse_ipv6(text)
  if type(text) ~= "string" then
    return false
  end
  local bytes = packed(text:match("^%[(.*)%]$") or text)
  return bytes and #bytes == 16
    and { word(bytes, 1), word(bytes, 5), word(bytes, 9), word(bytes, 13) } or false
end

local function add(self, text, value)
  if type(text) ~= "string" then
    return nil, "invalid ip address: " .. tostring(text)
  end
  local address, length = parts(text)
  local bytes, bits = packed(address)
  if not bytes then
    return nil, "invalid ip address: " .. text
  end
  length = length or bits
  if length > bits then
    return nil, "invalid ip address: " .. text
  end
  self.networks[prefix(bytes, length)] = value
  self.lengths[bits] = self.lengths[bits] or {}
  self.lengths[bits][length] = true
  return true
end

local function build(step, state, first)
  local self = { networks = {}, lengths = {}, ordered = {} }
  for text, value in step, state, first do
    local ok, err = add(self, text, value)
    if not ok then
      return nil, err
    end
  end
  for bits, lengths in pairs(self.lengths) do
    local list = {}
    for length in pairs(lengths) do
      list[#list + 1] = length
    end
    table.sort(list, function(a, b) return a > b end)
    self.ordered[bits] = list
  end
  return setmetatable(self, matcher)
end

-- A list of addresses and networks.
function _M.new(list)
  if type(list) ~= "table" then
    error("missing valid ip argument", 2)
  end
  local i = 0
  return build(function()
    i = i + 1
    return list[i], true
  end)
end

-- Values by address or network.
function _M.new_with_value(values)
  if type(values) ~= "table" then
    error("missing valid ip argument", 2)
  end
  return build(pairs(values))
end

-- What stands for the narrowest network that an address is in.
local function found(self, bytes, bits)
  for _, length in ipairs(self.ordered[bits] or {}) do
    local value = self.networks[prefix(bytes, length)]
    if value ~= nil then
      return value
    end
  end
  return false
end

function _M.match(self, text)
  local bytes, bits = nil, nil
  if type(text) == "string" then
    bytes, bits = packed(text)
  end
  if not bytes then
    return false, "invalid ip address, not ipv4 and ipv6"
  end
  return found(self, bytes, bits)
end

-- The same for the four or sixteen bytes of an address.
function _M.match_bin(self, bytes)
  if type(bytes) ~= "string" or #bytes ~= 4 and #bytes ~= 16 then
    return false, "invalid ip address, not ipv4 and ipv6"
  end
  return found(self, bytes, #bytes * 8)
end

return _M
