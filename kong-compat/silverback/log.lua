-- The parts of `kong.log` that are no plain levels: facilities with a name of their own, values
-- shown to whoever writes a plugin, and what is deprecated.

local host = require "silverback.log_host"

local LEVELS = {
  emerg = 1, alert = 2, crit = 3, err = 4, warn = 5, notice = 6, info = 7, debug = 8,
}

-- How wide a box of `kong.log.inspect` is.
local WIDTH = 120

-- Writes a text of many lines as a box, line by line.
local function box(text)
  local header, rest = text:match("^(.-)\n(.*)$")
  host.emit(LEVELS.notice, header .. ("-"):rep(WIDTH - #header + 1) .. "+")
  for line in (rest .. "\n"):gmatch("(.-)\n") do
    repeat
      local part = line:sub(1, WIDTH)
      line = line:sub(WIDTH + 1)
      host.emit(LEVELS.notice, "|" .. part .. (" "):rep(WIDTH - #part) .. "|")
    until line == ""
  end
  host.emit(LEVELS.notice, "+" .. ("-"):rep(WIDTH) .. "+")
end

-- `log.inspect(...)`, which can be switched off.
local function inspector(namespace)
  local is_on = true
  local function show(...)
    if not (is_on and host.is_logged(LEVELS.notice)) then
      return
    end
    local inspect = require "inspect"
    local parts = { ... }
    for i = 1, select("#", ...) do
      parts[i] = inspect(parts[i])
    end
    local at = debug.getinfo(3, "Sln") or {}
    local file = (at.short_src or "?"):match("([^/]*)$")
    local place = file .. ":" .. (at.name or "?") .. ":" .. (at.currentline or "?")
    local name = namespace or host.running() or "core"
    box("[kong] " .. place .. " [" .. name .. "]\n" .. table.concat(parts, " "))
  end
  local inspect = {
    on = function() is_on = true end,
    off = function() is_on = false end,
  }
  return setmetatable(inspect, {
    __index = function(_, name)
      if name == "print" then
        return show
      end
    end,
    __call = function(_, ...)
      show(...)
      return
    end,
  })
end

-- `log.deprecation(message, ..., { after = "3.0", removal = "4.0", trace = true })`.
local function deprecation(write)
  return setmetatable({ write = write }, { __call = function(_, ...)
    local count = select("#", ...)
    local parts = { ... }
    local note = type(parts[count]) == "table" and parts[count] or nil
    if note then
      count = count - 1
    else
      note = {}
    end
    for i = 1, count do
      parts[i] = tostring(parts[i])
    end
    local message = table.concat(parts, "", 1, count)
    local about = {}
    if note.after then
      about[#about + 1] = "deprecated after " .. note.after
    end
    if note.removal then
      about[#about + 1] = "scheduled for removal in " .. note.removal
    end
    if #about > 0 then
      message = message .. " (" .. table.concat(about, ", ") .. ")"
    end
    if note.trace then
      write(message, " ", debug.traceback("", 2))
    else
      write(message)
    end
  end })
end

-- `kong.log.new(namespace, format)`: lines under a name, whatever plugin runs.
local function new(namespace, format)
  if type(namespace) ~= "string" then
    error("namespace must be a string", 2)
  elseif namespace == "" then
    error("namespace cannot be an empty string", 2)
  elseif format and type(format) ~= "string" then
    error("format must be a string if specified", 2)
  elseif format == "" then
    error("format cannot be an empty string if specified", 2)
  end
  local self = {
    set_serialize_value = kong.log.set_serialize_value, serialize = kong.log.serialize,
  }
  for name, level in pairs(LEVELS) do
    self[name] = function(...)
      host.write(level, 2, namespace, format, ...)
    end
  end
  function self.set_format(text)
    if text and type(text) ~= "string" then
      error("format must be a string", 2)
    end
    format = text or nil
  end
  self.inspect = inspector(namespace)
  self.deprecation = deprecation(function(...)
    host.write(LEVELS.warn, 3, namespace, format, ...)
  end)
  self.trace = function() end
  return setmetatable(self, { __call = function(log, ...)
    host.write(LEVELS.notice, 2, namespace, format, ...)
  end, __index = { new = new } })
end

local log = kong.log
log.new = new
log.inspect = inspector()
log.deprecation = deprecation(function(...)
  host.write(LEVELS.warn, 3, nil, nil, ...)
end)
log.trace = function() end

return log
