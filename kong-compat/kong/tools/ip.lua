-- Addresses: IPv4, IPv6 and names, with or without a port.

local host = require "silverback.host"

local _M = {}

local function is_four(text)
  return not text:find(":", 1, true)
end

local function is_range(text)
  return text:find("/", 1, true) ~= nil and host.is_ip_or_cidr(text)
end

-- What is no text is no address.
local function of(check, four)
  return function(text)
    return type(text) == "string" and check(text) and (four == nil or is_four(text) == four)
  end
end

_M.is_valid_ip = of(host.is_ip)
_M.is_valid_ipv4, _M.is_valid_ipv6 = of(host.is_ip, true), of(host.is_ip, false)
_M.is_valid_cidr, _M.is_valid_cidr_v4 = of(is_range), of(is_range, true)
_M.is_valid_cidr_v6 = of(is_range, false)
_M.is_valid_ip_or_cidr_v6 = of(host.is_ip_or_cidr, false)
_M.is_valid_ip_or_cidr = of(host.is_ip_or_cidr)
_M.is_valid_ip_or_cidr_v4 = of(host.is_ip_or_cidr, true)

-- What an address looks like, valid or not.
function _M.hostname_type(address)
  local without_colons, colons = string.gsub(address, ":", "")
  if colons > 1 then
    return "ipv6"
  end
  return without_colons:find("^[%d%.]+$") and "ipv4" or "name"
end

-- Splits a port off. The third value is an error.
local function split_port(address, pattern)
  local rest, digits = address:match(pattern)
  if not rest then
    return address
  end
  local port = tonumber(digits)
  if port > 65535 then
    return nil, nil, "invalid port number"
  end
  return rest, port
end

local parsers = {}

function parsers.ipv4(address)
  local ip, port, err = split_port(address, "^([^:]*):(%d+)$")
  if err then
    return nil, err
  end
  local parts = { ip:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$") }
  for i, part in ipairs(parts) do
    parts[i] = tonumber(part)
  end
  local normalized = table.concat(parts, ".")
  if not host.is_ip(normalized) then
    return nil, "invalid ipv4 address: " .. address
  end
  return normalized, port
end

function parsers.ipv6(address)
  local ip, port, err = split_port(address, "^(%[.*%]):(%d+)$")
  if err then
    return nil, err
  end
  ip = ip:match("^%[(.*)%]$") or ip
  if not host.is_ip(ip) or is_four(ip) then
    return nil, "invalid ipv6 address: " .. address
  end
  local words = {}
  for high, low in host.ip_bytes(ip):gmatch("(.)(.)") do
    words[#words + 1] = ("%02x%02x"):format(high:byte(), low:byte())
  end
  return table.concat(words, ":"), port
end

function parsers.name(address)
  local name, port, err = split_port(address, "^(.*):(%d+)$")
  if err then
    return nil, err
  end
  -- Labels are separated by single dots and do not end in a hyphen; one dot may close the name.
  local labels = name:gsub("%.$", "")
  if not name:find("^[%w%-%._]+$")
    or labels == ""
    or ("." .. labels .. "."):find("..", 1, true)
    or (labels .. "."):find("-.", 1, true)
  then
    return nil, "invalid hostname: " .. address
  end
  return name, port
end

_M.normalize_ipv4, _M.normalize_ipv6 = parsers.ipv4, parsers.ipv6
_M.check_hostname = parsers.name

-- { host =, type = "ipv4" | "ipv6" | "name", port = }, or nil and what is wrong.
function _M.normalize_ip(address)
  local kind = _M.hostname_type(address)
  local normalized, port_or_err = parsers[kind](address)
  if not normalized then
    return nil, port_or_err
  end
  return { host = normalized, type = kind, port = port_or_err }
end

-- An address as URLs have it. Takes what the functions above return, errors among it.
function _M.format_host(address, port)
  local kind = type(address)
  if kind == "nil" then
    return nil, port
  elseif kind ~= "table" and kind ~= "string" then
    return nil, "cannot format type '" .. kind .. "'"
  end
  local name = kind == "table" and address.host or address
  port = kind == "table" and address.port or port
  local suffix = port and ":" .. port or ""
  if _M.hostname_type(name) == "ipv6" and not name:find("[", 1, true) then
    return "[" .. _M.normalize_ipv6(name) .. "]" .. suffix
  end
  return name .. suffix
end

return _M
