-- `kong.db`: the entities of the configuration, a collection at a time.

local definitions = require "silverback.definitions"
local DAO = require "kong.db.dao"
local Errors = require "kong.db.errors"
local host = require "silverback.host"

local DB = {}

-- Kong's collections that belong to no workspace.
local GLOBAL = { ca_certificates = true, workspaces = true, tags = true }

local schema_methods = { __index = {
  each_field = function(self)
    local at = 0
    return function()
      at = at + 1
      local entry = self.fields[at]
      if entry then
        return next(entry)
      end
    end
  end,
  extract_pk_values = function(self, entity)
    local values = {}
    for _, name in ipairs(self.primary_key) do
      values[name] = entity[name]
    end
    return values
  end,
} }

-- A schema as plugins see it: its fields in order, and by name.
local function schema_of(definition)
  local schema = {}
  for name, value in pairs(definition) do
    schema[name] = value
  end
  schema.primary_key = schema.primary_key or { "id" }
  schema.fields_by_name = {}
  local fields = {}
  for i, entry in ipairs(definition.fields) do
    fields[i] = entry
    local name, field = next(entry)
    schema.fields_by_name[name] = field
    fields[name] = field
  end
  schema.fields = fields
  return setmetatable(schema, schema_methods)
end

-- The names in Kong's setting `plugins`, and what `bundled` among them has brought.
local function enabled()
  local names = {}
  for _, name in ipairs(kong.configuration.plugins or {}) do
    if name == "bundled" then
      for _, one in ipairs(host.kongs_plugins) do
        names[one] = true
      end
    end
    names[name] = true
  end
  for module in pairs(package.loaded) do
    names[tostring(module):match "^kong%.plugins%.([%w_-]+)%." or ""] = true
  end
  names[""] = nil
  return names
end

-- The schema of a collection: Kong's own, or that of a plugin's `daos.lua`.
local function definition_of(name)
  if name == "workspaces" then
    return { name = name, primary_key = { "id" }, endpoint_key = "name", fields = {
      { id = { type = "string", uuid = true } },
      { name = { type = "string", unique = true } },
    } }
  end
  local found, is_kongs = definitions.find(name, enabled())
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
