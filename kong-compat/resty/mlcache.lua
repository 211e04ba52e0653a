-- The module `resty.mlcache`, which `kong.cache` is made of: a value is looked for in the worker's
-- own memory, then in a shared dictionary, and then a callback finds it, one worker at a time.
--
-- What one worker sets or deletes the others hear of: before each lookup a worker asks the host
-- whether anything has changed.

local buffer = require "string.buffer"
local host = require "silverback.cache"
local news = require "silverback.mlcache_news"
local options_of = require "silverback.mlcache_options"
local rows = require "silverback.rows"

local _M = { _VERSION = "2.7.0", NO_TTL_FLAG = 0x1 }
_M.__index = _M

-- What the flags of a value in the dictionary say beside that: it was kept alive after its time;
-- and from VERSION on, how often it was renewed.
local STALE, VERSION, MISS = 0x2, 0x4, {}
local VERSIONS = 2^20
-- Values of a worker's own: those behind it are in the dictionary all the same.
local LRU_MOST = 50000
-- What can be kept (lua-resty-mlcache).
local KEPT = { ["nil"] = true, number = true, boolean = true, string = true, table = true }

function _M.new(name, shm, options)
  if type(name) ~= "string" then
    error("name must be a string", 2)
  elseif type(shm) ~= "string" then
    error("shm must be a string", 2)
  end
  options = options_of.of_cache(options)
  local dict = ngx.shared[shm]
  if not dict then
    return nil, "no such lua_shared_dict: " .. shm
  end
  for _, other in ipairs { "shm_miss", "shm_locks" } do
    if options[other] and not ngx.shared[options[other]] then
      return nil, "no such lua_shared_dict for opts." .. other .. ": " .. options[other]
    end
  end
  local size = math.min(options.lru_size or 100, LRU_MOST)
  local self = setmetatable({
    name = name,
    dict = dict,
    shm = shm,
    dict_miss = options.shm_miss and ngx.shared[options.shm_miss],
    shm_miss = options.shm_miss,
    lru = news.memory(name, options.lru, size),
    lru_size = size,
    ttl = options.ttl or 30,
    neg_ttl = options.neg_ttl or 5,
    resurrect_ttl = options.resurrect_ttl,
    l1_serializer = options.l1_serializer,
    shm_set_tries = options.shm_set_tries or 3,
    resty_lock_opts = options.resty_lock_opts,
  }, _M)
  local ok, told = news.connect(self, options)
  if not ok then
    return nil, told
  end
  return self
end

-- Keeps a value in the worker's own memory, in the form that its readers want.
local function keep(self, key, value, ttl, serializer)
  if value ~= nil and serializer then
    local ok, made, told = pcall(serializer, value)
    if not ok then
      return nil, "l1_serializer threw an error: " .. tostring(made)
    elseif told then
      return nil, tostring(told)
    elseif made == nil then
      return nil, "l1_serializer returned a nil value"
    end
    value = made
  end
  self.lru:set(key, value == nil and MISS or value, ttl ~= 0 and ttl or nil)
  return value
end

-- Writes into the dictionary of values, or that of misses; the other one forgets the key. Nil and
-- what went wrong; that there is no room goes to the log, unless it `must` be there.
local function write(self, key, value, ttl, terms, flags, must)
  if not KEPT[type(value)] then
    error("cannot cache value of type " .. type(value))
  end
  local name = self.name .. key
  local dict, shm, other = self.dict, self.shm, self.dict_miss
  if value == nil and other then
    dict, shm, other = other, self.shm_miss, dict
  end
  local text = ""
  if value ~= nil then
    local ok, encoded = pcall(buffer.encode, { value })
    if not ok then
      return nil, "could not serialize value for lua_shared_dict insertion: " ..
                  "could not encode table value: " .. tostring(encoded)
    end
    text = encoded
  end
  flags = (flags or 0) + (ttl == 0 and _M.NO_TTL_FLAG or 0)
  local ok, told
  for _ = 1, terms.shm_set_tries do
    ok, told = dict:set(name, text, ttl, flags)
    if ok or told ~= "no memory" then
      break
    end
  end
  if not ok and (must or told ~= "no memory") then
    return nil, "could not write to lua_shared_dict '" .. shm .. "': " .. told
  elseif not ok then
    ngx.log(ngx.WARN, "could not write to lua_shared_dict '", shm, "' after ",
            terms.shm_set_tries, " tries (no memory), it is either fragmented or cannot ",
            "allocate more memory, consider increasing 'opts.shm_set_tries'")
  end
  if other then
    other:delete(name)
  end
  return true
end

-- Stores what a callback has found.
local function store(self, key, value, ttl, terms, flags)
  local ok, told = write(self, key, value, ttl, terms, flags)
  if not ok then
    return nil, told
  end
  return keep(self, key, value, ttl, terms.l1_serializer)
