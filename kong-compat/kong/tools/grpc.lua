-- Services of `.proto` files and frames of gRPC. Reading the files needs `pb` and `protoc`, which
-- are asked for when a file is.

local pack = require "lua_pack"

local _M = {}
_M.__index = _M

-- Where Kong looks for files, too; the last two are those of its repository.
local PATHS = {
  "/usr/local/kong/include", "/usr/local/opt/protobuf/include/", "/usr/include", "kong/include",
  "spec/fixtures/grpc",
}

-- A `Timestamp` is a text in ISO 8601 for Lua.
local function to_text(time)
  if type(time) ~= "table" then
    error(("expected table, got (%s)%q"):format(type(time), tostring(time)))
  end
  return require "date"(time.seconds):fmt("${iso}")
end

local function from_text(text)
  if type(text) ~= "string" then
    error(("expected time string, got (%s)%q"):format(type(text), tostring(text)))
  end
  local date = require "date"
  local since = date(text) - date.epoch()
  return { seconds = math.floor(since:spanseconds()), nanos = since:getticks() * 1000 }
end

local function set_hooks()
  local pb = require "pb"
  pb.option("enable_hooks")
  pb.option("enable_enchooks")
  local name = ".google.protobuf.Timestamp"
  if not pcall(pb.hook, name) then
    return
  end
  if not pb.hook(name) then
    pb.hook(name, to_text)
  end
  if not pb.encode_hook(name) then
    pb.encode_hook(name, from_text)
  end
end

function _M.new()
  local protoc = require("protoc").new()
  for _, path in ipairs(PATHS) do
    protoc:addpath(path)
  end
  protoc.include_imports = true
  return setmetatable({ protoc_instance = protoc }, _M)
end

function _M:addpath(path)
  for _, one in ipairs(type(path) == "table" and path or { path }) do
    self.protoc_instance:addpath(one)
  end
end

function _M:get_proto_file(name)
  for _, path in ipairs(self.protoc_instance.paths) do
    local file = io.open(path ~= "" and path .. "/" .. name or name)
    if file then
      return file
    end
  end
end

local function each_of(protoc, name, f, imports)
  local parsed = protoc:parsefile(name)
  if not f then
    return parsed
  end
  for _, at in ipairs(imports and parsed.dependency and parsed.public_dependency or {}) do
    each_of(protoc, parsed.dependency[at + 1], f, true)
  end
  for _, service in ipairs(parsed.service or {}) do
    for _, method in ipairs(service.method or {}) do
      f(parsed, service, method)
    end
  end
  return parsed
end

-- Loads a file, and calls a function with each method of its services.
function _M:each_method(name, f, imports)
  local path = require "pl.path"
  self.protoc_instance:addpath((path.splitpath(path.abspath(name))))
  self.protoc_instance:loadfile(name)
  set_hooks()
  return each_of(self.protoc_instance, name, f, imports)
end

-- A message behind its kind and length.
function _M.frame(kind, message)
  return pack.pack("C>I", kind, #message) .. message
end

-- The first message and the rest; nil and everything while it is not complete.
function _M.unframe(body)
  if not body or #body < 5 then
    return nil, body
  end
  local from, _, size = pack.unpack(body, "C>I")
  local last = from + size - 1
  if last > #body then
    return nil, body
  end
  return body:sub(from, last), body:sub(last + 1)
end

return _M
