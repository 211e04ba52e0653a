-- One collection of `kong.db`: reads from the configuration, and Kong's refusals of writes without
-- a database.

local rows = require "silverback.rows"

local null = ngx.null

local PAGE, PAGE_MAX = 1000, 50000
local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"

local DAO = {}

-- A copy of an entity as its reader wants it; nil if its time is over.
local function entity_of(self, row, options)
  local schema = self.schema
  if not (options and options.show_ws_id) then
    row.ws_id = nil
  elseif schema.workspaceable then
    row.ws_id = row.ws_id or kong.default_workspace
  end
  if schema.ttl and type(row.ttl) == "number" then
    row.ttl = row.ttl - ngx.time()
    if row.ttl <= 0 then
      return nil
    end
  end
  if options and options.nulls then
    for name in pairs(schema.fields_by_name) do
      if row[name] == nil then
        row[name] = null
      end
    end
  end
  return row
end

local function entities_of(self, list, options)
  local kept = {}
  for _, row in ipairs(list) do
    kept[#kept + 1] = entity_of(self, row, options)
  end
  return setmetatable(kept, require("cjson").array_mt)
end

local function check_options(options, level)
  if options ~= nil and type(options) ~= "table" then
    error("options must be a table when specified", level + 1)
  end
end

-- What is wrong with a value of a field, as far as a lookup needs to know.
local function refusal(field, value)
  if field.type == "foreign" then
    local id = type(value) == "table" and value.id
    if not id then
      return { id = "missing primary key" }
    end
    return not tostring(id):match(UUID) and { id = "expected a valid UUID" } or nil
  elseif field.uuid and not tostring(value):match(UUID) then
    return "expected a valid UUID"
  elseif value == "" and not (field.len_min == 0) then
    return "length must be at least 1"
  end
end

local EXPECTED = {
  array = "table", set = "table", map = "table", record = "table", foreign = "table",
  string = "string", number = "number", integer = "number", boolean = "boolean",
}

local function failed(failure)
  return nil, tostring(failure), failure
end

-- The fields of the primary key, or the failure.
local function primary_key(self, key)
  if type(key) ~= "table" then
    error("primary_key must be a table", 3)
  end
  local values, wrong = {}, {}
  for _, name in ipairs(self.schema.primary_key) do
    local value = key[name]
    values[name] = value
    if value == nil or value == false then
      wrong[name] = "missing primary key"
    elseif value == null then
      wrong[name] = "required field missing"
    else
      wrong[name] = refusal(self.schema.fields_by_name[name] or {}, value)
    end
  end
  if next(wrong) then
    return nil, self.errors:invalid_primary_key(wrong)
  end
  return values
end

local function text(value)
  if type(value) == "table" then
    value = value.id
  end
  return (value == nil or value == null) and "" or tostring(value)
end

-- The first entity whose fields have these values.
local function first(self, fields, values, options)
  local texts = {}
  for i, value in ipairs(values) do
    texts[i] = text(value)
  end
  local found = rows.find(self.schema.name, fields, texts, 0, 1)
  return found[1] and entity_of(self, found[1], options)
end

function DAO:select(key, options)
  local values, failure = primary_key(self, key)
  check_options(options, 2)
  if not values then
    return failed(failure)
  end
  local names = self.schema.primary_key
  if #names == 1 and names[1] == "id" then
    local row = rows.get(self.schema.name, tostring(values.id))
    return row and entity_of(self, row, options)
  end
  local list = {}
  for i, name in ipairs(names) do
    list[i] = values[name]
  end
  return first(self, names, list, options)
end

function DAO:select_by_cache_key(key, options)
  local fields = self.schema.cache_key
  if not fields then
    error("entity does not have a cache_key defined", 2)
  end
  if #fields == 1 then
    local value = key
    if type(key) == "table" then
      value = key[fields[1]]
    elseif type(key) == "string" and key:find(self.schema.name .. ":", 1, true) == 1 then
      value = key:sub(#self.schema.name + 2):match("^(.-):")
    end
    return self["select_by_" .. fields[1]](self, value, options)
  end
  local values = {}
  if type(key) == "table" then
    for i, name in ipairs(fields) do
      values[i] = text(key[name])
    end
  else
    local at = 0
    for part in (key:sub(#self.schema.name + 2) .. ":"):gmatch("(.-):") do
      at = at + 1
      values[at] = at <= #fields and part or nil
    end
  end
  return first(self, fields, values, options)
end

-- Size and position of a page, or the failure.
local function place(self, size, offset, level)
  if size ~= nil then
    if type(size) ~= "number" then
      error("size must be a number", level + 1)
    end
    if math.floor(size) ~= size or size < 1 or size > PAGE_MAX then
      local told = "size must be an integer between 1 and " .. PAGE_MAX
      return nil, self.errors:invalid_size(told)
    end
  end
  if offset == nil then
    return size or PAGE, 0
  end
  if type(offset) ~= "string" then
    error("offset must be a string", level + 1)
  end
  local from = tonumber(ngx.decode_base64(offset) or "")
  if not from then
    return nil, self.errors:invalid_offset(offset, "bad base64 encoding")
  end
  return size or PAGE, from
end

local function matches_tags(row, options)
  if not (options and options.tags) then
    return true
  end
  local has = {}
  for _, tag in ipairs(row.tags or {}) do
    has[tag] = true
  end
  local any = options.tags_cond == "or"
  for _, tag in ipairs(options.tags) do
    if any == (has[tag] or false) then
      return any
    end
  end
  return not any
end

local function answered(self, list, next_from, options)
  if options and options.tags then
    local kept = {}
    for _, row in ipairs(list) do
      kept[#kept + 1] = matches_tags(row, options) and row or nil
    end
    list = kept
  end
  local offset = next_from and ngx.encode_base64(tostring(next_from), true)
  return entities_of(self, list, options), nil, nil, offset
end

function DAO:page(size, offset, options)
  check_options(options, 2)
  local from
  size, from = place(self, size, offset, 2)
  if not size then
    return failed(from)
  end
  local list, next_from = rows.page(self.schema.name, from, size)
  return answered(self, list, next_from, options)
end

-- An iterator that gives entities, or once false and what went wrong.
local function each(self, pager, size)
  local list, at, offset, done = nil, 0, nil, false
  return function()
    while not done do
      if list and list[at + 1] then
        at = at + 1
        return list[at], nil, 1
      end
      if list and not offset then
        break
      end
      local told, failure
      list, told, failure, offset = pager(size, offset)
      at = 0
      if not list then
        done = true
        return false, told, failure
      end
    end
    done = true
    return nil
  end
end

function DAO:each(size, options)
  check_options(options, 2)
  return each(self, function(n, offset) return self:page(n, offset, options) end, size)
end

DAO.each_for_export = DAO.each

-- `cache_key("a", "b")`, or `cache_key(entity)`: the name under which `kong.cache` keeps it.
function DAO:cache_key(key, ...)
  local schema = self.schema
  local parts, ws = { schema.name }, nil
  if schema.workspaceable and ngx.get_phase() ~= "timer" and ngx.get_phase() ~= "init_worker" then
    ws = ngx.ctx.workspace or kong.default_workspace
  end
  if type(key) == "string" then
    local rest = { key, ... }
    for i = 1, 5 do
      local value = rest[i]
      parts[i + 1] = (value == nil or value == null) and "" or tostring(value)
    end
    local given = rest[6]
    ws = (given == nil or given == null) and ws or given
  elseif type(key) == "table" then
    if schema.workspaceable and key.ws_id ~= nil and key.ws_id ~= null then
      ws = key.ws_id
    end
    local used = false
    for i, name in ipairs(schema.cache_key or {}) do
      parts[i + 1] = text(key[name])
      used = used or parts[i + 1] ~= ""
    end
    if not used then
      parts = { schema.name }
      for i, name in ipairs(schema.primary_key) do
        parts[i + 1] = text(key[name])
      end
    end
  else
    error("key must be a string or an entity table", 2)
  end
  for i = #parts + 1, 6 do
    parts[i] = ""
  end
  parts[7] = ws or ""
  return table.concat(parts, ":")
end

function DAO:truncate()
  return true
end

local function unsupported(self, act, field)
  local by = field and (" by '%s'"):format(field) or ""
  local told = ("cannot %s '%s' entities%s when not using a database"):format(act,
                self.schema.name, by)
  return failed(self.errors:operation_unsupported(told))
end

local function check_entity(entity, level)
  if type(entity) ~= "table" then
    error("entity must be a table", level + 1)
  end
end

-- What is wrong with a whole entity: Kong looks at it before it looks for its database.
local function violation(self, entity)
  local filled, errors = self.schema:process_auto_fields(entity, "insert")
  if filled then
    errors = select(2, self.schema:validate_insert(filled))
  end
  return errors and self.errors:schema_violation(errors)
end

function DAO:insert(entity, options)
  check_entity(entity, 2)
  check_options(options, 2)
  local failure = violation(self, entity)
  if failure then
    return failed(failure)
  end
  return unsupported(self, "create")
end

function DAO:upsert(key, entity, options)
  local values, failure = primary_key(self, key)
  check_entity(entity, 2)
  check_options(options, 2)
  failure = failure or violation(self, entity)
  if failure then
    return failed(failure)
  end
  return unsupported(self, "create or update")
end

-- What is wrong with changes of an entity that has been looked for.
local function misfit(self, found, changes, missing)
  if not found then
    return missing
  end
  local whole = self.schema:merge_values(changes, found)
  local ok, errors = self.schema:validate_update(whole)
  return not ok and self.errors:schema_violation(errors) or nil
end

function DAO:update(key, entity, options)
  local values, failure = primary_key(self, key)
  check_entity(entity, 2)
  check_options(options, 2)
  failure = failure or misfit(self, self:select(key), entity, self.errors:not_found(values or {}))
  if failure then
    return failed(failure)
  end
  return unsupported(self, "update")
end

-- Tells the code of this worker of a change, as the DAO of Kong does behind each of its writes.
function DAO:post_crud_event(operation, entity, old_entity, options)
  if options and options.no_broadcast_crud_event then
    return
  end
  kong.worker_events.post_local("dao:crud", operation, {
    operation = operation, schema = self.schema, entity = entity, old_entity = old_entity,
  })
end

-- Kong is content if there is nothing to remove.
function DAO:delete(key, options)
  local found, told, failure = self:select(key, options)
  if told then
    return nil, told, failure
  end
  if not found then
    return true
  end
  return unsupported(self, "remove")
end

-- The methods that the fields of a schema make.
local function methods_of(schema)
  local methods = {}
  for name, field in pairs(schema.fields_by_name) do
    if field.type == "foreign" then
      methods["page_for_" .. name] = function(self, key, size, offset, options)
        if type(key) ~= "table" then
          error("foreign_key must be a table", 2)
        end
        check_options(options, 2)
        local wrong = refusal(field, key)
        if wrong then
          return failed(self.errors:invalid_primary_key(wrong))
        end
        local from
        size, from = place(self, size, offset, 2)
        if not size then
          return failed(from)
        end
        local list, next_from = rows.find(schema.name, { name }, { text(key) }, from, size)
        return answered(self, list, next_from, options)
      end
      methods["each_for_" .. name] = function(self, key, size, options)
        local page = "page_for_" .. name
        return each(self, function(n, offset) return self[page](self, key, n, offset, options) end,
                    size)
      end
    end
    if field.unique or schema.endpoint_key == name then
      local function checked(self, value, options)
        local expected = EXPECTED[field.type]
        if expected and type(value) ~= expected then
          error(("%s must be a %s"):format(name, expected), 3)
        end
        check_options(options, 3)
        if options and options.workspace == null and not field.unique_across_ws then
          return self.errors:invalid_unique_global(name)
        end
        local wrong = refusal(field, value)
        if wrong then
          return type(wrong) == "table" and self.errors:invalid_foreign_key(wrong)
                 or self.errors:invalid_unique(name, wrong)
        end
      end
      methods["select_by_" .. name] = function(self, value, options)
        local failure = checked(self, value, options)
        if failure then
          return failed(failure)
        end
        return first(self, { name }, { value }, options)
      end
      methods["update_by_" .. name] = function(self, value, entity, options)
        local failure = checked(self, value, options)
        check_entity(entity, 2)
        failure = failure or misfit(self, first(self, { name }, { value }), entity,
                                    self.errors:not_found_by_field { [name] = value })
        return failed(failure or select(3, unsupported(self, "update", name)))
      end
      methods["upsert_by_" .. name] = function(self, value, entity, options)
        local failure = checked(self, value, options)
        check_entity(entity, 2)
        local whole = self.schema:merge_values({ [name] = value }, entity)
        failure = failure or violation(self, whole)
        return failed(failure or select(3, unsupported(self, "create or update", name)))
      end
      methods["delete_by_" .. name] = function(self, value, options)
        local found, told, failure = self["select_by_" .. name](self, value, options)
        if told then
          return nil, told, failure
        end
        if not found then
          return true
        end
        return unsupported(self, "remove", name)
      end
    end
  end
  return methods
end

-- The collection of a schema, with methods of the plugin's own (`dao = "kong.plugins.x.dao"`) if
-- it has such.
function DAO.new(db, schema)
  local methods = setmetatable(methods_of(schema), { __index = DAO })
  local dao = { db = db, schema = schema, errors = db.errors, pagination = {
    page_size = PAGE, max_page_size = PAGE_MAX } }
  -- What Kong's collections ask for rows: here it is the configuration that has them.
  dao.strategy = setmetatable({ schema = schema, errors = db.errors }, { __index = function(_, name)
    local method = methods[name] or DAO[name]
    return method and function(_, ...)
      local result, told, failure, offset = method(dao, ...)
      return result, failure or told, offset
    end
  end })
  dao.super = setmetatable({}, { __index = methods })
  if type(schema.dao) == "string" then
    methods = setmetatable(require(schema.dao), { __index = methods })
  end
  return setmetatable(dao, { __index = methods })
end

return DAO
