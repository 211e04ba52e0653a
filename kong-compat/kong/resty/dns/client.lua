-- What plugins use of Kong's DNS client. Names are resolved as those of upstreams are.

local dns = require "silverback.dns"

local _M = {}

-- It is set up already.
function _M.init()
  return true
end

-- Address, port, and what was tried; nil, what went wrong, and what was tried. An SRV record has a
-- port of its own.
function _M.toip(name, port, _, tried)
  local ip, its_port = dns.toip(name, port)
  return ip, its_port, tried or {}
end

-- One record with the address of a name; nil, what went wrong, and what was tried.
function _M.resolve(name, _, _, tried)
  local ip, err = dns.toip(name, 0)
  if not ip then
    return nil, err, tried or {}
  end
  local kind = ip:find(":", 1, true) and 28 or 1
  return { { name = name, type = kind, class = 1, ttl = 0, address = ip } }, nil, tried or {}
end

return _M
