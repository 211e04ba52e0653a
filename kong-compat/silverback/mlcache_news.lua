-- How the caches of `resty.mlcache` hear what others have changed.
--
-- A cache with `opts.ipc_shm` hears it from the host, before each lookup; nothing needs to be
-- written into that dictionary. One with `opts.ipc` tells and hears what its functions do.

local host = require "silverback.cache"
local lrucache = require "resty.lrucache"

local _M = {}

-- Caches of the worker by name: those of one name share the worker's memory.
local shared = setmetatable({}, { __mode = "v" })
-- By name, the set of all that hold values of it.
local known = {}

local function forget(name, key)
  for lru in pairs(known[name] or {}) do
    if key then
      lru:delete(key)
    elseif lru.flush_all then
      lru:flush_all()
    end
  end
end

-- Drops what has changed elsewhere.
function _M.hear()
  local news = host.news()
  if not news then
    return
  elseif news == true then
    for name in pairs(known) do
      forget(name)
    end
    return
  end
  for i = 1, #news, 2 do
    forget(news[i], news[i + 1])
  end
end

-- The worker's memory for a cache of this name.
function _M.memory(name, own, size)
  local lru = own or shared[name]
  if not lru then
    lru = lrucache.new(size)
    shared[name] = lru
  end
  known[name] = known[name] or setmetatable({}, { __mode = "k" })
  known[name][lru] = true
  return lru
end

local function events(cache)
  return {
    invalidation = {
      channel = "mlcache:invalidations:" .. cache.name,
      handler = function(key) cache.lru:delete(key) end,
    },
    purge = {
      channel = "mlcache:purge:" .. cache.name,
      handler = function() cache.lru:flush_all() end,
    },
  }
end

-- Gives a cache `events`, `broadcast` and `poll`; without `ipc_shm` and `ipc` it has none, and
-- cannot change what others see. Nil and what is wrong.
function _M.connect(cache, options)
  local own = options.ipc
  if own then
    cache.events = events(cache)
    local ok, told = own.register_listeners(cache.events)
    if not ok and told ~= nil then
      return nil, "failed to initialize custom IPC " ..
                  "(opts.ipc.register_listeners returned an error): " .. tostring(told)
    end
    cache.ipc, cache.broadcast, cache.poll = true, own.broadcast, own.poll
  elseif options.ipc_shm then
    if not ngx.shared[options.ipc_shm] then
      return nil, "failed to initialize mlcache IPC (could not instantiate mlcache.ipc): " ..
                  "no such lua_shared_dict: " .. options.ipc_shm
    end
    cache.ipc, cache.events = true, events(cache)
    function cache.broadcast(channel, key)
      host.changed(cache.name, channel == cache.events.invalidation.channel and key or nil)
      _M.hear()
      return true
    end
    function cache.poll(timeout)
      if timeout ~= nil and type(timeout) ~= "number" then
        error("timeout must be a number", 2)
      end
      _M.hear()
      return true
    end
  end
  return true
end

return _M
