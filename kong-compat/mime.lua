-- The codecs of LuaSocket's `mime` that plugins use, for whole strings.

local _M = { _VERSION = "MIME 1.0.3" }

function _M.b64(first, second)
  if first == nil then
    return nil, nil
  end
  return ngx.encode_base64(first .. (second or "")), ""
end

function _M.unb64(first, second)
  if first == nil then
    return nil, nil
  end
  local text = (first .. (second or "")):gsub("[^%w+/=]", "")
  return ngx.decode_base64(text) or "", ""
end

return _M
