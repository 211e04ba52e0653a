-- Many lookups of `resty.mlcache` at once.

local HASTY = require("silverback.mlcache_options").HASTY

local _M = {}

-- How many callbacks run at a time, if nobody says (lua-resty-mlcache).
local CONCURRENCY = 3
-- The level of a lookup without a callback that finds nothing.
local MISSING = -1

-- A list of lookups for `get_bulk`.
local bulk = {}
bulk.__index = bulk

function _M.new_bulk()
  return setmetatable({ n = 0 }, bulk)
end

function bulk:add(key, options, callback, arg)
  local at = self.n * 4
  self[at + 1], self[at + 2], self[at + 3], self[at + 4] = key, options, callback, arg
  self.n = self.n + 1
end

local function check(list, i, place, name, kind)
  local got = type(list[place])
  if got ~= kind then
    error(("%s at index %d must be a %s for operation %d (got %s)"):format(name, place, kind, i,
                                                                           got), 3)
  end
end

-- Calls `f` with each of the items, some of them at a time.
local function together(most, items, f)
  local next_one, threads = 0, {}
  local function work()
    while next_one < #items do
      next_one = next_one + 1
      f(items[next_one])
    end
  end
  if not HASTY[ngx.get_phase()] then
    for i = 1, math.min(most, #items) - 1 do
      threads[i] = ngx.thread.spawn(work)
    end
  end
  work()
  for _, thread in ipairs(threads) do
    local ok, told = ngx.thread.wait(thread)
    if not ok then
      error(told, 0)
    end
  end
end

function _M:get_bulk(list, options)
  if type(list) ~= "table" then
    error("bulk must be a table", 2)
  elseif not list.n then
    error("bulk must have n field", 2)
  elseif options and type(options) ~= "table" then
    error("opts must be a table", 2)
  end
  local concurrency = options and options.concurrency
  if concurrency and type(concurrency) ~= "number" then
    error("opts.concurrency must be a number", 2)
  elseif concurrency and concurrency <= 0 then
    error("opts.concurrency must be > 0", 2)
  end
  for i = 1, list.n do
    check(list, i, i * 4 - 3, "key", "string")
    check(list, i, i * 4 - 1, "callback", "function")
  end
  local results, missing = { n = list.n * 3 }, {}
  local function look(i, callback)
    local at, to = i * 4, i * 3
    results[to - 2], results[to - 1], results[to] =
      self:get(list[at - 3], list[at - 2], callback, list[at])
    return results[to]
  end
  for i = 1, list.n do
    if look(i) == MISSING then
      missing[#missing + 1] = i
    end
  end
  together(concurrency or CONCURRENCY, missing, function(i) look(i, list[i * 4 - 1]) end)
  return results
end

function _M.each_bulk_res(results)
  if not results.n then
    error("res must have res.n field; is this a get_bulk() result?", 2)
  end
  local at = 0
  return function()
    if at * 3 >= results.n then
      return nil
    end
    at = at + 1
    return at, results[at * 3 - 2], results[at * 3 - 1], results[at * 3]
  end
end

return _M
