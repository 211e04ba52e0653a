-- The place of lua-resty-aws' signatures; see resty.aws.

return function()
  return nil, "resty.aws is not built in: put lua-resty-aws on lua_package_path"
end
