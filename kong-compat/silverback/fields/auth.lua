-- Fields that the authentication plugins share. `what` is what the plugin reads: a key, a token.

local M = {}

function M.flag(default, description)
  return { type = "boolean", required = true, default = default, description = description }
end

function M.anonymous(what)
  return {
    type = "string",
    description = ("Id or username of the consumer that callers without a %s are."):format(what),
  }
end

function M.hide_credentials(what)
  return M.flag(false, ("Whether the upstream's request goes without the %s."):format(what))
end

function M.run_on_preflight(what)
  return M.flag(true, ("Whether an OPTIONS request needs a %s, too."):format(what))
end

-- With a default it is required, as in Kong.
function M.realm(default)
  return {
    type = "string",
    required = default ~= nil,
    default = default,
    description = "The realm that WWW-Authenticate names on a refusal.",
  }
end

return M
