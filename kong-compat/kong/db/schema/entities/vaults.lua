-- A Vault: where references such as {vault://my-env/key} are resolved.

local typedefs = require "kong.db.schema.typedefs"
local constants = require "kong.constants"

local kinds = {}
for kind in pairs(constants.BUNDLED_VAULTS) do
  kinds[#kinds + 1] = kind
end

local seconds = { type = "number", between = { 0, constants.DATABASE.DAO_MAX_TTL } }

-- The environment never expires, so the times are taken from a file and mean nothing more.
local env = {
  fields = {
    { config = { type = "record", fields = {
      { prefix = { type = "string", match = "^[%a_-][%a%d_-]*$",
        description = "What the names of the environment variables start with." } },
      { base64_decode = { type = "boolean", default = false,
        description = "Whether the values are in base64." } },
      { ttl = seconds },
      { neg_ttl = seconds },
      { resurrect_ttl = seconds },
    } } },
  },
}

return {
  name = "vaults",
  primary_key = { "id" },
  cache_key = { "prefix" },
  endpoint_key = "prefix",

  -- What `config` must be depends on the kind.
  subschema_key = "name",
  subschema_error = "vault '%s' is not installed",
  subschemas = { env = env },

  fields = {
    { id = typedefs.uuid },
    -- A prefix must not be the name of a kind, which means that kind without an entity.
    { prefix = { type = "string", required = true, unique = true,
      match = "^[a-z][a-z%d-]-[a-z%d]+$", not_one_of = kinds } },
    { name = { type = "string", required = true } },
    { description = { type = "string" } },
    { config = { type = "record", abstract = true } },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { tags = typedefs.tags },
  },
}
