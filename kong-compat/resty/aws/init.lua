-- The place of lua-resty-aws, which Kong's AI plugins load whatever the provider is.
--
-- The library itself is pure Lua and wins where it is on the path.

return setmetatable({}, {
  __call = function()
    error("resty.aws is not built in: put lua-resty-aws on lua_package_path", 2)
  end,
})
