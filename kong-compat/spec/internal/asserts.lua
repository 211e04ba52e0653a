-- Assertions about answers, requests and log files: `assert.response(res).has.status(200)`.

local cjson = require "cjson.safe"
local luassert = require "luassert"
local namespaces = require "luassert.namespaces"
local say = require "say"
local lookup = require("spec.internal.client").lookup
local conf = require("spec.internal.conf").conf
local wait = require "spec.internal.wait"

local function register(name, check, negative, positive)
  local key = "assertion.silverback." .. name
  say:set(key .. ".negative", negative)
  say:set(key .. ".positive", positive)
  luassert:register("assertion", name, check, key .. ".negative", key .. ".positive")
end

local function arguments_are(arguments, ...)
  local count = select("#", ...)
  for i = 1, math.max(count, arguments.n or 0) do
    arguments[i] = (select(i, ...))
  end
  arguments.n = count
end

luassert:register("modifier", "response", function(state, arguments)
  local res = arguments and arguments[1]
  assert(type(res) == "table" and type(res.read_body) == "function",
    "assert.response() takes an answer of an http_client, got: " .. tostring(res))
  rawset(state, "kong_response", res)
  rawset(state, "kong_request", nil)
  return state
end)

-- The request that the mock upstream saw: the answer's JSON.
luassert:register("modifier", "request", function(state, arguments)
  local res = arguments and arguments[1]
  assert(type(res) == "table" and type(res.read_body) == "function",
    "assert.request() takes an answer of an http_client, got: " .. tostring(res))
  local body = assert(res:read_body())
  local request = cjson.decode(body)
  local is_mock = type(request) == "table" and
    (lookup(res.headers or {}, "X-Powered-By") or ""):find("mock_upstream", 1, true)
  assert(is_mock or type(request) == "table" and request.headers,
    "the answer does not come from the mock upstream: " .. tostring(body))
  rawset(state, "kong_request", request)
  rawset(state, "kong_response", nil)
  return state
end)

local function trimmed(text)
  return (tostring(text or ""):gsub("^%s+", ""):gsub("%s+$", ""))
end

