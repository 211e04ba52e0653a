-- Changes a request on its way to the upstream: path, method, headers, query and body.
--
-- Values may be templates. They are rendered one by one, each at its turn, as in Kong: what one of
-- them fails on ends the request with 500.

local arguments = require "kong.plugins.request-transformer.arguments"
local body = require "kong.plugins.request-transformer.body"
local templates = require "kong.plugins.request-transformer.templates"

local RequestTransformer = {
  PRIORITY = 801,
  VERSION = "3.10.0",
}

local STEPS = { "remove", "rename", "replace", "add", "append" }

-- Compiled changes by configuration: each configuration is one table until it is gone.
local plans = setmetatable({}, { __mode = "k" })

local function entries(list)
  local compiled = {}
  for i, entry in ipairs(list or {}) do
    local name, value = templates.pair(entry)
    compiled[i] = { name, templates.renderer(value or "") }
  end
  return compiled
end

-- For each place, the changes of each step, and whether there are any.
local function plan_of(conf)
  local plan = plans[conf]
  if plan then
    return plan
  end
  plan = { uri = conf.replace.uri and templates.renderer(conf.replace.uri) }
  for _, place in ipairs { "headers", "querystring", "body" } do
    plan[place] = { any = false }
    for _, step in ipairs(STEPS) do
      local compiled = entries(conf[step][place])
      plan[place][step] = compiled
      plan[place].any = plan[place].any or #compiled > 0
    end
  end
  plans[conf] = plan
  return plan
end

-- Iterates over names and rendered values of a step.
local function each_of(changes)
  return function(step)
    local i, list = 0, changes[step]
    return function()
      i = i + 1
      local entry = list[i]
      if entry then
        return entry[1], entry[2]()
      end
    end
  end
end

local function with(values, value)
  if type(values) == "table" then
    local copy = { unpack(values) }
    copy[#copy + 1] = value
    return copy
  elseif values == nil then
    return { value }
  end
  return { values, value }
end

-- `Host` is the upstream's: it can be replaced, and is not there otherwise.
local function change_headers(each)
  local headers = kong.request.get_headers(1000)
  local changed = {}
  headers.host = nil
  local function set(name, value)
    headers[name] = value
    changed[name] = value or false
  end

  for name in each "remove" do
    name = name:lower()
    if rawget(headers, name) then
      set(name, nil)
    end
  end
  for old, new in each "rename" do
    old, new = old:lower(), new:lower()
    local value = rawget(headers, old)
    if value and old ~= new then
      set(old, nil)
      set(new, value)
    end
  end
  for name, value in each "replace" do
    name = name:lower()
    if headers[name] or name == "host" then
      set(name, value)
    end
  end
  for name, value in each "add" do
    name = name:lower()
    if not headers[name] and name ~= "host" then
      set(name, value)
    end
  end
  for name, value in each "append" do
    name = name:lower()
    set(name, with(rawget(headers, name), value))
  end

  for name, value in pairs(changed) do
    if value then
      kong.service.request.set_header(name, value)
    else
      kong.service.request.clear_header(name)
    end
  end
end

local function set_query(query)
  kong.service.request.set_raw_query(query:encode(true))
end

local function change_query(each)
  local query = arguments.of(templates.seen "query_params")
  body.change_arguments(query, each)
  set_query(query)
end

local function change_body(each)
  local content_type = kong.request.get_header("content-type")
  local kind = body.kind(content_type)
  if not kind then
    return
  end
  local sent, err = kong.request.get_raw_body()
  if not sent then
    kong.log.warn(err)
    return
  end
  local changed = body.changed(kind, sent, each, content_type)
  if changed then
    kong.service.request.set_raw_body(changed)
  end
end

-- A method that has no body takes the fields of a form along in the query.
local function change_method(method)
  kong.service.request.set_method(method)
  if method ~= "GET" and method ~= "HEAD" and method ~= "TRACE" then
    return
  elseif body.kind(kong.request.get_header("content-type")) ~= "form" then
    return
  end
  local form = arguments.parse(kong.request.get_raw_body() or "")
  if form:is_empty() then
    return
  end
  local query = arguments.of(kong.request.get_query(1000))
  for _, name in ipairs(form.names) do
    local values = form:get(name)
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      query:append(name, value)
    end
  end
  set_query(query)
  local seen = kong.ctx.plugin
  seen.query_params = seen.query_params or query.values
end

function RequestTransformer:access(conf)
  local plan = plan_of(conf)
  if plan.uri then
    local path = plan.uri()
    if path then
      kong.service.request.set_path(path)
    end
  end
  if conf.http_method then
    change_method(conf.http_method)
  end
  if plan.headers.any then
    change_headers(each_of(plan.headers))
  end
  if plan.body.any then
    change_body(each_of(plan.body))
  end
  if plan.querystring.any then
    change_query(each_of(plan.querystring))
  end
end

return RequestTransformer
