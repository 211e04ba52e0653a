-- What belongs nowhere else.

local host = require "silverback.spec"

local misc = {}

function misc.unindent(text, joins, spaced)
  text = tostring(text):gsub("%s*$", "")
  local level
  for space in ("\n" .. text):gmatch("\n([ \t]*)%S") do
    level = level and math.min(level, #space) or #space
  end
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line:sub((level or 0) + 1)
  end
  if lines[1] and not lines[1]:find("%S") then
    table.remove(lines, 1)
  end
  return table.concat(lines, spaced and " " or joins and "" or "\n")
end

-- A file with this text; without one, with what was inserted.
function misc.make_yaml_file(content, path)
  path = path or os.tmpname() .. ".yml"
  local file = assert(io.open(path, "w"))
  if content then
    file:write(misc.unindent(content), "\n")
  else
    file:write(require("cjson").encode(require("spec.internal.db").export()), "\n")
  end
  file:close()
  return path
end

function misc.intercept(...)
  print(require("pl.pretty").write { n = select("#", ...), ... })
  return ...
end

local function sort_key(value)
  return type(value) == "table" and sort_key(value[1]) or tostring(value)
end

function misc.deep_sort(t)
  if type(t) == "table" then
    for _, inner in pairs(t) do
      misc.deep_sort(inner)
    end
    table.sort(t, function(a, b) return sort_key(a) < sort_key(b) end)
  end
  return t
end

-- A new folder, and what deletes it.
function misc.make_temp_dir()
  local _, path = host.run("mktemp -d", nil, 10)
  path = path:gsub("%s+$", "")
  return path, function()
    host.run("rm -rf '" .. path .. "'", nil, 10)
  end
end

function misc.with_current_ws(_, f)
  return f()
end

-- Variables are for the gateways that start from here on.
local set = {}
misc.environment = set

function misc.setenv(name, value)
  set[name] = value
  return true
end

function misc.unsetenv(name)
  set[name] = nil
  return true
end

misc.lookup = require("spec.internal.client").lookup

function misc.get_version()
  return require("kong.meta")._VERSION
end

return misc
