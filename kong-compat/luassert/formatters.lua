-- How values are shown in messages. `assert:add_formatter` puts others before these.

local added, parameters = {}, { TableFormatLevel = 3, TableFormatShowRecursion = false }

local function key_order(a, b)
  local ta, tb = type(a), type(b)
  if ta == tb and (ta == "number" or ta == "string") then
    return a < b
  elseif ta ~= tb then
    return ta < tb
  end
  return tostring(a) < tostring(b)
end

local show

local function show_table(value, crumbs, depth, seen)
  local limit = parameters.TableFormatLevel
  if next(value) == nil then
    return "{ }"
  elseif seen[value] then
    return "{ ... recursive }"
  elseif limit >= 0 and depth > limit then
    return "{ ... more }"
  end
  seen[value] = true
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, key_order)
  local lines, pad = {}, ("  "):rep(depth)
  for i, key in ipairs(keys) do
    -- A star leads to the value that differs.
    local on_way = crumbs and crumbs[#crumbs - depth + 1] == key and #crumbs >= depth
    local name = type(key) == "string" and key or tostring(key)
    local inner = show(value[key], on_way and crumbs or nil, depth + 1, seen)
    lines[i] = ("%s%s[%s] = %s"):format(pad, on_way and "*" or " ", name, inner)
  end
  seen[value] = nil
  return "{\n" .. table.concat(lines, "\n") .. " }"
end

function show(value, crumbs, depth, seen)
  local kind = type(value)
  if kind == "string" then
    return "'" .. value .. "'"
  elseif kind == "table" then
    local mt = getmetatable(value)
    if type(mt) == "table" and rawget(mt, "__tostring") and depth > 1 then
      return tostring(value)
    end
    return show_table(value, crumbs, depth, seen)
  end
  return tostring(value)
end

local formatters = { parameters = parameters }

function formatters.format(value, crumbs)
  for i = #added, 1, -1 do
    local shown = added[i](value, { crumbs = crumbs })
    if shown ~= nil then
      return shown
    end
  end
  local kind = type(value)
  if kind == "nil" then
    return "(nil)"
  elseif kind == "table" then
    local mt = getmetatable(value)
    if type(mt) == "table" and rawget(mt, "__tostring") then
      return "(table) " .. tostring(value)
    end
    return "(table) " .. show_table(value, crumbs, 1, {})
  elseif kind == "number" or kind == "boolean" or kind == "string" then
    return ("(%s) %s"):format(kind, show(value, nil, 1, {}))
  end
  return tostring(value)
end

function formatters.add(formatter)
  added[#added + 1] = formatter
end

function formatters.remove(formatter)
  for i = #added, 1, -1 do
    if added[i] == formatter then
      table.remove(added, i)
    end
  end
end

-- How many there are, and back to so many: snapshots ask.
function formatters.count()
  return #added
end

function formatters.cut(count)
  for i = #added, count + 1, -1 do
    added[i] = nil
  end
end

return formatters
