-- `kong.db`: the entities of the configuration, a collection at a time.

local definitions = require "silverback.definitions"
local DAO = require "kong.db.dao"
local Entity = require "kong.db.schema.entity"
local Errors = require "kong.db.errors"
local Schema = require "kong.db.schema"
local typedefs = require "kong.db.schema.typedefs"

local DB = {}

-- Kong's collections that belong to no workspace.
local GLOBAL = { ca_certificates = true, workspaces = true, tags = true }

-- The schemas of plugins, which say what is in the `config` of a plugin. Read when somebody asks.
local function with_plugins(schema)
  schema.subschema_key = "name"
  schema.subschema_error = "plugin '%s' not enabled; add it to the 'plugins' configuration property"
  return setmetatable(schema, { __index = function(self, key)
    if key ~= "subschemas" then
      return Schema[key]
    end
    rawset(self, "subschemas", {})
    for name in pairs(definitions.plugins()) do
      local ok, definition = pcall(require, "kong.plugins." .. name .. ".schema")
      if ok and type(definition) == "table" then
        self:new_subschema(name, definition)
      end
    end
    return rawget(self, "subschemas")
  end })
end

-- A schema as plugins see it: its fields in order, and by name.
local function schema_of(definition)
  local schema = assert(Entity.new(definition))
  schema.primary_key = schema.primary_key or { "id" }
  local by_name = {}
  for name, field in schema:each_field() do
    by_name[name] = field
  end
  schema.fields_by_name = by_name
  return definition.name == "plugins" and with_plugins(schema) or schema
end

-- Collections that no file has.
local OWN = {
  workspaces = {
    name = "workspaces", primary_key = { "id" }, endpoint_key = "name", fields = {
      { id = { type = "string", uuid = true } },
      { name = { type = "string", unique = true } },
    },
  },
  tags = {
    name = "tags", primary_key = { "tag" }, endpoint_key = "tag", dao = "kong.db.dao.tags",
    fields = {
      { tag = typedefs.tag },
      { entity_name = { type = "string", required = true } },
      { entity_id = typedefs.uuid { required = true } },
    },
  },
}

-- The schema of a collection: Kong's own, or that of a plugin's `daos.lua`.
local function definition_of(name)
  if OWN[name] then
    return OWN[name]
  end
  local found, is_kongs = definitions.find(name, definitions.plugins())
  if is_kongs and found.workspaceable == nil then
    found.workspaceable = not GLOBAL[name]
  end
  return found
end

local known = setmetatable({}, { __index = function(self, name)
  if type(name) ~= "string" or not name:match("^[%w_%-]+$") then
    return nil
  end
  local definition = definition_of(name)
  if not definition then
    return nil
  end
  local dao = DAO.new(DB, schema_of(definition))
  rawset(self, name, dao)
  return dao
end })

-- There is one workspace, and it is not in the configuration.
local function with_workspace(dao)
  local function own()
    return { id = kong.default_workspace, name = "default", meta = {}, config = {} }
  end
  local methods = {
    select = function(_, key) return key.id == kong.default_workspace and own() or nil end,
    select_by_name = function(_, name) return name == "default" and own() or nil end,
    page = function() return { own() } end,
    each = function()
      local done = false
      return function()
        if not done then
          done = true
          return own(), nil, 1
        end
      end
    end,
  }
  return setmetatable(methods, { __index = dao })
end

DB.strategy = "off"
DB.errors = Errors.new("off")
DB.infos = { db_desc = "cache", strategy = "off", db_name = "kong.yml", db_ver = "unknown" }
DB.connector = {
  database = "off",
  defaults = { pagination = { page_size = 1000, max_page_size = 50000 } },
  infos = function() return DB.infos end,
  connect = function() return true end,
  setkeepalive = function() return true end,
  close = function() return true end,
  query = function() return nil, "cannot perform queries without a database" end,
  get_page_size = function(_, options)
    return options and options.pagination and options.pagination.page_size or 1000
  end,
}

known.workspaces = with_workspace(known.workspaces)
DB.daos = known

return setmetatable(DB, { __index = known })
