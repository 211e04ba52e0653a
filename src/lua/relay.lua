-- A host call that must wait yields `pending` to the driver. A user coroutine stands between
-- the two, so resume and wrap pass `pending` upward and return here when the driver resumes them.
local pending = ...
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

local function relay(co, ok, first, ...)
  if ok and first == pending then
    return relay(co, resume(co, yield(pending)))
  end
  return ok, first, ...
end

local function raise(ok, ...)
  if not ok then
    error((...), 0)
  end
  return ...
end

function coroutine.resume(co, ...)
  return relay(co, resume(co, ...))
end

function coroutine.wrap(f)
  local co = create(f)
  return function(...)
    return raise(relay(co, resume(co, ...)))
  end
end
