-- What a schema may be: the schema of schemas, with Kong's texts.
--
-- It is asked about the files of users before the engine reads them. A kind says what a value has
-- to be; a record lists its fields, and a field that is `required` has to be there.

local definitions = require "silverback.definitions"
local of_fields = require "silverback.metaschema_fields"
local places = require "silverback.metaschema_places"

local function kind(name, more)
  local made = { kind = name }
  for key, value in pairs(more or {}) do
    made[key] = value
  end
  return made
end

local TEXT, NUMBER, INTEGER = kind "string", kind "number", kind "integer"
local FLAG, FUNCTION, ANY = kind "boolean", kind "function", kind "any"

local function array(of, more)
  local made = kind("array", more)
  made.of = of
  return made
end

local function record(fields, required, checks)
  return kind("record", { fields = fields, needs = required or {}, checks = checks })
end

local TEXTS = array(TEXT)
local PATTERNS = array(record({ pattern = TEXT, err = TEXT }, { "pattern" }))

local VALIDATORS = {
  between = array(NUMBER, { length = 2 }), eq = ANY, ne = ANY, gt = NUMBER,
  len_eq = INTEGER, len_min = INTEGER, len_max = INTEGER, match = TEXT, not_match = TEXT,
  match_all = PATTERNS, match_none = PATTERNS,
  match_any = record({ patterns = TEXTS, err = TEXT }, { "patterns" }),
  starts_with = TEXT, one_of = array(ANY), not_one_of = array(ANY), contains = ANY,
  is_regex = FLAG, timestamp = FLAG, uuid = FLAG, custom_validator = FUNCTION,
  mutually_exclusive_subsets = array(TEXTS),
}

local TYPES = {
  "array", "set", "string", "number", "boolean", "integer", "foreign", "map", "record",
  "function", "json",
}

local field = record({
  type = kind("string", { one_of = TYPES }), required = FLAG, reference = TEXT,
  description = kind("string", { least = 10, most = 500 }), examples = array(ANY), auto = FLAG,
  unique = FLAG, unique_across_ws = FLAG,
  on_delete = kind("string", { one_of = { "restrict", "cascade", "null" } }),
  default = kind "self", abstract = FLAG, generate_admin_api = FLAG, immutable = FLAG, err = TEXT,
  encrypted = FLAG, referenceable = FLAG, transient = FLAG,
  json_schema = record { namespace = TEXT, parent_subschema_key = TEXT, optional = FLAG,
    inline = ANY, default = ANY },
  deprecation = record({
    message = TEXT, removal_in_version = TEXT, old_default = ANY,
    replaced_with = array(record({
      path = array(TEXT, { least = 1 }), reverse_mapping_function = FUNCTION,
    }, { "path" })),
  }, { "message", "removal_in_version" }),
}, { "type" })
for name, validator in pairs(VALIDATORS) do
  field.fields[name] = validator
end

local function named(values)
  return array(kind("map", { values = values, length = 1 }))
end

local matcher = record { required = FLAG, elements = field, keys = field, values = field }
for name, validator in pairs(VALIDATORS) do
  matcher.fields[name] = validator
end

local CHECKS = {
  at_least_one_of = TEXTS, only_one_of = TEXTS, distinct = TEXTS, mutually_required = TEXTS,
  mutually_exclusive = TEXTS, mutually_exclusive_sets = record { set1 = TEXTS, set2 = TEXTS },
  conditional = record { if_field = TEXT, if_match = matcher, then_field = TEXT,
    then_match = matcher, then_err = TEXT },
  conditional_at_least_one_of = record { if_field = TEXT, if_match = matcher,
    then_at_least_one_of = TEXTS, then_err = TEXT, else_match = matcher,
    else_then_at_least_one_of = TEXTS, else_then_err = TEXT },
  custom_entity_check = record { field_sources = TEXTS, fn = FUNCTION,
    run_with_missing_fields = FLAG, run_with_invalid_fields = FLAG },
}

