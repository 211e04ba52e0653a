-- The groups of consumers, for plugins that ask Kong's acl for them: lists that are found by name
-- as well. One configuration's answers are the same tables each time.

local cache = setmetatable({}, { __mode = "k" })

local _M = {}

local function named(list, name_of)
  local groups = {}
  for i = 1, #list do
    local name = name_of(list[i])
    groups[i], groups[name] = name, name
  end
  return groups
end

local function load(consumer)
  local rows = {}
  for row, err in kong.db.acls:each_for_consumer(consumer) do
    if err then
      return nil, err
    end
    rows[#rows + 1] = row
  end
  return rows
end

local function rows_of(consumer_id)
  local key = kong.db.acls:cache_key(consumer_id)
  return kong.cache:get(key, nil, load, { id = consumer_id })
end

-- The groups of a consumer; nil if it has none.
function _M.get_consumer_groups(consumer_id)
  local rows, err = rows_of(consumer_id)
  if not rows then
    return nil, err
  end
  if #rows == 0 then
    return nil
  end
  local groups = cache[rows] or named(rows, function(row) return row.group end)
  cache[rows] = groups
  return groups
end

function _M.warmup_groups_cache(consumer_id)
  local rows, err = rows_of(consumer_id)
  if not rows then
    return nil, err
  end
end

function _M.get_current_consumer_id()
  local consumer, credential = kong.client.get_consumer(), kong.client.get_credential()
  return consumer and consumer.id or credential and credential.consumer_id
end

-- The groups that an authentication plugin has named, without a consumer.
function _M.get_authenticated_groups()
  local groups = kong.ctx.shared.authenticated_groups
  if type(groups) ~= "table" then
    groups = ngx.ctx.authenticated_groups
  end
  if groups == nil then
    return nil
  end
  if type(groups) ~= "table" then
    kong.log.warn("invalid authenticated_groups, a table was expected")
    return nil
  end
  return named(groups, function(name) return name end)
end

function _M.group_in_groups(wanted, groups)
  for i = 1, #wanted do
    if groups[wanted[i]] then
      return true
    end
  end
end

function _M.consumer_in_groups(wanted, groups)
  return _M.group_in_groups(wanted, groups) or false
end

return _M