end

-- Tells the others that a key, or with `purge` everything, is not what it was.
local function tell(self, what, purge, key)
  local event = purge and self.events.purge or self.events.invalidation
  local _, told = self.broadcast(event.channel, key)
  if told then
    return nil, "could not broadcast " .. what .. ": " .. tostring(told)
  end
  return true
end

-- Stores a value in place of another. The others are told when it is there: who hears of it any
-- earlier would find the old one, and keep that. So might this worker: its copy comes last.
local function replace(self, key, value, ttl, terms, what, flags, must)
  local ok, told = write(self, key, value, ttl, terms, flags, must)
  if not ok then
    return nil, told
  end
  self.lru:delete(key)
  ok, told = tell(self, what, false, key)
  if not ok then
    return nil, told
  end
  return keep(self, key, value, ttl, terms.l1_serializer)
end

local function decoded(text)
  if text == "" then
    return nil
  end
  local ok, box = pcall(buffer.decode, text)
  if ok then
    return box[1]
  end
end

-- What the dictionary has: whether it has something, the value, whether its time is over, whether
-- it was kept alive after that, the seconds that are left (0 for ever, below 0 when they are over),
-- and its version.
local function shared(self, key)
  local name = self.name .. key
  local text, flags, stale = self.dict:get_stale(name)
  local dict = self.dict
  if text == nil and self.dict_miss then
    text, flags, stale = self.dict_miss:get_stale(name)
    dict = self.dict_miss
  end
  if text == nil then
    return false
  end
  flags = flags or 0
  local left = 0
  if flags % 2 == 0 then
    left = dict:ttl(name) or 0
    stale = stale or left <= 0
  end
  local revived = math.floor(flags / STALE) % 2 == 1
  return true, decoded(text), stale, revived, left, math.floor(flags / VERSION)
end

-- The value of the dictionary, kept in the worker's memory from here on; see `shared`.
local function fetch(self, key, serializer)
  local found, value, stale, revived, left = shared(self, key)
  if not found or stale then
    return found, value, stale, revived
  end
  local made, told = keep(self, key, value, left, serializer)
  if told then
    return found, nil, stale, revived, told
  end
  return found, made, stale, revived
end

-- Whether what a callback has found may be kept. A request goes on with the configuration that it
-- began with; what it finds there must not outlive the purge that comes with the next one.
local function may_keep(hash)
  return hash == nil or hash == rows.hash_in_use()
end

local function traced(message)
  return type(message) == "string" and debug.traceback(message, 2) or message
end

-- Finds a value with the callback, unless another worker has found it by now.
local function find(self, key, terms, callback, ...)
  local found, value, stale, revived, told = fetch(self, key, terms.l1_serializer)
  if told then
    return nil, told
  elseif found and not stale then
    return value, nil, revived and 4 or 2
  end
  local hash = rows.hash()
  local ok, made, failure, ttl = xpcall(callback, traced, ...)
  if not ok then
    return nil, "callback threw an error: " .. tostring(made)
  end
  if failure then
    failure = tostring(failure)
    if not (found and stale and terms.resurrect_ttl) then
      return made, failure
    end
    ngx.log(ngx.WARN, "callback returned an error (", failure, ") but stale value found in shm ",
            "will be resurrected for ", terms.resurrect_ttl, "s (resurrect_ttl)")
    local kept = store(self, key, value, terms.resurrect_ttl, terms, STALE)
    return kept, nil, 4
  end
  local lives = made == nil and terms.neg_ttl or terms.ttl
  if type(ttl) == "number" then
    if ttl < 0 then
      return made, nil, 3
    end
    lives = ttl
  end
  if not may_keep(hash) then
    return made, nil, 3
  end
  made, told = store(self, key, made, lives, terms)
  if told then
    return nil, told
  end
  return made, nil, 3
end

-- Seconds to wait for the callback of another.
local function patience(terms)
  return terms.resty_lock_opts and terms.resty_lock_opts.timeout or 5
end

local function unlocked(self, key, terms, ok, ...)
  if ok then
    return ...
  end
  -- Somebody else has been at it for too long.
  local found, value, stale, revived = fetch(self, key, terms.l1_serializer)
  if found and not stale then
    return value, nil, revived and 4 or 2
  end
  local told = "could not acquire callback lock: timeout"
  if not (found and stale and terms.resurrect_ttl) then
    return nil, told
  end
  ngx.log(ngx.WARN, told)
  return value, nil, 4
end

