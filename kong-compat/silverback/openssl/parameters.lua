-- The numbers of a key under lua-resty-openssl's names, for `resty.openssl.pkey`.

local bn = require "resty.openssl.bn"
local host = require "silverback.host"
local keys = require "silverback.openssl.keys"

local _M = {}

local RSA = { n = "n", e = "e", d = "d", p = "p", q = "q", dmp1 = "dp", dmq1 = "dq", iqmp = "qi" }

function _M.read(key)
  local found = {}
  if key.kind == "RSA" then
    keys.complete(key)
    for name, own in pairs(RSA) do
      found[name] = key[own] and bn.from_binary(key[own])
    end
  elseif key.kind == "EC" then
    local curve = keys.curves[key.curve]
    found.group = curve.nid
    found.public = bn.from_binary(key.point)
    found.x = bn.from_binary(key.point:sub(2, curve.size + 1))
    found.y = bn.from_binary(key.point:sub(curve.size + 2))
    found.private = key.d and bn.from_binary(key.d)
  else
    found.public, found.private = key.public, key.d
  end
  return found
end

local function bytes_of(number)
  return bn.istype(number) and number.ctx:sub(2) or nil
end

local function rsa(options, old)
  local key = { kind = "RSA" }
  for name, own in pairs(RSA) do
    if options[name] ~= nil and not bn.istype(options[name]) then
      return nil, "expect value to be a bn instance"
    end
    key[own] = bytes_of(options[name]) or old and old[own]
  end
  if not key.n or not key.e then
    return nil, "failed to construct RSA key from parameters: n and e are needed"
  end
  return key
end

local function ec(options, old)
  local curve = keys.curve_of(options.group or old and old.curve)
  if not curve then
    return nil, "ec.set_parameters: cannot use parameter \"group\":invalid NID text "
      .. tostring(options.group)
  elseif (options.x == nil) ~= (options.y == nil) then
    return nil, "ec.set_parameters: \"x\" and \"y\" parameter must be defined at same time "
      .. "or both undefined"
  end
  local point = bytes_of(options.public)
  if options.x then
    local size = keys.curves[curve].size
    point = "\4" .. (options.x:to_binary(size) or "") .. (options.y:to_binary(size) or "")
  end
  local d = bytes_of(options.private)
  if not point and not d and old then
    point, d = old.point, old.d
  end
  local key = keys.on_curve(curve, point, d)
  return key, not key and "ec.set_parameters: EC_KEY_set_public_key failed" or nil
end

local function ed25519(options)
  local public = options.private and host.ed25519_public(options.private) or options.public
  if not public or #public ~= 32 then
    return nil, "no parameter is specified"
  end
  return { kind = "ED25519", public = public, d = options.private }
end

local kinds = { RSA = rsa, EC = ec, ED25519 = ed25519 }

function _M.compose(config)
  local build = kinds[tostring(config.type or "RSA"):upper()]
  if not build then
    return nil, "unsupported type " .. tostring(config.type)
  end
  return build(config.params)
end

function _M.change(key, options)
  return kinds[key.kind](options, key)
end

return _M
