-- The module `resty.openssl.err`: there is no list of errors that would have to be read.

local _M = {}

function _M.format_error(context, code)
  if code then
    return ("%s: code: %d"):format(tostring(context), code)
  end
  return ("%s failed"):format(tostring(context))
end
_M.format_all_error = _M.format_error

function _M.get_last_error_code()
  return 0
end

function _M.get_lib_error_string()
  return "unknown library"
end

function _M.get_reason_error_string()
  return ""
end

return _M
