-- Rules of schemas that look at fields together: which attributes a type needs and which it cannot
-- have, and what a plugin may make of the entity `plugins`.

local NEEDS = { array = { "elements" }, set = { "elements" }, map = { "keys", "values" },
  record = { "fields" }, json = { "json_schema" } }

local function set(...)
  local made = {}
  for _, name in ipairs { ... } do
    made[name] = true
  end
  return made
end

-- Attributes that only fields of some types have.
local KEYS = set("string", "number", "integer", "foreign")
local OF_TYPES = {
  between = set("integer", "number"), len_eq = set("array", "set", "string", "map"),
  match = set "string", one_of = set("string", "number", "integer"),
  contains = set("array", "set"), is_regex = set "string", timestamp = set("number", "integer"),
  uuid = set "string", unique = KEYS, unique_across_ws = KEYS, json_schema = set "json",
  abstract = set("string", "number", "integer", "record", "array", "set", "map"),
  transient = set("string", "number", "integer", "array", "set", "boolean"),
}

-- Whether a schema has a field of a dotted name; what is behind a foreign key is not looked at.
local function has_field(schema, name)
  local head, rest = name:match("^([^.]*)%.(.*)$")
  for _, item in ipairs(schema and schema.fields or {}) do
    local key, definition = next(item)
    if key == (head or name) then
      return not rest or definition.type == "foreign" or has_field(definition, rest)
    end
  end
  return false
end

local function misplace(errors, kind_of, i, j, name)
  errors.transformations = errors.transformations or {}
  local lists = errors.transformations
  lists[kind_of] = lists[kind_of] or {}
  lists[kind_of][i] = lists[kind_of][i] or {}
  lists[kind_of][i][j] = "invalid field name: " .. tostring(name)
end

local check_fields

local function check_field(name, definition, errors)
  local of = definition.type
  if not of then
    errors[name] = "missing type declaration"
    return
  end
  for _, attribute in ipairs(NEEDS[of] or {}) do
    if not definition[attribute] and not (of == "record" and definition.abstract) then
      errors[name] = ("field of type '%s' must declare '%s'"):format(of, attribute)
    end
  end
  for attribute in pairs(definition) do
    if OF_TYPES[attribute] and not OF_TYPES[attribute][of] then
      errors[name] = ("field of type '%s' cannot have attribute '%s'"):format(of, attribute)
    end
  end
  for _, part in ipairs { "elements", "keys", "values" } do
    if type(definition[part]) == "table" then
      check_field(name, definition[part], errors)
    elseif definition[part] then
      errors[name] = ("'%s' must be a table"):format(part)
    end
  end
  if type(definition.fields) == "table" then
    check_fields(definition, errors)
  end
end

function check_fields(schema, errors)
  for i, one in ipairs(type(schema.transformations) == "table" and schema.transformations or {}) do
    for _, list in ipairs { "input", "needs" } do
      for j, name in ipairs(one[list] or {}) do
        if not has_field(schema, name) then
          misplace(errors, list, i, j, name)
        end
      end
    end
  end
  for i = 1, #schema.fields do
    local item = schema.fields[i]
    if type(item) ~= "table" then
      errors.fields = "each entry in fields must be a sub-table"
      return
    elseif not next(item) then
      errors.fields = "field entry table is empty"
      return
    end
    local name, definition = next(item)
    if type(definition) == "table" then
      check_field(name, definition, errors)
    else
      errors[name] = ("'%s' must be a table"):format(tostring(name))
    end
  end
end

local function compatible(one, other)
  if one.type == "record" and other.type == "json" then
    return true
  elseif one.type ~= other.type then
    return false
  elseif one.type == "array" or one.type == "set" then
    return one.elements.type == other.elements.type
  elseif one.type == "map" then
    return one.keys.type == other.keys.type and one.values.type == other.values.type
  end
  return true
end

-- What is wrong with a plugin's schema as a narrower form of the entity `plugins`.
local function misfit(name, parent, schema)
  local by_name, own = {}, {}
  for _, item in ipairs(parent.fields) do
    local key, definition = next(item)
    by_name[key] = definition
  end
  for _, item in ipairs(schema.fields) do
    local key, definition = next(item)
    own[key] = definition
    if not by_name[key] then
      return ("error in definition of '%s': %s: cannot create a new field"):format(name, key)
    elseif not compatible(by_name[key], definition) then
      local told = "error in definition of '%s': %s: cannot change type in a specialized field"
      return told:format(name, key)
    end
  end
  if not own.config then
    local told = "error in definition of '%s': %s: abstract field was not specialized"
    return told:format(name, "config")
  end
end

return { check = check_fields, misfit = misfit }
