-- What assertions, spies and matchers have in common: comparing, copying, words of a name.

local util = {}

local function has_eq(a, b)
  local mt = getmetatable(a)
  local eq = type(mt) == "table" and rawget(mt, "__eq")
  return eq and getmetatable(b) == mt or false
end

local function matches(a, b)
  local mt = type(b) == "table" and getmetatable(b)
  return type(mt) == "table" and mt.is_matcher
end

-- Whether two values are the same all the way down; where not, the keys that lead to the
-- difference, innermost first.
function util.deepcompare(a, b, ignore_mt, seen)
  if matches(a, b) then
    return b(a), {}
  elseif type(a) ~= "table" or type(b) ~= "table" then
    return a == b, {}
  elseif a == b or (not ignore_mt and has_eq(a, b)) then
    return a == b, {}
  end
  seen = seen or {}
  seen[a] = seen[a] or {}
  if seen[a][b] then
    return true
  end
  seen[a][b] = true
  for key, value in next, a do
    local equal, crumbs = util.deepcompare(value, b[key], ignore_mt, seen)
    if not equal then
      crumbs = crumbs or {}
      crumbs[#crumbs + 1] = key
      return false, crumbs
    end
  end
  for key in next, b do
    if a[key] == nil then
      return false, { key }
    end
  end
  return true, {}
end

function util.deepcopy(value, seen)
  if type(value) ~= "table" then
    return value
  end
  seen = seen or {}
  if seen[value] then
    return seen[value]
  end
  local copy = {}
  seen[value] = copy
  for key, inner in next, value do
    copy[util.deepcopy(key, seen)] = util.deepcopy(inner, seen)
  end
  -- One that is hidden cannot be set.
  local meta = getmetatable(value)
  return type(meta) == "table" and setmetatable(copy, meta) or copy
end

function util.shallowcopy(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, inner in next, value do
    copy[key] = inner
  end
  return setmetatable(copy, getmetatable(value))
end

function util.make_arglist(...)
  return { n = select("#", ...), ... }
end

function util.unpack(list, from, to)
  return unpack(list, from or 1, to or list.n or #list)
end

function util.tinsert(list, ...)
  local at, value = ...
  if select("#", ...) == 1 then
    at, value = (list.n or #list) + 1, at
  end
  for i = list.n or #list, at, -1 do
    list[i + 1] = list[i]
  end
  list[at] = value
  list.n = (list.n or #list) + 1
end

function util.callable(value)
  local mt = getmetatable(value)
  return type(value) == "function" or (type(mt) == "table" and mt.__call ~= nil)
end

function util.hastostring(value)
  local mt = getmetatable(value)
  return type(value) == "string" or (type(mt) == "table" and mt.__tostring ~= nil)
end

-- The level of the code that uses luassert, for `error`: counted from the function that calls this.
function util.errorlevel(level)
  level = (level or 1) + 1
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.what == "tail"
      or info.source:find("kong-compat/luassert/", 1, true)) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  return level - 1
end

-- Raises an error as an assertion does that does not hold: runners tell it from other errors by
-- `util.failed`. `level` is as `error` has it.
function util.fail(message, level)
  local _, text = pcall(error, message, level + 2)
  util.failed = text
  error(text, 0)
end

-- The words of `is_not_nil`, in small letters.
function util.words(key, into)
  into = into or {}
  for word in tostring(key):lower():gmatch("[^_]+") do
    into[#into + 1] = word
  end
  return into
end

-- The names that words stand for: at each place the longest that `known` has.
function util.names(words, known)
  local names, i = {}, 1
  while i <= #words do
    local found
    for j = #words, i, -1 do
      local name = table.concat(words, "_", i, j)
      if known(name) then
        names[#names + 1], found = name, j
        break
      end
    end
    if not found then
      return nil, table.concat(words, "_", i)
    end
    i = found + 1
  end
  return names
end

return util
