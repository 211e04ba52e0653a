local fields = require "silverback.fields.auth"
local typedefs = require "kong.db.schema.typedefs"

local flag = fields.flag

local function names(default, description)
  return {
    type = "set",
    elements = { type = "string" },
    default = default,
    description = description,
  }
end

return {
  name = "jwt",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { uri_param_names = names({ "jwt" }, "The query arguments that may hold the token.") },
        { cookie_names = names({}, "The cookies that may hold the token.") },
        { key_claim_name = {
          type = "string",
          default = "iss",
          description = "The claim, or the field of the token's header, that names the secret.",
        } },
        { secret_is_base64 = flag(false, "Whether the secrets of consumers are in base64.") },
        { claims_to_verify = {
          type = "set",
          elements = { type = "string", one_of = { "exp", "nbf" } },
          description = "The claims that must be there and in their time.",
        } },
        { anonymous = fields.anonymous "token" },
        { run_on_preflight = fields.run_on_preflight "token" },
        { maximum_expiration = {
          type = "number",
          default = 0,
          between = { 0, 31536000 },
          description = "How many seconds from now a token may end at most; 0 is any.",
        } },
        { header_names = names({ "authorization" }, "The headers that may hold the token.") },
        { realm = fields.realm() },
      },
    } },
  },
  entity_checks = {
    { conditional = {
      if_field = "config.maximum_expiration", if_match = { gt = 0 },
      then_field = "config.claims_to_verify", then_match = { contains = "exp" },
    } },
  },
}
