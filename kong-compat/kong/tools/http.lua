-- Names in HTTP messages.

local _M = {}

-- A token of RFC 9110, as Kong checks it: the separators and control characters are out.
function _M.validate_http_token(token)
  if token == nil or token == "" then
    return nil, "no token provided"
  end
  if token:find("[%c%s()<>@,;:\\\"/?={}%[%]]") then
    return nil, "contains one or more invalid characters. ASCII control characters (0-31;127), "
      .. "space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed."
  end
  return token
end

_M.validate_cookie_name = _M.validate_http_token

-- Kong and nginx want less of a header name than the RFC allows.
function _M.validate_header_name(name)
  if name == nil or name == "" then
    return nil, "no header name provided"
  end
  if name:find("^[%w_-]+$") then
    return name
  end
  local err = "bad header name '%s', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
  return nil, err:format(name)
end

return _M
