-- Lua's operators as functions: Penlight's `operator`.

local _M = {}

function _M.call(f, ...) return f(...) end
function _M.index(t, key) return t[key] end
function _M.eq(a, b) return a == b end
function _M.neq(a, b) return a ~= b end
function _M.lt(a, b) return a < b end
function _M.le(a, b) return a <= b end
function _M.gt(a, b) return a > b end
function _M.ge(a, b) return a >= b end
function _M.len(a) return #a end
function _M.add(a, b) return a + b end
function _M.sub(a, b) return a - b end
function _M.mul(a, b) return a * b end
function _M.div(a, b) return a / b end
function _M.pow(a, b) return a ^ b end
function _M.mod(a, b) return a % b end
function _M.concat(a, b) return a .. b end
function _M.unm(a) return -a end
function _M.lnot(a) return not a end
function _M.land(a, b) return a and b end
function _M.lor(a, b) return a or b end
function _M.table(...) return { ... } end
function _M.match(text, pattern) return text:find(pattern) ~= nil end
function _M.nop(...) return ... end

local SIGNS = {
  ["+"] = "add", ["-"] = "sub", ["*"] = "mul", ["/"] = "div", ["%"] = "mod", ["^"] = "pow",
  [".."] = "concat", ["()"] = "call", ["[]"] = "index", ["<"] = "lt", ["<="] = "le", [">"] = "gt",
  [">="] = "ge", ["=="] = "eq", ["~="] = "neq", ["#"] = "len", ["and"] = "land", ["or"] = "lor",
  ["{}"] = "table", ["~"] = "match", [""] = "nop",
}

_M.optable = {}
for sign, name in pairs(SIGNS) do
  _M.optable[sign] = _M[name]
end

return _M
