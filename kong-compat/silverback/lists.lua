-- What `pl.tablex` does to lists in place, and places in them.

local utils = require "pl.utils"

local _M = {}

local function check(n, value, kind)
  if not require("pl.types")["is_" .. kind](value) then
    error(("argument %d is not %s"):format(n, kind), 3)
  end
end

-- Positions from the end are negative.
function _M._position(t, at)
  return at < 0 and #t + at + 1 or at
end

function _M._normalize_slice(t, first, last)
  return _M._position(t, first or 1), _M._position(t, last or #t)
end

local function copy_into(to, from, at, first, count)
  at, first = at or 1, first or 1
  local last = count and first + math.min(count - 1, #from - first) or #from
  local values = {}
  for i = first, last do
    values[i - first + 1] = from[i]
  end
  for i, value in ipairs(values) do
    to[at + i - 1] = value
  end
  return to, at + #values
end

function _M.icopy(to, from, at, first, count)
  check(1, to, "indexable")
  check(2, from, "indexable")
  local _, behind = copy_into(to, from, at, first, count)
  _M.clear(to, behind)
  return to
end

function _M.move(to, from, at, first, count)
  check(1, to, "indexable")
  check(2, from, "indexable")
  return (copy_into(to, from, at, first, count))
end

function _M.set(t, value, first, last)
  check(1, t, "indexable")
  local is_function = utils.is_callable(value)
  for i = first or 1, last or #t do
    if is_function then
      t[i] = value(i)
    else
      t[i] = value
    end
  end
end

function _M.new(count, value)
  local made = {}
  _M.set(made, value, 1, count)
  return made
end

function _M.clear(t, from)
  for i = #t, from or 1, -1 do
    t[i] = nil
  end
end

function _M.insertvalues(t, ...)
  utils.assert_arg(1, t, "table")
  local at, values = ...
  if select("#", ...) == 1 then
    at, values = #t + 1, at
  end
  for i = #t, at, -1 do
    t[i + #values] = t[i]
  end
  for i = 1, #values do
    t[at + i - 1] = values[i]
  end
  return t
end

function _M.removevalues(t, first, last)
  utils.assert_arg(1, t, "table")
  first, last = _M._normalize_slice(t, first, last)
  for _ = first, last do
    table.remove(t, first)
  end
  return t
end

return _M
