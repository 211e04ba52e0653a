-- What plugins use of `resty.core.base`.

local _M = {
  version = "0.1.28",
  new_tab = require "table.new",
  clear_tab = require "table.clear",
  FFI_OK = 0, FFI_ERROR = -1, FFI_AGAIN = -2, FFI_BUSY = -3, FFI_DONE = -4, FFI_DECLINED = -5,
  FFI_ABORT = -6, FFI_NO_REQ_CTX = -100, FFI_BAD_CONTEXT = -101,
}

-- A request is something that is there; its address means nothing here.
function _M.get_request()
  local phase = ngx.get_phase()
  if phase == "init" or phase == "init_worker" or phase == "timer" then
    return nil
  end
  return true
end

function _M.get_string_buf_size()
  return 4096
end

function _M.allows_subsystem(...)
  for _, name in ipairs { ... } do
    if name == "http" then
      return
    end
  end
  error("unsupported subsystem: http", 2)
end

return _M
