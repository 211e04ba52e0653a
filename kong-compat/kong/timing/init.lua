-- Kong's timing of requests for debugging, which is off.

local function nothing() end

return {
  auth = nothing, enter_context = nothing, leave_context = nothing, set_context_prop = nothing,
  get_context_kv = nothing, set_root_context_prop = nothing, header_filter = nothing,
  log = nothing, init_worker = nothing, register_hooks = nothing,
}
