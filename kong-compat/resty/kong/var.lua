-- `resty.kong.var`: `ngx.var` needs no index here.

return {
  patch_metatable = function() end,
  load_indexes = function() return {} end,
  get = function(name) return ngx.var[name] end,
  set = function(name, value) ngx.var[name] = value end,
}
