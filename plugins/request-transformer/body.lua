-- Changes of the named values in a body: JSON, a form, or multipart.
--
-- Members of JSON that no change names keep their bytes: numbers keep their digits, and the rest
-- its order. (Kong decodes and encodes the whole body.)

local arguments = require "kong.plugins.request-transformer.arguments"
local host = require "silverback.host"
local multipart = require "kong.plugins.request-transformer.multipart"

local _M = {}

-- The kind of a body by its content type.
function _M.kind(content_type)
  content_type = content_type and content_type:lower() or ""
  if content_type:find("application/json", 1, true) then
    return "json"
  elseif content_type:find("multipart/form-data", 1, true) then
    return "multipart"
  elseif content_type:find("application/x-www-form-urlencoded", 1, true) then
    return "form"
  end
end

local function appended(known, value)
  local first = known and known:sub(1, 1)
  if first == '"' then
    return "[" .. known .. "," .. value .. "]"
  elseif first == "[" then
    local comma = known:find("^%[%s*%]$") and "" or ","
    return known:sub(1, -2) .. comma .. value .. "]"
  elseif first == "{" then
    return host.json_edited(known, { { "1", value } })
  end
  return "[" .. value .. "]"
end

-- Each changes a body, and says whether it did. `each` runs over the names and values of a change.
local kinds = {}

function kinds.json(body, each)
  local text = body == "" and "{}" or body
  local members = host.json_members(text)
  if not members then
    return nil
  end
  local changed, changes = {}, {}
  local function set(name, value)
    members[name] = value
    changed[name] = value or false
  end
  -- For Lua, and so for Kong, false is as good as nothing.
  local function has(name)
    return members[name] ~= nil and members[name] ~= "false"
  end

  if body ~= "" then
    for name in each "remove" do
      set(name, nil)
    end
    for old, new in each "rename" do
      if old ~= new and has(old) then
        local value = members[old]
        set(old, nil)
        set(new, value)
      end
    end
    for name, value in each "replace" do
      if has(name) then
        set(name, host.json_quote(value))
      end
    end
  end
  for name, value in each "add" do
    if not has(name) then
      set(name, host.json_quote(value))
    end
  end
  for name, value in each "append" do
    set(name, appended(members[name], host.json_quote(value)))
  end

  for name, value in pairs(changed) do
    changes[#changes + 1] = { name, value }
  end
  if #changes == 0 then
    return nil
  end
  table.sort(changes, function(one, other)
    return one[1] < other[1]
  end)
  return host.json_edited(text, changes)
end

-- What is done to arguments, be they of a form or of a query.
function _M.change_arguments(form, each, was_empty)
  local changed = false
  if not was_empty then
    for name in each "remove" do
      form:set(name, nil)
      changed = true
    end
    for old, new in each "rename" do
      changed = form:rename(old, new) or changed
    end
    for name, value in each "replace" do
      if form:get(name) then
        form:set(name, value)
        changed = true
      end
    end
  end
  for name, value in each "add" do
    if form:get(name) == nil then
      form:set(name, value)
      changed = true
    end
  end
  for name, value in each "append" do
    form:append(name, value)
    changed = true
  end
  return changed
end

function kinds.form(body, each)
  local form = arguments.parse(body)
  if _M.change_arguments(form, each, body == "") then
    return form:encode()
  end
end

function kinds.multipart(body, each, content_type)
  local parts = multipart.parse(body, content_type)
  if not parts then
    return nil
  end
  local changed = false
  if body ~= "" then
    for old, new in each "rename" do
      local part = parts:get(old)
      if part and old ~= new then
        parts:set(new, part.value)
        parts:delete(old)
        changed = true
      end
    end
    for name in each "remove" do
      parts:delete(name)
      changed = true
    end
    for name, value in each "replace" do
      if parts:get(name) then
        parts:set(name, value)
        changed = true
      end
    end
  end
  for name, value in each "add" do
    if not parts:get(name) then
      parts:set(name, value)
      changed = true
    end
  end
  return changed and parts:encode() or nil
end

-- The body after the changes; nil when it stays as it is.
function _M.changed(kind, body, each, content_type)
  return kinds[kind](body, each, content_type)
end

return _M
