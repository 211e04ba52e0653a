-- `kong.worker_events`: what Lua code of one worker tells that of all of them, or its own.

local buffer = require "string.buffer"
local host = require "silverback.cache"

local events = {}
-- Callbacks by source and event; `*` is any.
local handlers = {}
local listens = false

local function call(source, event, data, worker)
  for _, at in ipairs { { source, event }, { source, "*" }, { "*", "*" } } do
    for _, handler in ipairs((handlers[at[1]] or {})[at[2]] or {}) do
      local ok, told = pcall(handler, data, event, source, worker)
      if not ok then
        ngx.log(ngx.ERR, "[events] callback threw an error: ", told)
      end
    end
  end
end

local function received(source, event, text)
  local ok, box = pcall(buffer.decode, text)
  if ok then
    call(source, event, box.data, box.worker)
  end
end

-- `register(callback, source, event, ...)`; without an event it is every one of the source.
function events.register(callback, source, event, ...)
  if type(callback) ~= "function" then
    error("expected function, got: " .. type(callback), 2)
  end
  if not listens then
    listens = host.listen(received)
  end
  for _, name in ipairs { event or "*", ... } do
    local of_source = handlers[source or "*"] or {}
    handlers[source or "*"] = of_source
    of_source[name] = of_source[name] or {}
    table.insert(of_source[name], callback)
  end
  return true
end

events.register_weak = events.register
events.subscribe = function(source, event, callback)
  return events.register(callback, source, event)
end

function events.unregister(callback, source, event, ...)
  for _, name in ipairs { event or "*", ... } do
    local list = (handlers[source or "*"] or {})[name] or {}
    for i = #list, 1, -1 do
      if list[i] == callback then
        table.remove(list, i)
      end
    end
  end
  return true
end

function events.post(source, event, data, _)
  if type(source) ~= "string" or source == "" then
    return nil, "source is required"
  elseif type(event) ~= "string" or event == "" then
    return nil, "event is required"
  end
  local ok, text = pcall(buffer.encode, { data = data, worker = ngx.worker.id() })
  if not ok then
    return nil, "failed to encode the event: " .. tostring(text)
  end
  host.post(source, event, text)
  return true
end

events.publish = { all = events.post }

function events.post_local(source, event, data)
  call(source, event, data)
  return true
end

function events.poll()
  return "done"
end

function events.configured()
  return true
end

return events
