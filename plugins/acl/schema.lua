local typedefs = require "kong.db.schema.typedefs"

local function groups(description)
  return { type = "array", elements = { type = "string" }, description = description }
end

local function flag(description)
  return { type = "boolean", required = true, default = false, description = description }
end

return {
  name = "acl",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { allow = groups("Only clients in one of these groups pass.") },
        { deny = groups("Clients in one of these groups do not pass.") },
        { hide_groups_header = flag("Whether the upstream is told nothing of the groups.") },
        { always_use_authenticated_groups = flag(
          "Whether groups that another plugin found out stand above those of the consumer."
        ) },
      },
    } },
  },
  entity_checks = {
    { only_one_of = { "config.allow", "config.deny" } },
    { at_least_one_of = { "config.allow", "config.deny" } },
  },
}
