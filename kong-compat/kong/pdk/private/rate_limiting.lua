-- Headers of rate limits that are kept from one phase to the next.

local _M = {}

local KEY = "__rate_limiting_context__"

local function check_key(key, name)
  if type(key) ~= "string" then
    error(("arg #2 `key` for function `%s` must be a string, got %s"):format(name, type(key)), 3)
  end
end

function _M.store_response_header(ctx, key, value)
  check_key(key, "store_response_header")
  if type(value) ~= "number" and type(value) ~= "string" then
    error(("arg #3 `value` for function `store_response_header` must be a string or a number, "
      .. "got %s"):format(type(value)), 2)
  end
  ctx[KEY] = ctx[KEY] or {}
  ctx[KEY][key] = value
end

function _M.get_stored_response_header(ctx, key)
  check_key(key, "get_stored_response_header")
  return ctx[KEY] and ctx[KEY][key]
end

function _M.apply_response_headers(ctx)
  for key, value in pairs(ctx[KEY] or {}) do
    ngx.header[key] = tostring(value)
  end
end

return _M
