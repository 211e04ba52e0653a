-- The module `ngx.base64`: the alphabet that URLs may hold, without padding.

local _M = { version = "0.1.30" }

function _M.encode_base64url(text)
  if type(text) ~= "string" then
    return nil, "must provide a string"
  end
  return (ngx.encode_base64(text, true):gsub("[+/]", { ["+"] = "-", ["/"] = "_" }))
end

function _M.decode_base64url(text)
  if type(text) ~= "string" then
    return nil, "must provide a string"
  end
  if text:find("[+/]") then
    return nil, "invalid input"
  end
  local bytes = ngx.decode_base64((text:gsub("[-_]", { ["-"] = "+", ["_"] = "/" })))
  if not bytes then
    return nil, "invalid input"
  end
  return bytes
end

return _M
