-- Kong's anonymous reports. They are never sent; plugins may go on counting.

local function nothing() end

return {
  init = nothing, init_worker = nothing, log = nothing, add_ping_value = nothing,
  add_immutable_value = nothing, add_entity_reports = nothing, send = nothing, toggle = nothing,
  get_ping_value = nothing, retrieve_redis_version = nothing,
}
