-- Media types (RFC 2045): their parts, and which of them stand for others.

local _M = {}

local TOKEN = "^[^%c%s%z\128-\255()<>@,;:\\\"/%[%]?={}]+"

-- The value of a parameter and the rest: a token, or a text in quotes.
local function value_of(rest)
  local token = rest:match(TOKEN)
  if token then
    return token, rest:sub(#token + 1)
  elseif rest:sub(1, 1) ~= '"' then
    return nil
  end
  local at = 2
  while true do
    local special = rest:find('[%c"\\]', at)
    local char = special and rest:sub(special, special)
    if char == '"' then
      return rest:sub(2, special - 1), rest:sub(special + 1)
    elseif char ~= "\\" or special == #rest then
      return nil
    end
    at = special + 2
  end
end

local function parameters_of(rest)
  local parameters = {}
  while rest ~= "" do
    local behind = rest:match("^[ \t]*;[ \t]*(.*)$")
    local name = behind and behind:match(TOKEN)
    if not name or behind:sub(#name + 1, #name + 1) ~= "=" then
      return nil
    end
    local value
    value, rest = value_of(behind:sub(#name + 2))
    if not value then
      return nil
    end
    parameters[name:lower()] = value
  end
  return parameters
end

-- Type, subtype and parameters; nothing if it is none.
function _M.parse_mime_type(text)
  text = type(text) == "number" and tostring(text) or text
  local kind = text:match(TOKEN)
  local rest = kind and text:sub(#kind + 1)
  local subtype = rest and rest:sub(1, 1) == "/" and rest:sub(2):match(TOKEN)
  if subtype then
    rest = rest:sub(#subtype + 2)
  elseif text:sub(1, 1) == "*" then
    kind, subtype, rest = "*", "*", text:sub(2)
  else
    return nil
  end
  local parameters = parameters_of(rest)
  if parameters then
    return kind:lower(), subtype:lower(), parameters
  end
end

-- Whether a type stands for another: `*/*`, `text/*`, and `application/json` for any `+json`.
function _M.includes(this, other)
  if type(this) ~= "table" then
    error("this must be a table", 2)
  elseif type(other) ~= "table" then
    error("other must be a table", 2)
  end
  if this.type == "*" then
    return true
  elseif this.type ~= other.type then
    return false
  elseif this.subtype == other.subtype or this.subtype == "*" then
    return true
  end
  local suffix = "+" .. this.subtype
  return not this.subtype:find("+", 1, true) and other.subtype:sub(-#suffix) == suffix
end

return _M
