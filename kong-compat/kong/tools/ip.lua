-- Addresses: IPv4, IPv6 and names, with or without a port.

local host = require "silverback.host"

local _M = {}

_M.is_valid_ip = host.is_ip
_M.is_valid_ip_or_cidr = host.is_ip_or_cidr

function _M.is_valid_ip_or_cidr_v4(text)
  return not text:find(":", 1, true) and host.is_ip_or_cidr(text)
end

-- What an address looks like, valid or not.
function _M.hostname_type(address)
  local without_colons, colons = address:gsub(":", "")
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
  if not host.is_ip(ip) then
    return nil, "invalid ipv6 address: " .. address
  end
  return ip:lower(), port
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

-- { host =, type = "ipv4" | "ipv6" | "name", port = }, or nil and what is wrong.
function _M.normalize_ip(address)
  local kind = _M.hostname_type(address)
  local normalized, port_or_err = parsers[kind](address)
  if not normalized then
    return nil, port_or_err
  end
  return { host = normalized, type = kind, port = port_or_err }
end

return _M
