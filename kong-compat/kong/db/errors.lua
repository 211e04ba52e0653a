-- The errors of `kong.db`: tables with a code, a name and a message, which print as Kong's do.

local pretty = require "silverback.pretty"

local NAMES = {
  { "INVALID_PRIMARY_KEY", "invalid primary key" },
  { "SCHEMA_VIOLATION", "schema violation" },
  { "PRIMARY_KEY_VIOLATION", "primary key violation" },
  { "FOREIGN_KEY_VIOLATION", "foreign key violation" },
  { "UNIQUE_VIOLATION", "unique constraint violation" },
  { "NOT_FOUND", "not found" },
  { "INVALID_OFFSET", "invalid offset" },
  { "DATABASE_ERROR", "database error" },
  { "INVALID_SIZE", "invalid size" },
  { "INVALID_UNIQUE", "invalid unique %s" },
  { "INVALID_OPTIONS", "invalid options" },
  { "OPERATION_UNSUPPORTED", "operation unsupported" },
  { "FOREIGN_KEYS_UNRESOLVED", "foreign keys unresolved" },
  { "DECLARATIVE_CONFIG", "invalid declarative configuration" },
  { "TRANSFORMATION_ERROR", "transformation error" },
  { "INVALID_FOREIGN_KEY", "invalid foreign key" },
  { "INVALID_WORKSPACE", "invalid workspace" },
  { "INVALID_UNIQUE_GLOBAL", "invalid global query" },
  { "REFERENCED_BY_OTHERS", "referenced by others" },
}

local Errors = { codes = {}, names = {} }
for code, row in ipairs(NAMES) do
  Errors.codes[row[1]] = code
  Errors.names[code] = row[2]
end

local as_text = {
  __tostring = function(failure)
    local message = failure.message
    if message == nil or message == ngx.null then
      message = failure.name
    end
    return failure.strategy and "[" .. failure.strategy .. "] " .. message or message
  end,
  __concat = function(a, b)
    return tostring(a) .. tostring(b)
  end,
}

local function made(self, name, message, fields, shown)
  local code = Errors.codes[name]
  return setmetatable({
    code = code,
    name = shown or Errors.names[code],
    message = message or ngx.null,
    strategy = self.strategy,
    fields = fields,
  }, as_text)
end

Errors.__index = function(self, key)
  if Errors[key] ~= nil then
    return Errors[key]
  end
  local name = type(key) == "string" and key:upper()
  if Errors.codes[name] then
    return key == name and Errors.codes[name] or function() return made(self, name) end
  end
end

function Errors.new(strategy)
  return setmetatable({ strategy = strategy }, Errors)
end

function Errors:invalid_primary_key(fields)
  return made(self, "INVALID_PRIMARY_KEY",
              ("invalid primary key: '%s'"):format(pretty(fields)), fields)
end

function Errors:invalid_foreign_key(fields)
  return made(self, "INVALID_FOREIGN_KEY",
              ("invalid foreign key: '%s'"):format(pretty(fields)), fields)
end

function Errors:not_found(fields)
  return made(self, "NOT_FOUND",
              ("could not find the entity with primary key '%s'"):format(pretty(fields)), fields)
end

function Errors:not_found_by_field(fields)
  return made(self, "NOT_FOUND",
              ("could not find the entity with '%s'"):format(pretty(fields)), fields)
end

function Errors:invalid_offset(offset, reason)
  return made(self, "INVALID_OFFSET", ("'%s' is not a valid offset: %s"):format(offset, reason))
end

function Errors:invalid_size(reason)
  return made(self, "INVALID_SIZE", reason)
end

function Errors:invalid_unique(name, reason)
  return made(self, "INVALID_UNIQUE", reason, nil,
              Errors.names[Errors.codes.INVALID_UNIQUE]:format(name))
end

function Errors:invalid_unique_global(name)
  local told = ("unique key %s is invalid for global query"):format(name)
  return made(self, "INVALID_UNIQUE_GLOBAL", told)
end

function Errors:database_error(reason)
  return made(self, "DATABASE_ERROR", reason or Errors.names[Errors.codes.DATABASE_ERROR])
end

function Errors:operation_unsupported(reason)
  return made(self, "OPERATION_UNSUPPORTED", reason)
end

function Errors:schema_violation(fields)
  local told = require("silverback.metaschema").violation(fields)
  return made(self, "SCHEMA_VIOLATION", told, fields)
end

function Errors:primary_key_violation(fields)
  return made(self, "PRIMARY_KEY_VIOLATION",
              ("primary key violation on key '%s'"):format(pretty(fields)), fields)
end

function Errors:unique_violation(fields)
  return made(self, "UNIQUE_VIOLATION",
              ("UNIQUE violation detected on '%s'"):format(pretty(fields)), fields)
end

function Errors:transformation_error(reason)
  local name = Errors.names[Errors.codes.TRANSFORMATION_ERROR]
  return made(self, "TRANSFORMATION_ERROR", reason or name)
end

return Errors
