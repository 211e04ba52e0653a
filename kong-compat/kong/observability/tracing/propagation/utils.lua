-- Ids of traces and spans as bytes, and baggage in headers.

local _M = {
  FORMATS = {
    W3C = "w3c", B3 = "b3", B3_SINGLE = "b3-single", JAEGER = "jaeger", OT = "ot",
    DATADOG = "datadog", AWS = "aws", GCP = "gcp", INSTANA = "instana",
  },
}

function _M.from_hex(text)
  if type(text) ~= "string" then
    return nil, "not a string"
  end
  if #text % 2 == 1 then
    text = "0" .. text
  end
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- The last bytes of an id, with zeros in front where there are too few.
function _M.to_id_size(id, size)
  if not id then
    return nil
  elseif #id > size then
    return id:sub(-size)
  end
  return ("\0"):rep(size - #id) .. id
end

function _M.to_kong_trace_id(id)
  return _M.to_id_size(id, 16)
end

function _M.to_kong_span_id(id)
  return _M.to_id_size(id, 8)
end

local fixed = {
  __newindex = function() error("attempt to set immutable baggage", 2) end,
}

function _M.parse_baggage_headers(headers, pattern)
  local baggage
  for name, value in pairs(headers) do
    local key = name:match(pattern)
    if key then
      baggage = baggage or {}
      baggage[key] = ngx.unescape_uri(type(value) == "table" and value[1] or value)
    end
  end
  return baggage and setmetatable(baggage, fixed)
end

return _M
