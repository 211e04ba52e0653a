-- The place of lua-resty-gcp's tokens, which Kong's AI plugins load whatever the provider is.

local _M = {}

function _M.new()
  error("resty.gcp is not built in: put lua-resty-gcp on lua_package_path", 2)
end

return _M
