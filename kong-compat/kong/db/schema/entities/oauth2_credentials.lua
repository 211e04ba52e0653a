-- An application of a Consumer (plugin oauth2).

local credential = require "kong.db.schema.credential"
local url = require "socket.url"

local function validate_uri(uri)
  local parsed = url.parse(uri)
  if not (parsed and parsed.host and parsed.scheme) then
    return nil, ("cannot parse '%s'"):format(uri)
  elseif parsed.fragment then
    return nil, ("fragment not allowed in '%s'"):format(uri)
  end
  return true
end

return credential("oauth2_credentials", {
  { name = { type = "string", required = true } },
  { client_id = { type = "string", required = false, unique = true, auto = true } },
  { client_secret = { type = "string", required = false, auto = true, encrypted = true } },
  { hash_secret = { type = "boolean", required = true, default = false } },
  { redirect_uris = { type = "array",
    elements = { type = "string", custom_validator = validate_uri } } },
  { client_type = { type = "string", required = true, default = "confidential",
    one_of = { "confidential", "public" } } },
}, { endpoint_key = "client_id", cache_key = { "client_id" } })
