-- `ngx.ctx` as a function: what plugins use of `resty.core.ctx`.

return {
  get_ctx_table = function() return ngx.ctx end,
  set_ctx_table = function(ctx) ngx.ctx = ctx end,
}
