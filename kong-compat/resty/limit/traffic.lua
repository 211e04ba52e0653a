-- Several limits for one request, with the interface of the module of the same name of
-- lua-resty-limit-traffic.

local _M = { _VERSION = "0.09" }

-- The longest of the waits, in seconds, if no limit rejects the request; else nil and why, and none
-- has counted it. What each limit says second goes into `states`.
--
-- All but the last are asked first, without effect. So most rejections take nothing back.
function _M.combine(limiters, keys, states)
  local last, longest = #limiters, 0
  local counted = {}

  local function ask(at, commit)
    local delay, state = limiters[at]:incoming(keys[at], commit)
    if not delay then
      for _, other in ipairs(counted) do
        limiters[other]:uncommit(keys[other])
      end
      return false, state
    end
    if commit then
      counted[#counted + 1] = at
      longest = math.max(longest, delay)
      if states then
        states[at] = state
      end
    end
    return true
  end

  for at = 1, last do
    local ok, err = ask(at, at == last)
    if not ok then
      return nil, err
    end
  end
  for at = 1, last - 1 do
    local ok, err = ask(at, true)
    if not ok then
      return nil, err
    end
  end
  return longest
end

return _M
