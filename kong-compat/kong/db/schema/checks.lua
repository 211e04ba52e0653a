-- The checks behind typedefs: true, or nil and Kong's text.

local host = require "silverback.host"
local normalize = require("kong.tools.uri").normalize
local tools_ip = require "kong.tools.ip"
local tools_string = require "kong.tools.string"
local url = require "socket.url"

local checks = {}

-- The parsed address, or nil and what is wrong with it as the value of a field.
local function address(value, allowed)
  local parsed, err = tools_ip.normalize_ip(value)
  if err == "invalid port number" then
    return nil, "must not have a port"
  elseif not parsed then
    return nil, "invalid value: " .. value
  elseif allowed == "name" and parsed.type ~= "name" then
    return nil, "must not be an IP"
  elseif parsed.port then
    return nil, "must not have a port"
  end
  return parsed
end

function checks.host(value)
  return address(value)
end

function checks.sni(value)
  return address(value, "name")
end

function checks.wildcard_host(value)
  local at = value:find("*", 1, true)
  if at and at ~= 1 and at ~= #value then
    return nil, "wildcard must be leftmost or rightmost character"
  end
  local name, count = value:gsub("%*", "wildcard")
  if count > 1 then
    return nil, "only one wildcard must be specified"
  end
  return address(name, "name")
end

function checks.host_with_optional_port(value)
  return tools_ip.normalize_ip(value)
end

function checks.host_with_wildcards(value)
  return tools_ip.normalize_ip((value:gsub("%*", "any")))
end

function checks.ip(value)
  return tools_ip.is_valid_ip(value), "not an ip address: " .. value
end

function checks.ip_or_cidr(value)
  return tools_ip.is_valid_ip_or_cidr(value), ("invalid ip or cidr range: '%s'"):format(value)
end

function checks.ip_or_cidr_v4(value)
  return tools_ip.is_valid_ip_or_cidr_v4(value), ("invalid ipv4 cidr range: '%s'"):format(value)
end

-- The part of an escape that is not one, such as `%4` or `%zz`.
local function bad_escape(path)
  local rest = path:gsub("%%%x%x", "___")
  return rest:match("%%.?.?")
end

function checks.path(path)
  if not path:find("^/[%w%.%-_~/%%:@!$&'()*+,;=]*$") then
    local err = "invalid path: '%s' (characters outside of the reserved list of RFC 3986 found)"
    return nil, err:format(path)
  end
  local escape = bad_escape(path)
  if escape then
    return nil, ("invalid url-encoded value: '%s'"):format(escape)
  end
  return true
end

function checks.router_path(path)
  local ok, err = checks.path(path)
  if not ok and err:find("invalid url-encoded", 1, true) then
    return nil, err
  end
  local pattern = path:match("^~(.*)")
  if not pattern then
    local normalized = normalize(path, true)
    if path == normalized then
      return true
    end
    return nil, ("non-normalized path, consider use '%s' instead"):format(normalized)
  end
  err = host.regex_error(pattern)
  if err then
    return nil, ("invalid regex: '%s' (PCRE returned: %s)"):format(pattern, err)
  end
  return true
end

function checks.url(value)
  local parsed, err = url.parse(value)
  if not parsed then
    return nil, "could not parse url. " .. err
  elseif not parsed.host then
    return nil, "missing host in url"
  elseif not parsed.scheme then
    return nil, "missing scheme in url"
  end
  return true
end

function checks.name(name)
  if name:find("^[%w%.%-_~]+$") then
    return true
  end
  local err = "invalid value '%s': it must only contain alphanumeric and '., -, _, ~' characters"
  return nil, err:format(name)
end

-- Characters outside of ASCII are allowed where `pattern` allows their bytes.
local function utf8(value, pattern, err)
  local ok, position = tools_string.validate_utf8(value)
  if not ok then
    return nil, "invalid utf-8 character sequence detected at position " .. position
  end
  if not value:find(pattern) then
    return nil, err:format(value)
  end
  return true
end

function checks.utf8_name(name)
  return utf8(name, "^[%w%.%-_~\128-\244]+$",
    "invalid value '%s': the only accepted ascii characters are alphanumerics or ., -, _, and ~")
end

function checks.tag(tag)
  return utf8(tag, "^[ -+%-.0-~\128-\244]+$",
    "invalid tag '%s': expected printable ascii (except `,` and `/`) or valid utf-8 sequences")
end

function checks.certificate(pem)
  local err = host.certificate_error(pem)
  if err then
    return nil, "invalid certificate: " .. err
  end
  return true
end

function checks.key(pem)
  local err = host.key_error(pem)
  if err then
    return nil, "invalid key: " .. err
  end
  return true
end

-- A pair of keys, of which one may be left out or be a reference.
function checks.pem(pair)
  local function given(key)
    return type(key) == "string" and not key:find("^{vault://") and key or nil
  end
  local public, private = given(pair.public_key), given(pair.private_key)
  if public and host.public_key_error(public) then
    return nil, "could not load public key"
  elseif private and host.key_error(private) then
    return nil, "could not load private key"
  elseif public and private and host.pair_differs(public, private) then
    return nil, "public key does not match private key"
  end
  return true
end

function checks.lua_code(code)
  return require("kong.tools.sandbox").validate_safe(code)
end

return checks
