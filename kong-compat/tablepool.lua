-- Tables that are used again and again, by the name of their pool.

local clear = require "table.clear"
local new = require "table.new"

local _M = {}
local pools = {}

-- How many tables a pool keeps.
local KEPT = 500

function _M.fetch(tag, narr, nrec)
  local pool = pools[tag]
  local kept = pool and table.remove(pool)
  return kept or new(narr or 0, nrec or 0)
end

function _M.release(tag, object, no_clear)
  if not object then
    error("object empty", 2)
  end
  local pool = pools[tag]
  if not pool then
    pool = {}
    pools[tag] = pool
  end
  if #pool >= KEPT then
    return
  end
  if not no_clear then
    setmetatable(object, nil)
    clear(object)
  end
  pool[#pool + 1] = object
end

return _M
