-- Sources, sinks, filters and pumps, as LuaSocket's users know them: a source gives the next piece
-- or nil, a sink takes a piece or nil at the end, and both may say what went wrong.
--
-- LuaSocket leaves the module in a global as well, and plugins rely on it.

local _M = { _VERSION = "LTN12 1.0.3", BLOCKSIZE = 2048, source = {}, sink = {}, filter = {},
  pump = {} }

local source, sink, filter, pump = _M.source, _M.sink, _M.filter, _M.pump

-- A filter out of a function that is handed its own state on each call.
function filter.cycle(step, state, extra)
  assert(step)
  return function(piece)
    local out
    out, state = step(state, piece, extra)
    return out
  end
end

-- One filter after another. A filter that answers "" wants more; at the end each one is asked until
-- it answers nil, and what it still had goes through those behind it.
function filter.chain(...)
  local filters = { ... }
  local ready, ended = {}, false

  local function feed(from, piece)
    for n = from, #filters do
      if piece == "" then
        return
      end
      piece = filters[n](piece)
      if piece == nil then
        error("filter returned inappropriate nil")
      end
    end
    if piece ~= "" then
      ready[#ready + 1] = piece
    end
  end

  local function finish()
    for n = 1, #filters do
      while true do
        local rest = filters[n](nil)
        if not rest then
          break
        end
        feed(n + 1, rest)
        if rest == "" then
          break
        end
      end
    end
  end

  return function(piece)
    if piece and piece ~= "" then
      feed(1, piece)
    elseif piece == nil and not ended then
      ended = true
      finish()
    end
    return table.remove(ready, 1) or (piece and "" or nil)
  end
end

local function nothing()
  return nil
end

function source.empty()
  return nothing
end

function source.error(problem)
  return function()
    return nil, problem
  end
end

function source.file(handle, problem)
  if not handle then
    return source.error(problem or "unable to open file")
  end
  return function()
    local piece = handle:read(_M.BLOCKSIZE)
    if not piece then
      handle:close()
    end
    return piece
  end
end

-- A source may name another one that goes on in its place.
function source.simplify(from)
  assert(from)
  return function()
    local piece, other = from()
    from = other or from
    if not piece then
      return nil, other
    end
    return piece
  end
end

function source.string(text)
  if not text then
    return source.empty()
  end
  local at = 1
  return function()
    local piece = text:sub(at, at + _M.BLOCKSIZE - 1)
    at = at + _M.BLOCKSIZE
    return piece ~= "" and piece or nil
  end
end

function source.table(pieces)
  assert(type(pieces) == "table")
  local at = 0
  return function()
    at = at + 1
    return pieces[at]
  end
end

-- A source that takes pieces back: the last one that came back is the next one to go.
function source.rewind(from)
  assert(from)
  local back = {}
  return function(piece)
    if piece then
      back[#back + 1] = piece
      return
    end
    local last = table.remove(back)
    if last then
      return last
    end
    return from()
  end
end

function source.chain(from, first, ...)
  assert(from and first)
  local step = select("#", ...) > 0 and filter.chain(first, ...) or first
  local piece, is_fed = nil, false
  return function()
    while true do
      if not is_fed then
        local problem
        piece, problem = from()
        if problem then
          return nil, problem
        end
        is_fed = true
      end
      local out = step(piece)
      if not out then
        if piece then
          error("filter returned inappropriate nil")
        end
        return nil
      end
      if piece then
        piece = ""
      end
      if out ~= "" then
        return out
      end
      is_fed = false
    end
  end
end

function source.cat(...)
  local sources = { ... }
  return function()
    while sources[1] do
      local piece, problem = sources[1]()
      if piece then
        return piece
      end
      if problem then
        return nil, problem
      end
      table.remove(sources, 1)
    end
  end
end

function sink.table(pieces)
  pieces = pieces or {}
  return function(piece)
    if piece then
      pieces[#pieces + 1] = piece
    end
    return 1
  end, pieces
end

function sink.simplify(to)
  assert(to)
  return function(piece, problem)
    local ok, other = to(piece, problem)
    if not ok then
      return nil, other
    end
    to = other or to
    return 1
  end
end

function sink.file(handle, problem)
  if not handle then
    return sink.error(problem or "unable to open file")
  end
  return function(piece)
    if piece then
      return handle:write(piece)
    end
    handle:close()
    return 1
  end
end

function sink.null()
  return function()
    return 1
  end
end

function sink.error(problem)
  return function()
    return nil, problem
  end
end

function sink.chain(...)
  local parts = { ... }
  local to = table.remove(parts)
  local step = #parts > 1 and filter.chain(unpack(parts)) or parts[1]
  assert(step and to)
  return function(piece, problem)
    if piece == "" then
      return 1
    end
    local again = piece and ""
    local out = step(piece)
    while true do
      local ok, failure = to(out, problem)
      if not ok then
        return nil, failure
      end
      if out == again then
        return 1
      end
      out = step(again)
    end
  end
end

function pump.step(from, to)
  local piece, problem = from()
  local ok, failure = to(piece, problem)
  if piece and ok then
    return 1
  end
  return nil, problem or failure
end

function pump.all(from, to, step)
  assert(from and to)
  step = step or pump.step
  while true do
    local ok, problem = step(from, to)
    if not ok then
      if problem then
        return nil, problem
      end
      return 1
    end
  end
end

rawset(_G, "ltn12", _M)

return _M