-- The last lines of the gateway's log, for a 500.
local function last_lines()
  local file = io.open(conf.nginx_err_logs, "r")
  if not file then
    return ""
  end
  local lines = {}
  for line in file:lines() do
    if not line:find(" DEBUG ", 1, true) then
      lines[#lines + 1] = line
    end
  end
  file:close()
  return "\nLast lines of " .. conf.nginx_err_logs .. ":\n"
    .. table.concat(lines, "\n", math.max(1, #lines - 40))
end

local function status(state, arguments)
  assert(not rawget(state, "kong_request"), "a request has no status; use assert.response()")
  local wanted, res = arguments[1], arguments[2] or rawget(state, "kong_response")
  assert(type(wanted) == "number", "the status must be a number, got: " .. tostring(wanted))
  assert(type(res) == "table" and type(res.read_body) == "function",
    "expected an answer of an http_client, got: " .. tostring(res))
  local body, err = res:read_body()
  body = trimmed(body or ("cannot read the body: " .. tostring(err)))
  if wanted == res.status then
    arguments_are(arguments, wanted, res.status, body, "")
    return true, { body, n = 1 }
  end
  arguments_are(arguments, wanted, res.status, body, res.status == 500 and last_lines() or "")
  return false
end

for _, name in ipairs { "status", "res_status" } do
  register(name, status,
    "Invalid response status code.\nStatus expected:\n%s\nStatus received:\n%s\nBody:\n%s\n%s",
    "Invalid response status code.\nStatus not expected:\n%s\nStatus received:\n%s\nBody:\n%s\n%s")
end

register("jsonbody", function(state, arguments)
  local res, request = rawget(state, "kong_response"), rawget(state, "kong_request")
  if res then
    local body = res:read_body()
    local json, err = cjson.decode(body)
    if json == nil then
      arguments_are(arguments, tostring(err) .. "\n" .. tostring(body))
      return false
    end
    arguments_are(arguments, body)
    return true, { json, n = 1 }
  end
  local data = assert(request, "assert.response() or assert.request() comes first").post_data
  if type(data) ~= "table" or not tostring(data.kind):find("^json") then
    error("the request has no JSON body", 0)
  end
  local found = { params = data.params, data = data.text, error = data.error, kind = data.kind }
  return true, { found, n = 1 }
end, "Expected a body of valid JSON, got:\n%s", "Expected a body that is not JSON, got:\n%s")

register("header", function(state, arguments)
  local name = arguments[1]
  local of = arguments[2] or rawget(state, "kong_request") or rawget(state, "kong_response")
  assert(type(of) == "table" and type(of.headers) == "table",
    "assert.response() or assert.request() comes first")
  local value = lookup(of.headers, name)
  arguments_are(arguments, name, of.headers)
  return value ~= nil, { value, n = 1 }
end, "Expected header:\n%s\nBut it was not found in:\n%s",
  "Did not expect header:\n%s\nBut it was found in:\n%s")

register("queryparam", function(state, arguments)
  local name, request = arguments[1], rawget(state, "kong_request")
  assert(request and type(request.uri_args) == "table", "assert.request() comes first")
  local value = lookup(request.uri_args, name)
  arguments_are(arguments, name, request.uri_args)
  return value ~= nil, { value, n = 1 }
end, "Expected query parameter:\n%s\nBut it was not found in:\n%s",
  "Did not expect query parameter:\n%s\nBut it was found in:\n%s")

register("formparam", function(state, arguments)
  local name, request = arguments[1], rawget(state, "kong_request")
  local data = assert(request, "assert.request() comes first").post_data
  local is_form = type(data) == "table" and (data.kind == "form" or data.kind == "multipart-form")
  if not is_form then
    error("the request has no form", 0)
  end
  local value = lookup(type(data.params) == "table" and data.params or {}, name)
  arguments_are(arguments, name, request)
  return value ~= nil, { value, n = 1 }
end, "Expected form parameter:\n%s\nBut it was not found in request:\n%s",
  "Did not expect form parameter:\n%s\nBut it was found in request:\n%s")

local function log_file(state, arguments)
  local path = arguments and arguments[1]
  rawset(state, "errlog_path", path or conf.nginx_err_logs)
  return state
end
luassert:register("modifier", "logfile", log_file)
luassert:register("modifier", "errlog", log_file)

-- A line in nginx' words, too: specs look for `[error]`.
local LEVELS = { ERROR = "[error]", WARN = "[warn]", INFO = "[notice] [info]", DEBUG = "[debug]" }

local function in_nginx_words(line)
  line = line:gsub("\27%[[%d;]*m", "")
  return (line:gsub("^(%S+)%s+(%u+)%s", function(time, level)
    return LEVELS[level] and time .. " " .. LEVELS[level] .. " " or nil
  end, 1))
end

local function line_in(path, pattern, plain)
  local file = assert(io.open(path, "r"))
  for line in file:lines() do
    line = in_nginx_words(line)
    local found, _, err
    if plain then
      found = line:find(pattern, 1, true)
    else
      found, _, err = ngx.re.find(line, pattern, "oj")
    end
    if err then
      file:close()
      error("no regular expression: " .. pattern .. ": " .. err, 0)
    elseif found then
      file:close()
      return line
    end
  end
  file:close()
end

register("line", function(state, arguments)
  local pattern, plain = arguments[1], arguments[2]
  local path = arguments[4] or rawget(state, "errlog_path")
  assert(type(pattern) == "string", "the pattern must be a string")
  local ends = wait.deadline(arguments[3] or 2)
  local found = line_in(path, pattern, plain)
  while not found and not wait.is_over(ends) do
    ngx.sleep(0.05)
    found = line_in(path, pattern, plain)
  end
  arguments_are(arguments, path, pattern, found)
  return found ~= nil, { found, n = 1 }
end, "Expected file at:\n%s\nTo match:\n%s", "Expected file at:\n%s\nTo not match:\n%s\n"
  .. "But matched line:\n%s")

register("match_re", function(_, arguments)
  local text, pattern = arguments[1], arguments[2]
  local from, _, err = ngx.re.find(text, pattern)
  if err then
    error(err, 0)
  end
  arguments_are(arguments, pattern, text, from and text)
  return from ~= nil
end, "Expected to match:\n%s\nGot:\n%s", "Expected not to match:\n%s\nGot:\n%s")

register("contains", function(_, arguments)
  local wanted, list, is_pattern = arguments[1], arguments[2], arguments[3]
  local found
  for i = 1, #list do
    if list[i] == wanted or (is_pattern and tostring(list[i]):match(wanted)) then
      found = i
      break
    end
  end
  arguments_are(arguments, wanted, list)
  return found ~= nil, { found, n = 1 }
end, "Expected array to contain element:\n%s\nIn:\n%s",
  "Expected array to not contain element:\n%s\nIn:\n%s")

register("gt", function(_, arguments)
  local limit, value = arguments[1], arguments[2]
  arguments_are(arguments, value, limit)
  return value > limit
end, "Given value (%s) should be greater than expected value (%s)",
  "Given value (%s) should not be greater than expected value (%s)")

luassert:register("matcher", "gt", function(_, arguments)
  return function(value) return value > arguments[1] end
end)

register("cn", function(state, arguments)
  local wanted, cert = arguments[1], arguments[2] or rawget(state, "kong_certificate")
  local name = tostring(cert):match("CN%s*=%s*([^%s,]+)")
  arguments_are(arguments, wanted, name or "(no CN)")
  return name == wanted
end, "Expected the CN:\n%s\nGot:\n%s", "Expected not the CN:\n%s\nGot:\n%s")

luassert:register("modifier", "certificate", function(state, arguments)
  rawset(state, "kong_certificate", arguments and arguments[1])
  return state
end)

local function part_of(part, whole, path)
  for key, value in pairs(part) do
    local at = path and path .. "." .. tostring(key) or tostring(key)
    local other = type(whole) == "table" and whole[key] or nil
    if type(value) == "table" then
      local ok, where, a, b = part_of(value, other, at)
      if not ok then
        return false, where, a, b
      end
    elseif value ~= other then
      return false, at, value, other
    end
  end
  return true
end

register("partial_match", function(_, arguments)
  local ok, where, wanted, got = part_of(arguments[1], arguments[2])
  arguments_are(arguments, where, wanted, got)
  return ok
end, "Values at key %s should be equal but are not.\nExpected: %s, given: %s",
  "Values should not be equal")

-- `assert.eventually(f).is_truthy()`: the function is called until it is so.
luassert:register("modifier", "eventually", function(state, arguments)
  rawset(state, "eventually", arguments and arguments[1])
  rawset(state, "timeout", 5)
  rawset(state, "step", 0.05)
  return state
end)

for word, name in pairs {
  with_timeout = "timeout", within = "timeout", with_step = "step", with_max_tries = "tries",
  ignore_exceptions = "ignores",
} do
  luassert:register("modifier", word, function(state, arguments)
    rawset(state, name, arguments and arguments[1])
    return state
  end)
end

local function until_it_holds(state, arguments, wants_error, holds)
  local f, tries = rawget(state, "eventually"), 0
  local ends = wait.deadline(rawget(state, "timeout"))
  while true do
    local ok, value, err = pcall(f)
    tries = tries + 1
    if not wants_error and not ok and not rawget(state, "ignores") and holds then
      error(value, 0)
    end
    local good
    if holds then
      good = ok and holds(value)
    else
      good = ok ~= wants_error
    end
    local is_last = wait.is_over(ends) or (rawget(state, "tries") or math.huge) <= tries
    if good or is_last then
      arguments_are(arguments, ok and (err or value) or value)
      return good, { value, n = 1 }
    end
    ngx.sleep(rawget(state, "step"))
  end
end

-- Assertions of luassert's own that mean something else after `eventually`.
local function also(name, wants_error, holds)
  local own = namespaces.assertion[name]
  local callback = own.callback
  own.callback = function(state, arguments, level)
    if not rawget(state, "eventually") then
      return callback(state, arguments, level + 1)
    end
    if wants_error and not rawget(state, "mod") then
      return not until_it_holds(state, arguments, false)
    end
    return until_it_holds(state, arguments, wants_error, holds)
  end
end

also("error", true)
also("errors", true)
also("truthy", false, function(value) return value ~= nil and value ~= false end)
also("falsy", false, function(value) return value == nil or value == false end)
also("true", false, function(value) return value == true end)
also("false", false, function(value) return value == false end)

return true
