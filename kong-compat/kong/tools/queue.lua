-- `kong.tools.queue`: entries that a handler takes in batches, later, and again when it fails.
--
-- A queue lives in one worker, under a name, from its first entry until it is empty. The texts in
-- the log are Kong's.

local semaphore = require "ngx.semaphore"
local workspaces = require "kong.workspaces"

-- So full that it is worth a warning.
local WARNING_AT = 0.8
-- A queue that collects looks this often whether the worker stops.
local LOOK_SECONDS = 1
-- Less time than this is not worth waiting for.
local LEAST_SECONDS = 0.05
-- Outdated parameters are told of once in this time.
local REMIND_SECONDS = 60

local Queue = { _CAPACITY_WARNING_THRESHOLD = WARNING_AT }
Queue.__index = Queue

local queues = {}

local function key_of(name)
  return (workspaces.get_workspace_id() or "") .. "." .. name
end

local function size_of(entry)
  return type(entry) == "string" and #entry or 0
end

local function logger(level)
  return function(self, text, ...)
    if select("#", ...) > 0 then
      text = text:format(...)
    end
    kong.log[level]("[" .. (self.log_tag or "") .. "] queue " .. self.name .. ": " .. text)
  end
end

Queue.log_trace, Queue.log_debug = logger "trace", logger "debug"
Queue.log_info, Queue.log_warn, Queue.log_err = logger "info", logger "warn", logger "err"

function Queue:count()
  return self.back - self.front
end

local function has_room(self, entry)
  if self:count() >= self.max_entries then
    return false
  end
  local bytes = self.max_bytes
  return not bytes or self.bytes_queued < bytes and self.bytes_queued + size_of(entry) <= bytes
end

-- Takes the oldest entry out.
local function take(self)
  local entry = self.entries[self.front]
  self.entries[self.front] = nil
  self.front = self.front + 1
  if self.front == self.back then
    self.front, self.back = 1, 1
  end
  self.bytes_queued = self.bytes_queued - size_of(entry)
  return entry
end

