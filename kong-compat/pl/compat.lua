-- Differences between Lua versions that are none here: Penlight's `compat`.

local _M = {
  lua51 = true, jit = true, jit52 = true, dir_separator = "/", is_windows = false, load = load,
  setfenv = setfenv, getfenv = getfenv,
}

function _M.execute(command)
  local ok, _, code = os.execute(command)
  if type(ok) == "number" then
    return ok == 0, ok > 255 and ok / 256 or ok
  end
  return ok and true or false, code
end

if rawget(_G, "warn") == nil then
  rawset(_G, "warn", function(...)
    ngx.log(ngx.WARN, ...)
  end)
end

return _M
