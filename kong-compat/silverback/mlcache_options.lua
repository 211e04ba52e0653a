-- What `resty.mlcache` may be told, for a cache and for one lookup. What is wrong raises an error
-- in the library's words, at the place of the plugin's call.

local _M = {}

-- Phases in which nobody can wait for others.
_M.HASTY = { header_filter = true, body_filter = true, log = true, init = true,
             init_worker = true }

-- From here to the caller of the method: `number`, the function of this module, the method.
local CALLER = 4

local function number(options, name, least)
  local value = options[name]
  if value == nil then
    return nil
  elseif type(value) ~= "number" then
    error("opts." .. name .. " must be a number", CALLER)
  elseif least and value < least then
    error("opts." .. name .. " must be >= " .. least, CALLER)
  end
  return value
end

local function of_type(options, name, wanted)
  local value = options[name]
  if value ~= nil and type(value) ~= wanted then
    error("opts." .. name .. " must be a " .. wanted, CALLER)
  end
  return value
end

local function ipc(options)
  local own = options.ipc
  if own == nil then
    return
  end
  if options.ipc_shm then
    error("cannot specify both of opts.ipc_shm and opts.ipc", CALLER)
  elseif type(own) ~= "table" then
    error("opts.ipc must be a table", CALLER)
  end
  for _, name in ipairs { "register_listeners", "broadcast", "poll" } do
    local is_given = own[name] ~= nil or name ~= "poll"
    if is_given and type(own[name]) ~= "function" then
      error("opts.ipc." .. name .. " must be a function", CALLER)
    end
  end
end

-- The options of `new`.
function _M.of_cache(options)
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    error("opts must be a table", 3)
  end
  number(options, "lru_size", 1)
  number(options, "ttl", 0)
  number(options, "neg_ttl", 0)
  number(options, "resurrect_ttl", 0)
  of_type(options, "resty_lock_opts", "table")
  of_type(options, "ipc_shm", "string")
  ipc(options)
  of_type(options, "l1_serializer", "function")
  number(options, "shm_set_tries", 1)
  of_type(options, "shm_miss", "string")
  of_type(options, "shm_locks", "string")
  return options
end

-- The terms of one lookup: what is not given is the cache's own.
function _M.of_lookup(own, options)
  if options == nil then
    return own
  elseif type(options) ~= "table" then
    error("opts must be a table", 3)
  end
  return {
    ttl = number(options, "ttl", 0) or own.ttl,
    neg_ttl = number(options, "neg_ttl", 0) or own.neg_ttl,
    resurrect_ttl = number(options, "resurrect_ttl", 0) or own.resurrect_ttl,
    l1_serializer = of_type(options, "l1_serializer", "function") or own.l1_serializer,
    shm_set_tries = number(options, "shm_set_tries", 1) or own.shm_set_tries,
    resty_lock_opts = of_type(options, "resty_lock_opts", "table") or own.resty_lock_opts,
  }
end

return _M