-- An entry of `entity_checks` is one check.
local function only_one(value)
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  if count ~= 1 then
    local names = {}
    for name in pairs(CHECKS) do
      names[#names + 1] = "'" .. name .. "'"
    end
    table.sort(names)
    return "exactly one of these fields must be non-empty: " .. table.concat(names, ", ")
  end
end

-- What is unique everywhere is unique.
local function unique(value)
  if value.unique_across_ws == true and value.unique ~= true then
    return "failed conditional validation given value of field 'unique_across_ws'"
  end
end
field.checks = { unique }

local shorthand = record({}, { "type", "func" }, { unique })
local entity_checks = array(record(CHECKS, {}, { only_one }))
local shorthands = named(shorthand)
local transformations = array(record({
  input = TEXTS, needs = TEXTS, on_write = FUNCTION, on_read = FUNCTION,
}, {}, { function(value)
  if not (value.on_write or value.on_read) then
    return "at least one of these fields must be non-empty: 'on_write', 'on_read'"
  end
end }))

local PARTS = { elements = field, keys = field, values = field, fields = named(field),
  entity_checks = entity_checks, shorthand_fields = shorthands, transformations = transformations }
for name, part in pairs(PARTS) do
  field.fields[name] = part
end
field.fields.transformations = nil
for name, part in pairs(field.fields) do
  shorthand.fields[name] = part
end
shorthand.fields.type = kind("string", { one_of = {
  "array", "set", "string", "number", "boolean", "integer", "map", "json" } })
shorthand.fields.func = FUNCTION
shorthand.fields.translate_backwards = TEXTS

local check

-- Whether a table is a list without holes.
local function is_list(value)
  local count = 0
  for key in pairs(value) do
    if type(key) ~= "number" then
      return false
    end
    count = count + 1
  end
  return count == #value
end

local function check_record(spec, value)
  local errors = {}
  for name, inner in pairs(value) do
    local part = spec.fields[tostring(name)]
    errors[name] = "unknown field"
    if part then
      errors[name] = check(part, inner, value)
    end
  end
  for _, name in ipairs(spec.needs) do
    if value[name] == nil or value[name] == ngx.null then
      errors[name] = "required field missing"
    end
  end
  for _, one in ipairs(spec.checks or {}) do
    local told = one(value)
    if told then
      errors["@entity"] = errors["@entity"] or {}
      table.insert(errors["@entity"], told)
    end
  end
  return next(errors) and errors or nil
end

local function check_elements(spec, value)
  local errors = {}
  for i = 1, #value do
    errors[i] = check(spec.of, value[i], value)
  end
  return next(errors) and errors or nil
end

local function check_map(spec, value)
  for name, inner in pairs(value) do
    if type(name) ~= "string" then
      return "expected a string"
    end
    local told = check(spec.values, inner, value)
    if told then
      return told
    end
  end
end

-- A default has to be a value of its own field.
local function check_default(definition, value)
  local ok, schema = pcall(require("kong.db.schema").new, { fields = { { default = definition } } })
  if not (ok and schema) then
    return
  end
  local fine, valid, errors = pcall(schema.validate, schema, { default = value })
  if fine and not valid then
    return errors.default
  end
end

local function length(value)
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  return count
end

local function check_size(spec, size)
  if spec.length and size ~= spec.length then
    return "length must be " .. spec.length
  elseif spec.least and size < spec.least then
    return "length must be at least " .. spec.least
  elseif spec.most and size > spec.most then
    return "length must be at most " .. spec.most
  end
end

local TABLES = { array = check_elements, map = check_map, record = check_record }

local NAMES = { array = "an array", integer = "an integer" }

-- What is wrong with a value; nil if nothing is. `holder` is the record that it is in.
function check(spec, value, holder)
  local wanted = spec.kind
  if value == ngx.null or wanted == "any" then
    return
  elseif wanted == "self" then
    return check_default(holder, value)
  end
  local is_table = TABLES[wanted] ~= nil
  local expected = is_table and "table" or wanted == "integer" and "number" or wanted
  local fits = type(value) == expected
    and (wanted ~= "integer" or value == math.floor(value) and math.abs(value) ~= math.huge)
    and (wanted ~= "array" or is_list(value))
  if not fits then
    return "expected " .. (NAMES[wanted] or "a " .. wanted)
  elseif is_table then
    return TABLES[wanted](spec, value) or check_size(spec, length(value))
  elseif wanted ~= "string" then
    return
  end
  for _, choice in ipairs(spec.one_of or {}) do
    if value == choice then
      return
    end
  end
  if spec.one_of then
    return "expected one of: " .. table.concat(spec.one_of, ", ")
  end
  return check_size({ least = spec.least or 1, most = spec.most }, #value)
end

local PLUGIN = record({
  name = TEXT, fields = named(field), entity_checks = entity_checks,
  shorthand_fields = shorthands, transformations = transformations, check = FUNCTION,
  -- Kong Enterprise's.
  supported_partials = ANY,
}, { "name" })

local ENTITY = record({
  primary_key = TEXTS, workspaceable = FLAG, endpoint_key = TEXT, cache_key = TEXTS, ttl = FLAG,
  db_export = FLAG, subschema_key = TEXT, subschema_error = TEXT, generate_admin_api = FLAG,
  admin_api_name = TEXT, table_name = TEXT, admin_api_nested_name = TEXT, dao = TEXT,
}, { "name", "primary_key" })
for name, part in pairs(PLUGIN.fields) do
  ENTITY.fields[name] = part
end

-- The names that an entity's definition speaks of have to be fields.
local function check_names(schema, errors)
  local by_name = {}
  for _, item in ipairs(schema.fields) do
    local name, definition = next(item)
    if name then
      by_name[name] = definition
    end
  end
  if schema.endpoint_key and not by_name[schema.endpoint_key] then
    errors.endpoint_key = "value must be a field name"
  end
  for _, name in ipairs(schema.cache_key or {}) do
    if not by_name[name] then
      errors.cache_key = "values must be field names"
    elseif #schema.cache_key == 1 and not by_name[name].unique then
      errors.cache_key = "a field used as a single cache key must be unique"
    end
  end
  local key = schema.subschema_key
  if key and not by_name[key] then
    errors.subschema_key = "value must be a field name"
  elseif key and by_name[key].type ~= "string" and by_name[key].type ~= "set" then
    errors.subschema_key = "must be a string or set field"
  end
  if schema.ttl and by_name.ttl then
    errors.ttl = "ttl is a reserved field name when ttl is enabled"
  end
end

-- Checks a schema; nil, or the tree of what is wrong with it.
local function errors_of(spec, schema)
  local errors = check_record(spec, schema) or {}
  local needed = spec == ENTITY and { "name", "primary_key", "fields" } or { "name", "fields" }
  local is_whole = true
  for _, name in ipairs(needed) do
    if schema[name] == nil then
      errors[name] = "field required for entity check"
      is_whole = false
    end
  end
  if is_whole and type(schema.fields) == "table" then
    local found = {}
    if spec == ENTITY then
      check_names(schema, found)
    end
    of_fields.check(schema, found)
    for name, told in pairs(found) do
      errors[name] = told
    end
  end
  return next(errors) and errors or nil
end

local function sorted(errors)
  local names = {}
  for name in pairs(errors) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  return names
end

-- A tree of errors as Kong's one line.
local function violation(errors)
  local parts = {}
  for _, told in ipairs(errors["@entity"] or {}) do
    parts[#parts + 1] = told
  end
  for _, name in ipairs(sorted(errors)) do
    local told = errors[name]
    if name ~= "@entity" and type(told) == "table" then
      for _, inner in ipairs(sorted(told)) do
        local value = told[inner]
        if type(value) == "table" then
          value = require("pl.pretty").write(value)
        end
        parts[#parts + 1] = ("%s.%s: %s"):format(name, inner, value)
      end
    elseif name ~= "@entity" then
      parts[#parts + 1] = ("%s: %s"):format(name, told)
    end
  end
  local text = table.concat(parts, "; ")
  if #parts == 1 then
    return "schema violation (" .. text .. ")"
  end
  return #parts .. " schema violations (" .. text .. ")"
end

-- What makes no entity of a definition that is none the less a schema.
local function no_entity(schema)
  for _, item in ipairs(schema.fields) do
    local name, definition = next(item)
    if definition.type == "function" then
      return name .. ": Entities cannot have function types."
    elseif definition.type == "map" and not definition.abstract
      and definition.keys.type ~= "string" then
      return name .. ": Entities map keys must be strings."
    end
  end
end

-- The collection that a foreign key leads to and that nobody has: neither Kong nor a plugin.
local function nowhere(schema, siblings)
  for _, item in ipairs(schema.fields) do
    local _, definition = next(item)
    local reference = definition.type == "foreign" and definition.reference
    local found = not reference or definitions.find(reference, definitions.plugins())
    for _, sibling in ipairs(siblings) do
      found = found or type(sibling) == "table" and sibling.name == reference
    end
    if not found then
      return "schema refers to an invalid foreign entity: " .. tostring(reference)
    end
  end
end

-- Kong's text for a tree of errors, and each of them by the name of its field and its line.
local function told_of(schema, errors, file)
  return violation(errors) .. places.lines(schema, errors, file)
end

-- What is wrong with one definition of a plugin's daos.lua.
local function fault_of_dao(schema, siblings, file)
  if type(schema) ~= "table" then
    return "schema violation (expected a table)"
  end
  local errors = errors_of(ENTITY, schema)
  return errors and told_of(schema, errors, file) or no_entity(schema) or nowhere(schema, siblings)
end

return {
  errors_of_plugin = function(schema) return errors_of(PLUGIN, schema) end,
  errors_of_entity = function(schema) return errors_of(ENTITY, schema) end,
  violation = violation,

  -- The reason why a plugin's schema cannot be used; nil if it can.
  plugin = function(name, parent, schema, file)
    if type(schema) ~= "table" then
      return "schema violation (expected a table)"
    end
    local errors = errors_of(PLUGIN, schema)
    if errors then
      return told_of(schema, errors, file)
    end
    local told = of_fields.misfit(name, parent, schema)
    return told and "error initializing schema for plugin: " .. told .. places.inside(file)
  end,

  -- The same for the entities that it brings.
  entities = function(plugin, schemas, file)
    if type(schemas) ~= "table" or not is_list(schemas) then
      local told = "custom plugin '%s' returned non-array daos definition table"
      return told:format(plugin) .. places.inside(file)
    end
    for _, schema in ipairs(schemas) do
      local fault = fault_of_dao(schema, schemas, file)
      if fault then
        local name = type(schema) == "table" and tostring(schema.name) or "?"
        local told = "schema of custom plugin entity '%s.%s' is invalid: %s"
        return told:format(plugin, name, fault)
      end
    end
  end,
}