function _M:get(key, options, callback, ...)
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  if callback ~= nil and type(callback) ~= "function" then
    error("callback must be nil or a function", 2)
  end
  news.hear()
  local value = self.lru:get(key)
  if value == MISS then
    return nil, nil, 1
  elseif value ~= nil then
    return value, nil, 1
  end
  local terms = options_of.of_lookup(self, options)
  local found, stale, revived, told
  found, value, stale, revived, told = fetch(self, key, terms.l1_serializer)
  if told then
    return nil, told
  elseif found and not stale then
    return value, nil, revived and 4 or 2
  elseif callback == nil then
    return nil, nil, -1
  end
  if options_of.HASTY[ngx.get_phase()] then
    return find(self, key, terms, callback, ...)
  end
  return unlocked(self, key, terms, host.alone(self.name .. key, patience(terms), find, self, key,
                                               terms, callback, ...))
end

-- What is there if somebody has renewed it since it had this version, and its time.
local function renewed_since(self, key, version)
  local found, value, _, _, left, now = shared(self, key)
  if found and now ~= version then
    return true, value, left
  end
end

local function renewed(self, key, terms, version, callback, ...)
  local changed, value, left = renewed_since(self, key, version)
  if changed then
    return value, nil, left
  end
  local hash = rows.hash()
  local ok, made, failure, ttl = xpcall(callback, traced, ...)
  if not ok then
    return nil, "callback threw an error: " .. tostring(made)
  elseif failure then
    return made, tostring(failure)
  end
  local lives = made == nil and terms.neg_ttl or terms.ttl
  if type(ttl) == "number" then
    if ttl < 0 then
      return made, nil, ttl
    end
    lives = ttl
  end
  if not may_keep(hash) then
    return made, nil, lives
  end
  local told
  local flags = (version + 1) % VERSIONS * VERSION
  made, told = replace(self, key, made, lives, terms, "renew", flags)
  if told then
    return nil, told
  end
  return made, nil, lives
end

function _M:renew(key, options, callback, ...)
  if not self.broadcast then
    error("no ipc to propagate renew, specify opts.ipc_shm or opts.ipc", 2)
  end
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  local terms = options_of.of_lookup(self, options)
  if type(callback) ~= "function" then
    error("callback must be a function", 2)
  end
  local version = select(6, shared(self, key)) or 0
  if options_of.HASTY[ngx.get_phase()] then
    return renewed(self, key, terms, version, callback, ...)
  end
  return (function(ok, ...)
    if ok then
      return ...
    end
    local changed, value, left = renewed_since(self, key, version)
    if changed then
      return value, nil, left
    end
    return nil, "could not acquire callback lock: timeout"
  end)(host.alone(self.name .. key, patience(terms), renewed, self, key, terms, version, callback,
                  ...))
end

-- Seconds that a value has left, nil if there is none, and less than 0 if they are over; what went
-- wrong; the value; whether its time is over.
function _M:peek(key, stale_too)
  if type(key) ~= "string" then
    error("key must be a string", 2)
  end
  local found, value, stale, _, left = shared(self, key)
  if not found or (stale and not stale_too) then
    return nil
  end
  return left, nil, value, stale or false
end

function _M:set(key, options, value)
  if not self.broadcast then
    error("no ipc to propagate update, specify opts.ipc_shm or opts.ipc", 2)
  elseif type(key) ~= "string" then
    error("key must be a string", 2)
  end
  local terms = options_of.of_lookup(self, options)
  local lives = value == nil and terms.neg_ttl or terms.ttl
  local _, told = replace(self, key, value, lives, terms, "update", nil, true)
  if told then
    return nil, told
  end
  return true
end

function _M:delete(key)
  if not self.broadcast then
    error("no ipc to propagate deletion, specify opts.ipc_shm or opts.ipc", 2)
  elseif type(key) ~= "string" then
    error("key must be a string", 2)
  end
  self.dict:delete(self.name .. key)
  if self.dict_miss then
    self.dict_miss:delete(self.name .. key)
  end
  self.lru:delete(key)
  return tell(self, "deletion", false, key)
end

function _M:purge(flush_expired)
  if not self.broadcast then
    error("no ipc to propagate purge, specify opts.ipc_shm or opts.ipc", 2)
  elseif not self.lru.flush_all then
    error("cannot purge a custom LRU cache that has no flush_all", 2)
  end
  self.dict:flush_all()
  if self.dict_miss then
    self.dict_miss:flush_all()
  end
  if flush_expired then
    self.dict:flush_expired()
    if self.dict_miss then
      self.dict_miss:flush_expired()
    end
  end
  self.lru:flush_all()
  return tell(self, "purge", true, "")
end

-- Hears what others have changed. With `opts.ipc_shm` each lookup does so, too.
function _M:update(timeout)
  if not self.poll then
    error("no polling configured, specify opts.ipc_shm or opts.ipc.poll", 2)
  end
  local _, told = self.poll(timeout)
  if told then
    return nil, "could not poll ipc events: " .. tostring(told)
  end
  return true
end

for name, f in pairs(require "silverback.mlcache_bulk") do
  _M[name] = f
end

return _M
