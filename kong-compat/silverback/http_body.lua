-- Readers of HTTP/1 bodies: functions that give piece after piece, nil at the end, and nil and what
-- went wrong.

local _M = {}

-- A body in chunks, cut into pieces of at most the size that is asked for.
function _M.chunked(sock, default)
  local left, done = 0, false

  local function next_chunk()
    local line, err = sock:receive("*l")
    if not line then
      return nil, err
    end
    local digits = line:match("^%s*(%x+)%s*$") or line:match("^%s*(%x+)%s*;")
    if not digits then
      return nil, "unable to read chunksize"
    end
    left = tonumber(digits, 16)
    done = left == 0
    return true
  end

  return function(max)
    max = max or default
    if done then
      return nil
    end
    if left == 0 then
      local ok, err = next_chunk()
      if not ok then
        done = true
        return nil, err
      end
      if done then
        return nil
      end
    end
    local piece, err, partial = sock:receive(math.min(max or left, left))
    if not piece then
      done = true
      return nil, err, partial
    end
    left = left - #piece
    if left == 0 then
      local ok
      ok, err = sock:receive(2)
      if not ok then
        done = true
        return nil, err
      end
    end
    return piece
  end
end

-- A body of a known length; without a size it comes at once.
function _M.counted(sock, length, default)
  local left = length
  return function(max)
    max = max or default
    if left <= 0 then
      return nil
    end
    local piece, err, partial = sock:receive(math.min(max or left, left))
    if not piece then
      left = 0
      return nil, err, partial
    end
    left = left - #piece
    return piece
  end
end

-- A body that ends with its connection.
function _M.endless(sock, default)
  local done = false
  return function(max)
    max = max or default
    if done then
      return nil
    end
    if not max then
      done = true
      local all, err, partial = sock:receive("*a")
      if not all then
        return nil, err, partial
      end
      return all ~= "" and all or nil
    end
    local piece, err, partial = sock:receive(max)
    if piece then
      return piece
    end
    done = true
    if err == "closed" then
      return partial ~= "" and partial or nil
    end
    return nil, err, partial
  end
end

-- Nothing.
function _M.none()
  return nil
end

-- A reader that tells those who go on after the end that there is nothing to read, in the words of
-- lua-resty-http: what it has given once it cannot give again.
function _M.once(read)
  local is_over = false
  return function(max)
    if is_over then
      return nil, "can't resume a dead coroutine"
    end
    local piece, err, partial = read(max)
    is_over = piece == nil and err == nil
    return piece, err, partial
  end
end

-- Everything that a reader gives.
function _M.whole(reader)
  local pieces = {}
  while true do
    local piece, err, partial = reader()
    if err then
      if partial then
        pieces[#pieces + 1] = partial
      end
      return nil, err, table.concat(pieces)
    end
    if not piece then
      return table.concat(pieces)
    end
    pieces[#pieces + 1] = piece
  end
end

return _M
