-- `kong.db.schema`: schemas of Lua code, and what `schema.lua` files call of Kong's library. Values
-- are looked at by the host's engine, which is the one that reads configurations.

local definitions = require "silverback.definitions"
local engine = require "silverback.schema"
local host = require "silverback.host"

local Schema = {}
Schema.__index = Schema

Schema.valid_types = {
  array = true, set = true, string = true, number = true, boolean = true, integer = true,
  foreign = true, map = true, record = true, ["function"] = true, json = true,
}

-- An expression of Lua plugins is matched with PCRE.
Schema.validators = {}

function Schema.validators.is_regex(text)
  local _, err = ngx.re.match("", text)
  if err then
    return nil, "not a valid regex: " .. text
  end
  return true
end

-- Schemas by name, for foreign keys.
local known = {}

local function copied(value, seen)
  if type(value) ~= "table" then
    return value
  elseif seen[value] then
    return seen[value]
  end
  local copy = {}
  seen[value] = copy
  for key, inner in pairs(value) do
    copy[key] = copied(inner, seen)
  end
  return setmetatable(copy, getmetatable(value))
end

local function is_list(value)
  return type(value) == "table" and value[1] ~= nil
end

-- Fields are found by their place and by their name, also those of records within.
local function by_name(fields)
  for i = 1, #fields do
    local name, field = next(fields[i])
    fields[name] = field
    if type(field) == "table" and field.type == "record" and field.fields then
      by_name(field.fields)
    end
  end
end

-- A type that can be used as it is, or called with attributes that override its own.
function Schema.define(definition)
  return setmetatable(definition, {
    __call = function(_, overrides)
      local copy = {}
      for name, value in pairs(definition) do
        copy[name] = value
      end
      for name, value in pairs(overrides or {}) do
        copy[name] = value
      end
      return copy
    end,
  })
end

-- The schema that a foreign key leads to; nil and why there is none.
local function foreign(reference)
  if not known[reference] then
    local definition = definitions.find(tostring(reference), definitions.plugins())
    if not definition then
      return nil, "schema refers to an invalid foreign entity: " .. tostring(reference)
    end
    local schema = setmetatable(copied(definition, {}), Schema)
    known[reference] = schema
    by_name(schema.fields)
  end
  return known[reference]
end

function Schema.new(definition, is_subschema)
  if not definition then
    return nil, "expected a definition table"
  elseif not definition.fields then
    return nil, "error in schema definition: no 'fields' table"
  end
  local self = setmetatable(copied(definition, {}), Schema)
  -- What the engine reads: fields as they are written.
  rawset(self, "__definition", copied(definition, {}))
  for i = 1, #self.fields do
    local _, field = next(self.fields[i])
    if type(field) == "table" and field.type == "foreign" and not is_subschema then
      local schema, err = foreign(field.reference)
      if not schema then
        return nil, err
      end
      field.schema = schema
    end
  end
  by_name(self.fields)
  if self.cache_key then
    self.cache_key_set = {}
    for _, name in ipairs(self.cache_key) do
      self.cache_key_set[name] = true
    end
  end
  if self.name and not is_subschema then
    known[self.name] = self
  end
  return self
end

function Schema.new_subschema(self, key, definition)
  assert(type(key) == "string", "key must be a string")
  assert(type(definition) == "table", "definition must be a table")
  if not self.subschema_key then
    local told = "error in definition of '%s': entities of type '%s' cannot have subschemas"
    return nil, told:format(key, self.name)
  end
  local subschema, err = Schema.new(definition, true)
  if not subschema then
    return nil, err
  end
  err = require("silverback.metaschema_fields").misfit(key, self, definition)
  if err then
    return nil, err
  end
  self.subschemas = self.subschemas or {}
  self.subschemas[key] = subschema
  return true
end

-- The subschema that a value chooses.
local function subschema_of(self, input)
  local key = self.subschema_key and self.subschemas and input[self.subschema_key]
  for _, name in ipairs(type(key) == "table" and key or { key or nil }) do
    if self.subschemas[name] then
      return self.subschemas[name], name
    end
  end
end

