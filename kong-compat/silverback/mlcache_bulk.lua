-- Many lookups of `resty.mlcache` at once.

local _M = {}

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
  local results = { n = list.n * 3 }
  for i = 0, list.n - 1 do
    local key, own, callback, arg = list[i * 4 + 1], list[i * 4 + 2], list[i * 4 + 3],
                                    list[i * 4 + 4]
    local value, told, level = self:get(key, own, callback, arg)
    results[i * 3 + 1], results[i * 3 + 2], results[i * 3 + 3] = value, told, level
  end
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