-- Hands a batch over until it is taken, or its time is up.
local function deliver(self, batch)
  local started, tries = ngx.now(), 0
  while true do
    self:log_trace("passing %d entries to handler", #batch)
    local ran, ok, err = pcall(self.handler, self.handler_conf, batch)
    if ran and ok == true then
      self:log_trace("handler processed %d entries successfully", #batch)
      return
    end
    if not ran then
      err = ok
    end
    self:log_warn("handler could not process entries: %s",
      tostring(err or "no error details returned by handler"))
    if not err then
      self:log_err("handler returned falsy value but no error information")
    end
    if ngx.now() - started > self.max_retry_time then
      self:log_err("could not send entries due to max_retry_time exceeded. "
        .. "%d queue entries were lost", #batch)
      return
    end
    ngx.sleep(math.min(self.max_retry_delay, self.initial_retry_delay * 2 ^ tries))
    tries = tries + 1
  end
end

-- Waits until there are as many entries as a batch may have, or the first has waited long enough.
local function collect(self)
  local started = ngx.now()
  while self:count() < self.max_batch_size do
    local left = self.max_coalescing_delay - (ngx.now() - started)
    if left < LEAST_SECONDS or ngx.worker.exiting() then
      return
    end
    self.news:wait(math.min(left, LOOK_SECONDS))
  end
end

function Queue:process_once()
  if self:count() == 0 then
    return
  end
  collect(self)
  local batch = {}
  while self:count() > 0 and #batch < self.max_batch_size do
    batch[#batch + 1] = take(self)
  end
  if self.already_dropped_entries then
    self:log_info("queue resumed processing")
    self.already_dropped_entries = false
  end
  if #batch > 0 then
    deliver(self, batch)
  end
end

-- Whatever happens, the next entry of this name finds a queue that works.
local function work(_, self)
  local ok, err = pcall(function()
    while self:count() > 0 do
      self:log_trace("processing queue")
      self:process_once()
    end
    self:log_trace("done processing queue")
  end)
  queues[self.key] = nil
  if not ok then
    self:log_err("processing the queue failed, %d queue entries were lost: %s", self:count(),
      tostring(err))
  end
end

local function queue_of(conf, handler, handler_conf)
  local key = key_of(conf.name)
  local self = queues[key]
  if self then
    self:log_trace("queue exists")
    self.handler_conf = handler_conf
    return self
  end
  self = {}
  for name, value in pairs(conf) do
    self[name] = value
  end
  self.key, self.handler, self.handler_conf = key, handler, handler_conf
  self.entries, self.front, self.back, self.bytes_queued = {}, 1, 1, 0
  self.news = semaphore.new()
  setmetatable(self, Queue)
  if self.concurrency_limit == 1 then
    local ok, err = kong.timer:named_at("queue " .. key, 0, work, self)
    if not ok then
      return nil, "failed to create timer: " .. tostring(err)
    end
    queues[key] = self
  end
  self:log_trace("queue created")
  return self
end

-- Delivers one entry by itself, at once.
local function deliver_alone(self, entry)
  local ok, err = kong.timer:at(0, function(premature)
    if not premature then
      deliver(self, { entry })
    end
  end)
  if not ok then
    return nil, "failed to crete timer: " .. tostring(err)
  end
  return true
end

local function warn_when_full(self)
  if self:count() < self.max_entries * WARNING_AT then
    self.warned = nil
  elseif not self.warned then
    self:log_warn("queue at %s%% capacity", WARNING_AT * 100)
    self.warned = true
  end
end

-- Drops old entries until there is room in bytes for a new one.
local function drop_for(self, entry)
  local dropped = 0
  while self:count() > 0 and self.bytes_queued + size_of(entry) > self.max_bytes do
    take(self)
    dropped = dropped + 1
  end
  if dropped > 0 then
    self.already_dropped_entries = true
    self:log_err("byte capacity exceeded, %d queue entries were dropped", dropped)
  end
end

local function put(self, entry)
  if entry == nil then
    return nil, "entry must be a non-nil Lua value"
  elseif self.concurrency_limit == -1 then
    return deliver_alone(self, entry)
  end
  warn_when_full(self)
  if self:count() >= self.max_entries then
    self:log_err("queue full, dropping old entries until processing is successful again")
    take(self)
    self.already_dropped_entries = true
  end
  if self.max_bytes then
    if size_of(entry) > self.max_bytes then
      local err = ("string to be queued is longer (%d bytes) than the queue's max_bytes (%d bytes)")
        :format(#entry, self.max_bytes)
      self:log_err(err)
      return nil, err
    end
    drop_for(self, entry)
    if type(entry) ~= "string" then
      self:log_err("queuing non-string entry to a queue that has queue.max_bytes set, "
        .. "capacity monitoring will not be correct")
    end
  end
  self.bytes_queued = self.bytes_queued + size_of(entry)
  self.entries[self.back] = entry
  self.back = self.back + 1
  self.news:post()
  return true
end

local NUMBERS = {
  "max_batch_size", "max_coalescing_delay", "max_entries", "max_retry_time", "initial_retry_delay",
  "max_retry_delay",
}

-- True, or nil and why the value cannot be kept. Errors are those of whoever calls it wrongly.
function Queue.enqueue(conf, handler, handler_conf, value)
  assert(type(conf) == "table", "arg #1 (queue_conf) must be a table")
  assert(type(handler) == "function", "arg #2 (handler) must be a function")
  assert(handler_conf == nil or type(handler_conf) == "table",
    "arg #3 (handler_conf) must be a table or nil")
  assert(type(conf.name) == "string", "arg #1 (queue_conf) must include a name")
  for _, name in ipairs(NUMBERS) do
    assert(type(conf[name]) == "number", "arg #1 (queue_conf) " .. name .. " must be a number")
  end
  assert(conf.max_bytes == nil or type(conf.max_bytes) == "number",
    "arg #1 (queue_conf) max_bytes must be a number or nil")
  assert(type(conf.concurrency_limit) == "number",
    "arg #1 (queue_conf) concurrency_limit must be a number")
  local self, err = queue_of(conf, handler, handler_conf)
  if not self then
    return nil, err
  end
  return put(self, value)
end

function Queue.exists(name)
  return queues[key_of(name)] ~= nil
end

function Queue._exists(name)
  local self = queues[key_of(name)]
  return self and self:count() > 0
end

-- A queue that is not there yet has room.
function Queue.is_full(conf)
  local self = queues[key_of(conf.name)]
  return self ~= nil and not has_room(self)
end

function Queue.can_enqueue(conf, entry)
  local self = queues[key_of(conf.name)]
  return self == nil or has_room(self, entry)
end

-- Parameters of before Kong 3.3: their old default, what they are now, and which words to use.
local OUTDATED = {
  { "queue_size", 1, "max_batch_size" },
  { "flush_timeout", 2, "max_coalescing_delay" },
  { "batch_span_count", 200, "max_batch_size" },
  { "batch_flush_delay", 3, "max_coalescing_delay" },
}

local reminded = {}

local function remind(queue, text)
  local key = queue .. "/" .. text
  if ngx.now() - (reminded[key] or 0) >= REMIND_SECONDS then
    kong.log.warn(text)
    reminded[key] = ngx.now()
  end
end

local function is_set(value, default)
  return value ~= nil and value ~= ngx.null and value ~= default
end

-- The queue's parameters in a plugin's configuration, outdated ones among them.
function Queue.get_plugin_params(plugin, config, name)
  local conf = config.queue or {}
  conf.log_tag = plugin .. " plugin " .. kong.plugin.get_id()
  if config.plugin_instance_name then
    conf.log_tag = conf.log_tag .. " (" .. config.plugin_instance_name .. ")"
  end
  conf.name = conf.name or name or kong.plugin.get_id()
  if is_set(config.retry_count, 10) then
    remind(conf.name, "the retry_count parameter no longer works, please update your "
      .. "configuration to use initial_retry_delay and max_retry_time instead")
  end
  for _, old in ipairs(OUTDATED) do
    local value = config[old[1]]
    if is_set(value, old[2]) then
      conf[old[3]] = value
      remind(conf.name, "the " .. old[1] .. " parameter is deprecated, please update your "
        .. "configuration to use queue." .. old[3] .. " instead")
    end
  end
  return conf
end

return Queue
