-- Functions under a name, which run one after the other.

local _M = {}

local hooks = {}

-- A hook of the common kind does not run after one that has returned nil.
local function chained(hook)
  return function(before, ...)
    if before and not before[1] then
      return before
    end
    return table.pack(hook(...))
  end
end

function _M.register_hook(name, hook, options)
  assert(type(hook) == "function", "hook must be a function")
  hooks[name] = hooks[name] or {}
  table.insert(hooks[name], options and options.low_level and hook or chained(hook))
end

-- What the last hook returned; the first argument if there is none.
function _M.run_hook(name, ...)
  if not hooks[name] then
    return (...)
  end
  local results
  for _, hook in ipairs(hooks[name]) do
    results = hook(results, ...)
  end
  return unpack(results, 1, results.n)
end

function _M.clear_hooks()
  hooks = {}
end

return _M
