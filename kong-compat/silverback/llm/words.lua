-- Fields in the form that most of Kong's records of servers have: none is required.

local M = {}

function M.text(default, rest)
  local field = rest or {}
  field.type, field.required, field.default = "string", false, default
  return field
end

function M.referenceable(default)
  return M.text(default, { referenceable = true })
end

function M.secret()
  return M.text(nil, { referenceable = true, encrypted = true })
end

function M.flag(default)
  return { type = "boolean", required = false, default = default }
end

function M.record(fields)
  return { type = "record", required = false, fields = fields }
end

return M
