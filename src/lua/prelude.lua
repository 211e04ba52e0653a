-- What OpenResty's Lua has and LuaJIT's own has not.

local tables = require "silverback.tables"

-- Without a seed every worker, and every start, would draw the same numbers.
local a, b, c, d, e, f = require("silverback.host").random_bytes(6):byte(1, 6)
math.randomseed(((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f)

for name, f in pairs(tables) do
  if table[name] == nil then
    table[name] = f
  end
end
for _, name in ipairs { "isempty", "nkeys", "isarray", "clone" } do
  package.preload["table." .. name] = function()
    return table[name]
  end
end

-- Parts of `lua-resty-core` that plugins load for what they do to `ngx`: that is done.
for name in ([[
  base64 exit hash misc ndk phase regex request response shdict socket uri var worker
]]):gmatch "%S+" do
  package.preload["resty.core." .. name] = function()
    return { version = "0.1.28" }
  end
end
package.preload["resty.core"] = package.preload["resty.core.regex"]

-- Standard output is not for plugins: it may be the access log.
function print(...)
  local parts = { ... }
  for i = 1, select("#", ...) do
    parts[i] = tostring(parts[i])
  end
  ngx.log(ngx.NOTICE, table.concat(parts))
end

-- In nginx it ends a worker, and another takes its place; here it would end the gateway.
function os.exit()
  error("os.exit is not available: it would end the requests of everybody else", 2)
end

require "silverback.log"
kong.tracing = require "silverback.tracing"
if (kong.configuration.tracing_instrumentations or { "off" })[1] ~= "off" then
  require("silverback.spans").install()
end

-- `kong.vault.update(options)`: the values that the references in `$refs` have now, in its records
-- too. A value that cannot be had any more stays.
function kong.vault.update(options)
  if type(options) ~= "table" then
    return options
  end
  for name, inner in pairs(options) do
    if name ~= "$refs" and type(inner) == "table" then
      kong.vault.update(inner)
    end
  end
  for name, reference in pairs(options["$refs"] or {}) do
    if type(reference) == "table" then
      for key, inner in pairs(reference) do
        options[name] = options[name] or {}
        options[name][key] = kong.vault.get(inner) or options[name][key]
      end
    else
      options[name] = kong.vault.get(reference) or options[name]
    end
  end
  return options
end

local function has_references(options)
  for name, inner in pairs(type(options) == "table" and options or {}) do
    if name == "$refs" or has_references(inner) then
      return true
    end
  end
  return false
end

-- `kong.vault.try(callback, options)`: once more with fresh secrets, if it fails and there are any.
function kong.vault.try(callback, options)
  local result, err = callback(options)
  if result or not has_references(options) then
    return result, err
  end
  return callback(kong.vault.update(options))
end

-- There is nobody who collects the logs of plugins for OpenTelemetry.
kong.telemetry = {}

function kong.telemetry.log(plugin, conf, kind, message, attributes)
  local wanted = {
    { "plugin_name", plugin, "string" }, { "plugin_config", conf, "table" },
    { "message_type", kind, "string" }, { "message", message or "", "string" },
    { "attributes", attributes or {}, "table" },
  }
  for _, one in ipairs(wanted) do
    if type(one[2]) ~= one[3] then
      return nil, one[1] .. " must be a " .. one[3]
    end
  end
  return nil, "Telemetry logging is disabled: log entry will not be recorded. Ensure the "
    .. "OpenTelemetry plugin is correctly configured to report logs in order to use this feature."
end

kong.table = { new = require "table.new", clear = require "table.clear" }

-- A new table with the fields of both; the second's win.
function kong.table.merge(one, other)
  local merged = {}
  for _, part in ipairs { one or {}, other or {} } do
    for name, value in pairs(part) do
      merged[name] = value
    end
  end
  return merged
end

-- What is in the configuration, caches for what plugins find out, and news between workers. None
-- of it is loaded until a plugin asks for it.
local later = {
  timer = function() return require("resty.timerng").new() end,
  db = function() return require "kong.db" end,
  -- Without a database a value lives until the configuration changes (Kong).
  cache = function()
    return require("kong.cache").new { shm_name = "kong_db_cache", ttl = 0, neg_ttl = 0 }
  end,
  core_cache = function()
    return require("kong.cache").new { shm_name = "kong_core_db_cache", ttl = 0, neg_ttl = 0 }
  end,
  dns = function()
    local client = require "kong.resty.dns.client"
    return { toip = client.toip, resolve = client.resolve }
  end,
  worker_events = function() return require "silverback.events" end,
  jwe = function() return require "silverback.jwe" end,
  -- There is one node: nobody else is to be told.
  cluster_events = function()
    return {
      broadcast = function() return true end,
      subscribe = function() return true end,
    }
  end,
}

kong.default_workspace = "0dc6f45b-8f8d-40d2-a504-473544ee190b"

setmetatable(kong, { __index = function(self, name)
  local make = later[name]
  if make then
    later[name] = nil
    local made = make()
    rawset(self, name, made)
    return made
  end
end })

-- Kong declares these for itself, and plugins use them without a declaration of their own.
require "silverback.libc"
