-- Timers that repeat, can be stopped, and stop when nobody holds them: `lua-resty-timer`.

local _M = { CANCEL_GC = "GC", CANCEL_SYSTEM = "SYSTEM", CANCEL_USER = "USER" }

-- Detached timers live by themselves; the others as long as their objects.
local detached = {}
local held = setmetatable({}, { __mode = "v" })
local last_id = 0

local function cancel(self)
  if self.cancel_flag then
    return nil, "already cancelled"
  end
  if self.id then
    detached[self.id], held[self.id] = nil, nil
    self.id = nil
  end
  self.cancel_flag = true
  self.premature_reason = self.premature_reason or _M.CANCEL_USER
  local args = self.args
  self.args = nil
  if self.cb_cancel then
    return self.cb_cancel(self.premature_reason, unpack(args, 1, args.n))
  end
  return true
end

-- Whether it is this worker's turn: a timer with a key runs in one worker at a time.
local function is_mine(self)
  if not self.key_name then
    return true
  end
  local ok, err = self.shm:add(self.key_name, true, self.interval - 0.001)
  if not ok and err ~= "exists" then
    ngx.log(ngx.ERR, "[resty-timer] failed to add key '", self.key_name, "': ", err)
    return true
  end
  return ok
end

-- Runs a timer once; seconds until the next time, or nil if there is none.
local function run(id, premature)
  local self = held[id] or detached[id]
  if not self or self.cancel_flag then
    return nil
  elseif premature then
    self.premature_reason = self.premature_reason or _M.CANCEL_SYSTEM
    self:cancel()
    return nil
  elseif not self.recurring then
    held[id], detached[id], self.id = nil, nil, nil
    self.cb_expire(unpack(self.args, 1, self.args.n))
    return nil
  end
  if is_mine(self) then
    self.jitter, self.sub_jitter = 0, 0
    local ok, err = xpcall(self.cb_expire, debug.traceback, unpack(self.args, 1, self.args.n))
    if not ok then
      ngx.log(ngx.ERR, "[resty-timer] timer callback failed with: ", tostring(err))
    end
  end
  local now = ngx.now()
  local pause = math.max(0, self.expire + self.sub_interval + self.sub_jitter - now)
  self.expire = now + pause
  return pause
end

local function handler(premature, id)
  while true do
    local pause = run(id, premature)
    if not pause then
      return
    end
    ngx.sleep(pause)
    premature = ngx.worker.exiting()
  end
end

local function number(value, name)
  value = tonumber(value)
  assert(value, "expected '" .. name .. "' to be a number")
  assert(value >= 0, "expected '" .. name .. "' to be greater than or equal to 0")
  return value
end

-- What the options say of when and where it runs.
local function configure(self, options)
  self.sub_interval = self.interval
  if options.sub_interval then
    self.sub_interval = number(options.sub_interval, "sub_interval")
    assert(options.key_name, "'key_name' is required when specifying 'sub_interval'")
    assert(self.immediate, "'immediate' is required when specifying 'sub_interval'")
    assert(self.sub_interval <= self.interval,
      "expected 'sub_interval' to be less than or equal to 'interval'")
  end
  self.jitter, self.sub_jitter = 0, 0
  if options.jitter ~= nil then
    self.jitter = math.random() * number(options.jitter, "jitter")
    self.sub_jitter = self.jitter * self.sub_interval / self.interval
  end
  if options.key_name then
    assert(type(options.key_name) == "string", "expected 'key_name' to be a string")
    assert(options.shm_name, "'shm_name' is required when specifying 'key_name'")
    self.shm = ngx.shared[options.shm_name]
    assert(self.shm, "shm by name '" .. tostring(options.shm_name) .. "' not found")
    self.key_name = "[lua-resty-timer]" .. options.key_name
  end
end

-- Tells who stops it that nobody holds it any more.
local function watch(self)
  self.gc_proxy = newproxy(true)
  getmetatable(self.gc_proxy).__gc = function()
    self.premature_reason = self.premature_reason or _M.CANCEL_GC
    return self:cancel()
  end
end

function _M.new(options, ...)
  local self = {
    interval = number(options.interval, "interval"), recurring = options.recurring,
    immediate = options.immediate, detached = options.detached, args = table.pack(...),
    cb_expire = options.expire, cb_cancel = options.cancel, cancel = cancel,
  }
  assert(type(self.cb_expire) == "function", "expected 'expire' to be a function")
  assert(self.recurring or not self.immediate, "the 'immediate' option requires 'recurring'")
  assert(self.cb_cancel == nil or type(self.cb_cancel) == "function",
    "expected 'cancel' to be a function")
  configure(self, options)
  if self.cb_cancel and not self.detached then
    watch(self)
  end
  last_id = last_id + 1
  local delay = self.immediate and 0 or self.sub_interval + self.sub_jitter
  local ok, err = ngx.timer.at(delay, handler, last_id)
  if not ok then
    ngx.log(ngx.ERR, "[resty-timer] failed to create timer: ", err)
    return ok, err
  end
  (self.detached and detached or held)[last_id] = self
  self.id, self.expire = last_id, ngx.now() + delay
  return self
end

return setmetatable(_M, {
  __call = function(_, ...) return _M.new(...) end,
})
