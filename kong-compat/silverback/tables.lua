-- The functions that OpenResty's LuaJIT adds to `table`, and those of Lua 5.2 and 5.3.

local _M = {}

function _M.isempty(t)
  return next(t) == nil
end

function _M.nkeys(t)
  local n = 0
  for _ in pairs(t) do
    n = n + 1
  end
  return n
end

-- Whether all keys are whole numbers, as OpenResty has it; an empty table counts as such.
function _M.isarray(t)
  for key in next, t do
    if type(key) ~= "number" or key % 1 ~= 0 then
      return false
    end
  end
  return true
end

-- A shallow copy without the metatable.
function _M.clone(t)
  local copy = {}
  for key, value in next, t do
    copy[key] = value
  end
  return copy
end

function _M.move(from, first, last, at, to)
  to = to or from
  if at > first and at <= last and to == from then
    for i = last - first, 0, -1 do
      to[at + i] = from[first + i]
    end
  else
    for i = 0, last - first do
      to[at + i] = from[first + i]
    end
  end
  return to
end

return _M
