-- The module `resty.openssl.bn`: whole numbers of any size.

local host = require "silverback.host"

local _M = {}
local mt = { __index = _M }

local function wrap(ctx)
  return setmetatable({ ctx = ctx }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

local function from_word(number)
  return host.bn_parse(("%.0f"):format(number), 10)
end

local readers = {
  binary = function(text)
    return "+" .. text:gsub("^%z+", "")
  end,
  hex = function(text)
    return host.bn_parse(text, 16)
  end,
  dec = function(text)
    return host.bn_parse(text, 10)
  end,
  -- Four bytes of length, and the sign in the highest bit.
  mpi = function(text)
    local body = text:sub(5)
    local first = body:byte()
    if first and first >= 0x80 then
      return "-" .. (string.char(first - 0x80) .. body:sub(2)):gsub("^%z+", "")
    end
    return "+" .. body:gsub("^%z+", "")
  end,
}
local bases = { [0] = "mpi", [2] = "binary", [10] = "dec", [16] = "hex" }

local function read(some, base)
  if type(some) == "number" then
    return from_word(some)
  elseif type(some) == "string" then
    local name = bases[base or 10]
    if not name then
      return nil, "set_bn: unsupported base: " .. tostring(base)
    end
    local ctx = readers[name](some)
    if not ctx then
      return nil, "set_" .. name .. " failed"
    end
    return ctx
  elseif some then
    return nil, "set_bn: expect nil, a number or a string at #1"
  end
  return "+"
end

function _M.new(some, base)
  local ctx, err = read(some, base)
  if not ctx then
    return nil, "bn.new: " .. err
  end
  return wrap(ctx)
end

for name, reader in pairs(readers) do
  _M["from_" .. name] = function(text)
    if type(text) ~= "string" then
      return nil, "bn.from_" .. name .. ": expect a string at #1"
    end
    local ctx = reader(text)
    if not ctx then
      return nil, "bn.from_" .. name .. ": set_" .. name .. " failed"
    end
    return wrap(ctx)
  end
end

function _M.dup(ctx)
  if type(ctx) ~= "string" then
    return nil, "bn.dup: expect a bn ctx at #1"
  end
  return wrap(ctx)
end

function _M:set(some, base)
  if not some then
    return nil, "expect a number or a string at #1"
  end
  local ctx, err = read(some, base)
  if not ctx then
    return nil, "bn:set: " .. err
  end
  self.ctx = ctx
  return self
end

function _M:to_binary(pad)
  if pad and type(pad) ~= "number" then
    return nil, "bn:to_binary: expect a number at #1"
  end
  local bytes = self.ctx:sub(2)
  if pad and #bytes > pad or not pad and bytes == "" then
    return nil, "bn:to_binary failed"
  end
  return pad and ("\0"):rep(pad - #bytes) .. bytes or bytes
end

function _M:to_mpi(no_header)
  local bytes = self.ctx:sub(2)
  if bytes:byte() and bytes:byte() >= 0x80 then
    bytes = "\0" .. bytes
  end
  if self.ctx:byte() == 45 and bytes ~= "" then
    bytes = string.char(bytes:byte() + 0x80) .. bytes:sub(2)
  end
  local length = #bytes
  local header = string.char(math.floor(length / 2 ^ 24), math.floor(length / 2 ^ 16) % 256,
    math.floor(length / 256) % 256, length % 256)
  return no_header and bytes or header .. bytes
end

function _M:to_hex()
  return host.bn_text(self.ctx, 16)
end

function _M:to_dec()
  return host.bn_text(self.ctx, 10)
end

mt.__tostring = _M.to_dec

function _M:to_number()
  local number = 0
  if #self.ctx > 9 then
    return 2 ^ 64
  end
  for i = 2, #self.ctx do
    number = number * 256 + self.ctx:byte(i)
  end
  return number
end
_M.tonumber = _M.to_number

local function operand(operation, value)
  if type(value) == "number" then
    return from_word(value)
  elseif _M.istype(value) then
    return value.ctx
  end
  error("cannot " .. operation .. " a " .. type(value) .. " to bignum", 3)
end

local function define(name, operation, words, failure)
  _M[name] = function(a, b, m)
    local x, y = operand(words, a), b ~= nil and operand(words, b) or "+"
    local ctx = host.bn(operation, x, y, m ~= nil and operand(words, m) or nil)
    if not ctx then
      error(failure .. "() failed", 2)
    end
    return wrap(ctx)
  end
end

define("add", "add", "add", "BN_add")
define("sub", "sub", "substract", "BN_sub")
define("mul", "mul", "multiply", "BN_mul")
define("div", "div", "divide", "BN_div")
define("mod", "mod", "mod", "BN_div")
define("gcd", "gcd", "extract greatest common divisor", "BN_gcd")
define("exp", "exp", "power", "BN_exp")
define("lshift", "lshift", "lshift", "BN_lshift")
define("rshift", "rshift", "rshift", "BN_rshift")
for _, name in ipairs { "add", "sub", "mul", "exp" } do
  define("mod_" .. name, "mod_" .. name, name, "BN_mod_" .. name)
end
_M.idiv, _M.pow = _M.div, _M.exp
mt.__add, mt.__sub, mt.__mul, mt.__div, mt.__mod = _M.add, _M.sub, _M.mul, _M.div, _M.mod

function _M.sqr(a)
  return _M.mul(a, a)
end

function _M.mod_sqr(a, m)
  return _M.mod_mul(a, a, m)
end

-- What `a` has to be multiplied with to give 1.
function _M.mod_inverse(a, m)
  local ctx = host.bn("mod_inverse", a.ctx, "+", m.ctx)
  return ctx and wrap(ctx)
end

function mt.__unm(a)
  return _M.sub(0, a)
end

function mt.__eq(a, b)
  return host.bn_compare(a.ctx, b.ctx) == 0
end

function mt.__lt(a, b)
  return host.bn_compare(a.ctx, b.ctx) < 0
end

function mt.__le(a, b)
  return host.bn_compare(a.ctx, b.ctx) <= 0
end

function _M:is_zero()
  return #self.ctx == 1
end

function _M:is_one()
  return self.ctx == "+\1"
end

function _M:is_word(number)
  return host.bn_compare(self.ctx, from_word(number)) == 0
end

function _M:is_odd()
  return #self.ctx > 1 and self.ctx:byte(-1) % 2 == 1
end

function _M:is_prime(checks)
  if checks and type(checks) ~= "number" then
    return nil, "bn:is_prime: expect a number at #1"
  end
  return host.bn_is_prime(self.ctx)
end

function _M.generate_prime(bits, safe)
  local ctx = host.bn_prime(bits, not not safe)
  if not ctx then
    return nil, "bn.BN_generate_prime_ex failed"
  end
  return wrap(ctx)
end

return _M
