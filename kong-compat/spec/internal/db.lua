-- `bp` and `db` of specs: entities are checked as they are inserted and collected; a gateway that
-- is started gets them as a declarative file.

local Errors = require "kong.db.errors"
local definitions = require "silverback.definitions"
local host = require "silverback.spec"

local errors = Errors.new("off")
local null = ngx.null

local DB = {}

-- Plugins that specs have named beside Kong's own.
local plugins = {}

-- What has been inserted, by collection, in order.
local collected = {}

local function copy(value)
  if type(value) ~= "table" then
    return value
  end
  local made = {}
  for key, inner in pairs(value) do
    made[key] = copy(inner)
  end
  -- That of arrays cannot be asked for in the usual way.
  return debug.setmetatable(made, debug.getmetatable(value))
end

local function without_nulls(value)
  if type(value) == "table" then
    for key, inner in pairs(value) do
      if inner == null then
        value[key] = nil
      else
        without_nulls(inner)
      end
    end
  end
  return value
end

local function field_of(definition, name)
  for _, entry in ipairs(definition.fields) do
    if entry[name] then
      return entry[name]
    end
  end
end

-- An entity that is named as a whole is named by its id.
local function with_links(definition, entity)
  for _, entry in ipairs(definition.fields) do
    local name, field = next(entry)
    local value = entity[name]
    if field.type == "foreign" and type(value) == "table" and value ~= null and value.id then
      entity[name] = { id = value.id }
    end
  end
  return entity
end

-- Lua cannot tell whether `{}` is a list; the schema can.
local function with_lists(raw, checked)
  for key, value in pairs(raw) do
    local known = type(checked) == "table" and checked[key]
    if type(value) == "table" and type(known) == "table" then
      if next(value) == nil and next(known) == nil then
        raw[key] = known
      else
        with_lists(value, known)
      end
    end
  end
  return raw
end

-- Gives the entity with its defaults, and an error tree.
local function check(definition, entity)
  if definition.name ~= "plugins" then
    return host.check(definition, nil, entity)
  end
  local ok, schema = pcall(require, "kong.plugins." .. tostring(entity.name) .. ".schema")
  if not ok then
    return entity
  end
  return host.check(schema, definition, entity)
end
DB.check = check

local dao_methods = {}

local function refused(tree)
  local err_t = errors:schema_violation(tree)
  return nil, tostring(err_t), err_t
end