local function joined(one, other)
  local list = {}
  for _, part in ipairs { one or {}, other or {} } do
    for _, item in ipairs(part) do
      list[#list + 1] = item
    end
  end
  return list
end

-- A definition with the fields of a subschema in place of its own.
local function merged(definition, subschema)
  local own = subschema.__definition
  local fields = {}
  for i, item in ipairs(definition.fields) do
    local name = next(item)
    fields[i] = item
    for _, other in ipairs(own.fields) do
      if other[name] then
        fields[i] = other
      end
    end
  end
  return {
    fields = fields, check = definition.check or own.check, ttl = definition.ttl,
    entity_checks = joined(definition.entity_checks, own.entity_checks),
    shorthand_fields = joined(definition.shorthand_fields, own.shorthand_fields),
  }
end

-- The engine's form of a schema for a value, made when it is first needed.
local function compiled(self, input)
  local subschema, name = subschema_of(self, input)
  local cache = rawget(self, "__compiled")
  if not cache then
    cache = {}
    rawset(self, "__compiled", cache)
  end
  local key = name or self
  if not cache[key] or cache[key].of ~= subschema then
    local source = rawget(self, "__definition") or self
    local definition = subschema and merged(source, subschema) or source
    local made, err = engine.compile({
      fields = definition.fields, check = definition.check, ttl = definition.ttl,
      entity_checks = definition.entity_checks, shorthand_fields = definition.shorthand_fields,
    }, rawget(self, "__is_entity"))
    if not made then
      return nil, err
    end
    cache[key] = { of = subschema, made = made }
  end
  return cache[key].made
end

-- True, or nil and the tree of what is wrong.
function Schema:validate(input, full_check)
  assert(type(input) == "table", "expected an input table")
  local key = self.subschema_key
  if key then
    local chosen = input[key]
    if chosen == nil or chosen == ngx.null then
      return nil, { [key] = "required field missing" }
    elseif not subschema_of(self, input) then
      local told = self.subschema_error or "unknown type: %s"
      return nil, { [key] = told:format(type(chosen) == "string" and chosen or chosen[1]) }
    end
  end
  local made, err = compiled(self, input)
  if not made then
    return nil, { ["@entity"] = { err } }
  end
  return engine.judge(made, input, full_check ~= false)
end

function Schema:validate_insert(input)
  return self:validate(input, true)
end

Schema.validate_upsert = Schema.validate_insert

local WHEN = {
  { "^(field required for entity check)$", "%1 when updating" },
  { "^(at least one of these fields must be non%-empty)", "when updating, %1" },
}

-- Says of the texts that speak of missing fields that this was a change.
local function when_updating(errors)
  for name, told in pairs(errors) do
    if type(told) == "table" then
      when_updating(told)
    else
      for _, pair in ipairs(WHEN) do
        errors[name] = errors[name]:gsub(pair[1], pair[2])
      end
    end
  end
  return errors
end

function Schema:validate_update(input)
  local ok, errors = self:validate(input, false)
  if not ok then
    return nil, when_updating(errors)
  end
  return ok
end

function Schema:validate_field(field, value)
  local made, err = engine.compile { fields = { { value = field } } }
  if not made then
    return nil, err
  end
  local ok, errors = engine.judge(made, { value = value }, true)
  if ok then
    return true
  end
  return nil, errors.value or errors
end

function Schema:validate_primary_key(pk, ignore_others)
  local errors, is_key = {}, {}
  for _, name in ipairs(self.primary_key or {}) do
    is_key[name] = true
    local field = self.fields[name]
    if not pk[name] then
      errors[name] = "missing primary key"
    elseif (field.required or field.auto) and pk[name] == ngx.null then
      errors[name] = "required field missing"
    else
      local _, told = self:validate_field(field, pk[name])
      errors[name] = told
    end
  end
  for name in pairs(ignore_others and {} or pk) do
    if not is_key[name] then
      errors[name] = "not a primary key"
    end
  end
  if next(errors) then
    return nil, errors
  end
  return true
end

-- A copy with defaults and the values that are made; fields without one are null.
function Schema:process_auto_fields(data, context)
  if context == "select" or context == "update" then
    return copied(data, {})
  end
  local made, err = compiled(self, data)
  if not made then
    return nil, { ["@entity"] = { err } }
  end
  local filled, errors = engine.fill(made, data)
  if not filled then
    return nil, errors
  end
  for name, field in self:each_field() do
    if field.uuid and field.auto and filled[name] == ngx.null then
      filled[name] = host.uuid()
    end
  end
  return filled
end

function Schema:merge_values(top, bottom)
  bottom = type(bottom) == "table" and bottom or {}
  local output = {}
  for _, values in ipairs { bottom, top } do
    for name, value in pairs(values) do
      output[name] = value
    end
  end
  for name, field in self:each_field() do
    if field.type == "record" and not field.abstract and type(top[name]) == "table" then
      output[name] = Schema.merge_values(field, top[name], bottom[name])
    end
  end
  return output
end

-- Iterates over names and fields, in their order.
function Schema:each_field(values)
  local i = 0
  local subschema = values and subschema_of(self, values)
  return function()
    i = i + 1
    local item = self.fields[i]
    if item then
      local name, field = next(item)
      return name, subschema and subschema.fields[name] or field
    end
  end
end

function Schema:errors_to_string(errors)
  if type(errors) ~= "table" or not next(errors) then
    return nil
  end
  local parts = joined(errors["@entity"], errors)
  local names = {}
  for name in pairs(errors) do
    if type(name) == "string" and name ~= "@entity" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local told = errors[name]
    told = type(told) == "table" and Schema.errors_to_string(self, told) or told
    parts[#parts + 1] = name .. ": " .. tostring(told)
  end
  return "Validation error: " .. table.concat(parts, "; ")
end

function Schema:extract_pk_values(entity)
  local values = {}
  for _, name in ipairs(self.primary_key or {}) do
    values[name] = entity[name]
  end
  return values
end

function Schema:get_constraints()
  return {}
end

function Schema:has_transformations()
  return is_list(self.transformations)
end

-- What transformations make of a value on its way in or out.
function Schema:transform(input, original, context)
  local output = copied(input, {})
  for _, one in ipairs(self.transformations or {}) do
    local run = context == "select" and one.on_read or context ~= "select" and one.on_write
    local args = {}
    for i, name in ipairs(run and one.input or {}) do
      args[i] = input[name]
      run = args[i] ~= nil and args[i] ~= ngx.null and run
    end
    for _, name in ipairs(run and one.needs or {}) do
      args[#args + 1] = input[name]
    end
    if run then
      local values, err = run(unpack(args))
      if err then
        return nil, "transformation failed: " .. tostring(err)
      end
      for name, value in pairs(values or {}) do
        output[name] = value
      end
    end
  end
  return output
end

return Schema
