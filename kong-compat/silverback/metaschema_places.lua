-- Where in a schema.lua something is wrong: the name of the field and its line, which Kong's texts
-- do not say. To them a field is a number in a list.

local places = {}

-- The most lines that are told: the first is to be mended first.
local MOST = 8

local LISTS = { fields = true, shorthand_fields = true }

local function joined(attribute, key)
  if type(key) == "number" then
    return ("%s[%d]"):format(attribute, key)
  end
  return attribute == "" and tostring(key) or attribute .. "." .. tostring(key)
end

-- What stands at a key, and its name if it is a field: entries of such lists are `{ name = {} }`.
local function at(value, key, is_list)
  local inner = type(value) == "table" and value[key] or nil
  if is_list and type(key) == "number" and type(inner) == "table" then
    local name, definition = next(inner)
    return definition, type(name) == "string" and name or nil
  end
  return inner
end

local function sorted(errors)
  local keys = {}
  for key in pairs(errors) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

-- Collects the errors of a tree: the names of the fields down to each, its attribute, and the text.
local function collect(value, errors, fields, attribute, found)
  local is_list = LISTS[attribute]
  for _, key in ipairs(sorted(errors)) do
    local told = errors[key]
    local inner, name = at(value, key, is_list)
    local below, part = fields, key == "@entity" and attribute or joined(attribute, key)
    if name then
      below, part = {}, ""
      for i, one in ipairs(fields) do
        below[i] = one
      end
      below[#below + 1] = name
    end
    if type(told) == "table" and key == "@entity" then
      for _, text in ipairs(told) do
        found[#found + 1] = { fields = below, attribute = part, text = text }
      end
    elseif type(told) == "table" then
      collect(inner, told, below, part, found)
    else
      found[#found + 1] = { fields = below, attribute = part, text = told }
    end
  end
  return found
end

local function escaped(name)
  return (name:gsub("%W", "%%%0"))
end

-- The line where a field is defined, if its names follow one another in the file, as they usually
-- do.
local function line_of(lines, fields)
  local from, found = 1, nil
  for _, name in ipairs(fields) do
    found = nil
    local plain = "%f[%w_]" .. escaped(name) .. "%s*="
    local quoted = "[\"']" .. escaped(name) .. "[\"']%]%s*="
    for number = from, #lines do
      local code = lines[number]:gsub("%-%-.*$", "")
      if code:find(plain) or code:find(quoted) then
        found = number
        break
      end
    end
    if not found then
      return nil
    end
    from = found
  end
  return found
end

local function read(file)
  local lines = {}
  local handle = file and io.open(file, "r")
  if handle then
    for line in handle:lines() do
      lines[#lines + 1] = line
    end
    handle:close()
  end
  return lines
end

-- A line for each error of a tree, each behind a line break; nothing without a file.
function places.lines(schema, errors, file)
  local found = collect(schema, errors, {}, "", {})
  local lines, told = read(file), {}
  for i = 1, file and math.min(#found, MOST) or 0 do
    local one = found[i]
    -- Some of Kong's errors stand under the mere name of a field.
    local names = #one.fields > 0 and one.fields or { one.attribute }
    local number = line_of(lines, names)
    local where = number and file .. ":" .. number or file
    local field = #one.fields > 0 and "field '" .. table.concat(one.fields, ".") .. "'" or nil
    local attribute = one.attribute ~= "" and one.attribute or nil
    local parts = {}
    for _, part in ipairs { field or false, attribute or false, one.text } do
      parts[#parts + 1] = part and tostring(part) or nil
    end
    told[i] = "\n" .. where .. ": " .. table.concat(parts, ": ")
  end
  return table.concat(told)
end

-- The file, for an error that is about it as a whole.
function places.inside(file)
  return file and " (" .. file .. ")" or ""
end

return places
