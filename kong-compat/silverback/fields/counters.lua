-- Fields that the plugins share that count requests.

local M = {}

-- `len_min` decides what Kong says of an empty text.
function M.policy(len_min)
  return {
    type = "string",
    default = "local",
    len_min = len_min,
    one_of = { "local", "redis" },
    description = "Where the counters are: in this process, or in Redis.",
  }
end

M.fault_tolerant = {
  type = "boolean",
  required = true,
  default = true,
  description = "Whether requests pass uncounted when the counters cannot be reached.",
}

M.hide_client_headers = {
  type = "boolean",
  required = true,
  default = false,
  description = "Whether the client is not told what is left.",
}

-- From the shortest to the longest.
M.periods = { "second", "minute", "hour", "day", "month", "year" }

-- A check of limits by period: one of a longer period that is below one of a shorter period makes
-- the latter pointless. `err` has places for the two periods, each with its limit.
function M.in_order(err)
  return function(limits)
    for i, shorter in ipairs(M.periods) do
      for j = i + 1, #M.periods do
        local longer = M.periods[j]
        local low, high = limits[shorter], limits[longer]
        if type(low) == "number" and type(high) == "number" and high < low then
          return nil, err:format(longer, high, shorter, low)
        end
      end
    end
    return true
  end
end

-- The types of partials that these plugins take, and where they go.
M.supported_partials = { ["redis-ce"] = { "config.redis" } }

return M
