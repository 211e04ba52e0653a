-- A Vault: where references such as {vault://my-env/key} are resolved.

local typedefs = require "kong.db.schema.typedefs"
local constants = require "kong.constants"

local kinds = {}
for kind in pairs(constants.BUNDLED_VAULTS) do
  kinds[#kinds + 1] = kind
end

return {
  name = "vaults",
  primary_key = { "id" },
  cache_key = { "prefix" },
  endpoint_key = "prefix",

  fields = {
    { id = typedefs.uuid },
    -- A prefix must not be the name of a kind, which means that kind without an entity.
    { prefix = { type = "string", required = true, unique = true,
      match = "^[a-z][a-z%d-]-[a-z%d]+$", not_one_of = kinds } },
    { name = { type = "string", required = true,
      custom_validator = function(name)
        return constants.BUNDLED_VAULTS[name], ("vault '%s' is not installed"):format(name)
      end } },
    { description = { type = "string" } },
    { config = { type = "record", fields = {
      { prefix = { type = "string", match = "^[%a_-][%a%d_-]*$",
        description = "What the names of the environment variables start with." } },
    } } },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { tags = typedefs.tags },
  },
}
