-- A Target: one address of an Upstream.

local typedefs = require "kong.db.schema.typedefs"
local normalize_ip = require("kong.tools.ip").normalize_ip

local function validate_target(target)
  if normalize_ip(target) then
    return true
  end
  return nil, ("Invalid target ('%s'); not a valid hostname or ip address"):format(target)
end

return {
  name = "targets",
  primary_key = { "id" },
  cache_key = { "upstream", "target" },
  endpoint_key = "target",

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_ms },
    { updated_at = typedefs.auto_timestamp_ms },
    { upstream = {
      type = "foreign",
      reference = "upstreams",
      required = true,
      on_delete = "cascade",
    } },
    { target = { type = "string", required = true, custom_validator = validate_target,
      description = "A host and its port; without one the port is 8000." } },
    { weight = { type = "integer", default = 100, between = { 0, 65535 },
      description = "The share of this target; 0 takes it out of rotation." } },
    { tags = typedefs.tags },
  },
}
