-- Timers with names, which can be paused and stopped: `lua-resty-timer-ng`. `kong.timer` is one.

local Timers = {}
Timers.__index = Timers

function Timers.new(options)
  assert(options == nil or type(options) == "table", "expected `options` to be a table")
  return setmetatable({ jobs = {}, last = 0, runs = 0, running = 0 }, Timers)
end

-- The timers of a worker run on their own: there is nothing to start.
function Timers.start()
  return true
end

local function run(premature, self, job, turn)
  if job.turn ~= turn then
    return
  end
  self.running = self.running + 1
  local ok, err = pcall(job.callback, premature, unpack(job.args, 1, job.args.n))
  self.running, self.runs = self.running - 1, self.runs + 1
  job.runs = job.runs + 1
  if not ok then
    job.failures = job.failures + 1
    ngx.log(ngx.ERR, "[timer-ng] failed to run timer ", job.name, ": ", err)
  end
  if job.turn ~= turn then
    return
  elseif job.repeats and not premature then
    self:schedule(job)
  elseif self.jobs[job.name] == job then
    self.jobs[job.name] = nil
  end
end

-- Waits for the next time. A job whose turn has passed runs no more.
function Timers:schedule(job)
  job.turn = job.turn + 1
  return ngx.timer.at(job.delay, run, self, job, job.turn)
end

local function create(self, name, delay, repeats, callback, ...)
  assert(type(callback) == "function", "expected `callback` to be a function")
  local kind = repeats and "interval" or "delay"
  assert(type(delay) == "number", "expected `" .. kind .. " to be a number")
  assert(repeats and delay > 0 or not repeats and delay >= 0,
    "expected `" .. kind .. "` to be greater than or equal to 0")
  if not name then
    self.last = self.last + 1
    name = "unix_timestamp=" .. ngx.now() .. ";counter=" .. self.last
  end
  if self.jobs[name] then
    return false, "already exists timer"
  end
  local job = {
    name = name, delay = delay, repeats = repeats, callback = callback, args = table.pack(...),
    turn = 0, runs = 0, failures = 0,
  }
  local ok, err = self:schedule(job)
  if not ok then
    return false, err
  end
  self.jobs[name] = job
  return name
end

function Timers:at(delay, callback, ...)
  return create(self, nil, delay, false, callback, ...)
end

function Timers:every(delay, callback, ...)
  return create(self, nil, delay, true, callback, ...)
end

function Timers:named_at(name, delay, callback, ...)
  assert(name == nil or type(name) == "string", "expected `name` to be a string")
  return create(self, name, delay, false, callback, ...)
end

function Timers:named_every(name, delay, callback, ...)
  assert(name == nil or type(name) == "string", "expected `name` to be a string")
  return create(self, name, delay, true, callback, ...)
end

-- The job of a name, or false and why not.
local function known(self, name)
  assert(type(name) == "string", "expected `name` to be a string")
  local job = self.jobs[name]
  if not job then
    return false, "timer not found"
  end
  return job
end

function Timers:is_managed(name)
  return self.jobs[name] ~= nil
end

function Timers:pause(name)
  local job, err = known(self, name)
  if not job then
    return false, err
  elseif job.paused then
    return false, "timer has been paused"
  end
  job.turn, job.paused = job.turn + 1, true
  return true
end

function Timers:resume(name)
  local job, err = known(self, name)
  if not job then
    return false, err
  elseif not job.paused then
    return false, "timer has not been paused"
  end
  job.paused = nil
  return self:schedule(job) and true
end

function Timers:cancel(name)
  local job, err = known(self, name)
  if not job then
    return false, err
  end
  job.turn = job.turn + 1
  self.jobs[name] = nil
  return true
end

function Timers:stats(options)
  local total, timers = 0, {}
  for name, job in pairs(self.jobs) do
    total = total + 1
    timers[name] = { name = name, stats = { runs = job.runs, failures = job.failures } }
  end
  return {
    sys = { running = self.running, pending = total - self.running, waiting = 0, total = total,
      runs = self.runs },
    timers = options and options.verbose and timers or nil,
  }
end

function Timers.set_debug() end

function Timers:destroy()
  for name in pairs(self.jobs) do
    self:cancel(name)
  end
end

function Timers.freeze() end
function Timers.unfreeze() end

return Timers