function dao_methods:insert(entity, options)
  entity = with_links(self.definition, copy(entity))
  if field_of(self.definition, "id") and (entity.id == nil or entity.id == null) then
    entity.id = require("kong.tools.uuid").uuid()
  end
  local checked, tree = check(self.definition, entity)
  if tree then
    return refused(tree)
  end
  -- What the schema makes up, such as a key, has to be the same in the gateway.
  for _, entry in ipairs(self.definition.fields) do
    local name, field = next(entry)
    if field.auto and entity[name] == nil and type(checked[name]) == "string" then
      entity[name] = checked[name]
    end
  end
  if type(options) == "table" and options.ttl then
    -- In a file it is the time of the end.
    entity.ttl = ngx.now() + options.ttl
  end
  local list = collected[self.name] or {}
  collected[self.name] = list
  list[#list + 1] = { raw = with_lists(without_nulls(entity), checked), row = checked }
  return without_nulls(copy(checked))
end

function dao_methods:find(key)
  local id = type(key) == "table" and key.id or key
  for at, entry in ipairs(collected[self.name] or {}) do
    if entry.raw.id == id then
      return entry, at
    end
  end
end

function dao_methods:select(key)
  local entry = self:find(key)
  return entry and without_nulls(copy(entry.row)) or nil
end

-- Records are changed field by field, everything else as a whole.
local function changed(old, new)
  local is_record = type(old) == "table" and type(new) == "table" and old ~= null and new ~= null
    and #old == 0 and #new == 0 and next(new) ~= nil
  if not is_record then
    return new
  end
  for name, value in pairs(new) do
    old[name] = changed(old[name], value)
  end
  return old
end

function dao_methods:update(key, values)
  local entry = self:find(key)
  if not entry then
    return nil, tostring(errors:not_found(key)), errors:not_found(key)
  end
  local raw = copy(entry.raw)
  for name, value in pairs(copy(values)) do
    raw[name] = changed(raw[name], value)
  end
  local checked, tree = check(self.definition, with_links(self.definition, raw))
  if tree then
    return refused(tree)
  end
  entry.raw, entry.row = with_lists(without_nulls(raw), checked), checked
  return without_nulls(copy(checked))
end

function dao_methods:upsert(key, values)
  if self:find(key) then
    return self:update(key, values)
  end
  values = copy(values)
  values.id = values.id or key.id
  return self:insert(values)
end

function dao_methods:delete(key)
  local _, at = self:find(key)
  if at then
    table.remove(collected[self.name], at)
  end
  return true
end
dao_methods.remove = dao_methods.delete

function dao_methods:truncate()
  collected[self.name] = nil
  return true
end

function dao_methods:each()
  local list, at = collected[self.name] or {}, 0
  return function()
    at = at + 1
    return list[at] and without_nulls(copy(list[at].row)) or nil
  end
end

function dao_methods:page()
  local rows = {}
  for row in self:each() do
    rows[#rows + 1] = row
  end
  return rows
end
dao_methods.select_all = dao_methods.page

local dao_mt = {}

-- `select_by_name`, `update_by_username`, ...; the rest is what plugins have in `kong.db`.
function dao_mt.__index(self, name)
  if dao_methods[name] then
    return dao_methods[name]
  end
  local verb, field = tostring(name):match("^(%a+)_by_([%w_]+)$")
  if verb and dao_methods[verb] then
    return function(_, value, ...)
      for _, entry in ipairs(collected[self.name] or {}) do
        if entry.row[field] == value then
          return dao_methods[verb](self, { id = entry.raw.id }, ...)
        end
      end
      return nil
    end
  end
  local of_plugins = require("kong.db").daos[self.name]
  return of_plugins and of_plugins[name]
end

local function new_dao(name, definition)
  return setmetatable({ name = name, definition = definition, schema = definition }, dao_mt)
end

local daos = setmetatable({}, { __index = function(self, name)
  local is_name = type(name) == "string" and name:match("^[%w_%-]+$")
  local definition = is_name and definitions.find(name, plugins)
  if definition then
    local dao = new_dao(name, definition)
    rawset(self, name, dao)
    return dao
  end
end })

DB.db = setmetatable({
  daos = daos,
  strategy = "off",
  errors = errors,
  connector = require("kong.db").connector,
  truncate = function(_, name)
    if name then
      collected[name] = nil
    else
      collected = {}
    end
    return true
  end,
  init_connector = function() return true end,
  connect = function() return true end,
  close = function() return true end,
}, { __index = daos })

-- The configuration of what was inserted.
function DB.export()
  local config = { _format_version = "3.0" }
  for name, list in pairs(collected) do
    config[name] = #list > 0 and {} or nil
    for i, entry in ipairs(list) do
      config[name][i] = copy(entry.raw)
    end
  end
  return config
end

-- Deletes an entity with all that belongs to it.
function DB.delete(name, id)
  DB.db[name]:delete { id = id }
  for other, list in pairs(collected) do
    for i = #list, 1, -1 do
      local entry = list[i]
      for _, value in pairs(entry and entry.raw or {}) do
        if type(value) == "table" and value.id == id then
          DB.delete(other, entry.raw.id)
          break
        end
      end
    end
  end
  return true
end

-- What is collected, to come back to it.
function DB.kept()
  local lists = {}
  for name, list in pairs(collected) do
    lists[name] = { unpack(list) }
  end
  return lists
end

function DB.restore(lists)
  collected = lists
end

function DB.reset()
  collected = {}
end

function DB.is_empty()
  return next(collected) == nil
end

-- Names the plugins that the gateway is to have beside Kong's own.
function DB.use_plugins(names)
  for _, name in ipairs(names or {}) do
    plugins[name] = true
  end
end

function DB.plugins()
  local names = {}
  for name in pairs(plugins) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

-- `validate_plugin_config_schema(config, schema [, other fields])`: the entity with its defaults,
-- or nil and Kong's error tree.
function DB.validate_plugin_config_schema(config, schema, others)
  local entity = { id = require("kong.tools.uuid").uuid(), name = schema.name, config = config }
  for name, value in pairs(others or {}) do
    entity[name] = value
  end
  local parent = require "kong.db.schema.entities.plugins"
  local checked, tree = host.check(schema, parent, entity)
  if tree then
    return nil, tree
  end
  return checked
end

return DB
