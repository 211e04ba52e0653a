local typedefs = require "kong.db.schema.typedefs"

return {
  name = "ip-restriction",
  fields = {
    { protocols = typedefs.protocols {
      default = { "http", "https", "tcp", "tls", "grpc", "grpcs" },
    } },
    { config = {
      type = "record",
      fields = {
        { allow = {
          type = "array",
          elements = typedefs.ip_or_cidr,
          description = "The addresses and ranges that may come in; no others do.",
        } },
        { deny = {
          type = "array",
          elements = typedefs.ip_or_cidr,
          description = "The addresses and ranges that may not, allowed or not.",
        } },
        { status = { type = "number", description = "The status of a refusal; 403 without it." } },
        { message = { type = "string", description = "The message of a refusal." } },
      },
    } },
  },
  entity_checks = { { at_least_one_of = { "config.allow", "config.deny" } } },
}
