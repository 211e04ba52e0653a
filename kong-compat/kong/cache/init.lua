-- `kong.cache` and `kong.core_cache`: Kong's names and texts around `resty.mlcache`.

local buffer = require "string.buffer"
local mlcache = require "resty.mlcache"

local Cache = {}
Cache.__index = Cache

function Cache.new(options)
  options = options or {}
  if type(options.shm_name) ~= "string" then
    error("opts.shm_name must be a string", 2)
  end
  local name = options.shm_name
  local ttl = math.max(options.ttl or 3600, 0)
  local inner, told = mlcache.new(name, name, {
    shm_miss = ngx.shared[name .. "_miss"] and name .. "_miss" or nil,
    lru_size = options.lru_size or 500000,
    ttl = ttl,
    neg_ttl = math.max(options.neg_ttl or 300, 0),
    resurrect_ttl = options.resurrect_ttl or 30,
    ipc_shm = name,
  })
  if not inner then
    return nil, "failed to instantiate mlcache: " .. told
  end
  local self = { mlcache = inner, shm_name = name, ttl = ttl, dict = ngx.shared[name] }
  return setmetatable(self, Cache)
end

local function check(key)
  if type(key) ~= "string" then
    error("key must be a string", 3)
  end
end

function Cache:get(key, options, callback, ...)
  check(key)
  local value, told, level = self.mlcache:get(key, options, callback, ...)
  if told then
    return nil, "failed to get from node cache: " .. told
  end
  return value, nil, level
end

function Cache:renew(key, options, callback, ...)
  check(key)
  local value, told, ttl = self.mlcache:renew(key, options, callback, ...)
  if told then
    return nil, "failed to renew key in node cache: " .. told
  end
  return value, nil, ttl
end

function Cache:get_bulk(bulk, options)
  if type(bulk) ~= "table" then
    error("bulk must be a table", 2)
  end
  if options ~= nil and type(options) ~= "table" then
    error("opts must be a table", 2)
  end
  return self.mlcache:get_bulk(bulk, options)
end

-- Puts a value into the dictionary, if there is room without throwing others out.
function Cache:safe_set(key, value)
  check(key)
  local text = value == nil and "" or buffer.encode({ value })
  local flags = self.ttl == 0 and mlcache.NO_TTL_FLAG or 0
  return self.dict:safe_set(self.shm_name .. key, text, self.ttl, flags)
end

function Cache:probe(key)
  check(key)
  local ttl, told, value = self.mlcache:peek(key)
  if told then
    return nil, "failed to probe from node cache: " .. told
  end
  return ttl, nil, value
end

function Cache:invalidate_local(key)
  check(key)
  self.mlcache:delete(key)
end

-- There is one node.
function Cache:invalidate(key)
  check(key)
  self:invalidate_local(key)
end

function Cache:purge()
  self.mlcache:purge(true)
end

return Cache
