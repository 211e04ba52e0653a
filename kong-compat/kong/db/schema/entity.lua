-- `kong.db.schema.entity`: schemas of what is stored, whose records are there by default.

local Schema = require "kong.db.schema"

local Entity = {}

local function require_records(field)
  if field.required == nil then
    field.required = true
  end
  for i = 1, #(field.fields or {}) do
    local _, inner = next(field.fields[i])
    if type(inner) == "table" and inner.type == "record" then
      require_records(inner)
    end
  end
end

function Entity.new_subschema(schema, key, definition)
  require_records(definition)
  definition.required = nil
  return Schema.new_subschema(schema, key, definition)
end

function Entity.new(definition)
  local self, err = Schema.new(definition)
  if not self then
    return nil, err
  end
  for name, field in self:each_field() do
    if field.nilable then
      return nil, name .. ": Entities cannot have nilable types."
    elseif not field.abstract and field.type == "map" and field.keys.type ~= "string" then
      return nil, name .. ": Entities map keys must be strings."
    elseif not field.abstract and field.type == "record" then
      require_records(field)
    elseif not field.abstract and field.type == "function" then
      return nil, name .. ": Entities cannot have function types."
    end
  end
  rawset(self, "__is_entity", true)
  self.new_subschema = Entity.new_subschema
  return self
end

return Entity
