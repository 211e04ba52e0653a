-- How Kong asks its stream subsystem from the other one. Here is no such subsystem: handlers are
-- taken, and requests go to those of this worker.

local _M = { MAX_PAYLOAD_SIZE = 2 ^ 24 - 1 }

local handlers = {}

function _M.load_handlers()
  return true
end

function _M.register_handler(key, handler)
  handlers[key] = handler
end

function _M.request(key, data)
  local handler = handlers[key]
  if not handler then
    return nil, "no handler"
  end
  local ok, answer, err = pcall(handler, data)
  if not ok then
    return nil, "handler exception: " .. tostring(answer)
  elseif not answer then
    return nil, "handler error: " .. tostring(err)
  end
  return type(answer) == "table" and table.concat(answer) or answer
end

return _M
