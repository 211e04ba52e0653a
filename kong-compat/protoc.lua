-- protoc.lua: `.proto` files as tables, and as types for `pb`.

local known = require "silverback.protobuf.known"
local parse = require "silverback.protobuf.parser"
local resolving = require "silverback.protobuf.resolve"
local pb = require "pb"

local _M = {}
_M.__index = _M

-- Files import each other to this depth.
local DEPTH = 100

function _M.new()
  return setmetatable({ paths = { "" }, loaded = {}, known = {} }, _M)
end

function _M:reset()
  self.loaded, self.known = {}, {}
  return self
end

function _M:addpath(path)
  table.insert(self.paths, path)
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

-- `include` folders beside the modules on `package.path`: where a checkout of Kong has its files.
local function beside_modules(name)
  for template in package.path:gmatch "[^;]+" do
    local root = template:match "^(.-)/?%?%.lua$"
    local text = root and read((root == "" and "." or root) .. "/kong/include/" .. name)
    if text then
      return text
    end
  end
end

local function find(self, name)
  for _, path in ipairs(self.paths) do
    local text = read(path ~= "" and path .. "/" .. name or name)
    if text then
      return text
    end
  end
  return beside_modules(name) or known[name]
end

local function import(self, file, depth)
  if depth > DEPTH then
    error(file.name .. ": files import each other too deeply", 0)
  end
  for _, name in ipairs(file.dependency or {}) do
    self:parsefile(name, depth + 1)
  end
end

-- The FileDescriptorProto of a text.
function _M:parse(text, name, depth)
  if self == _M then
    self = _M.new()
  end
  local file = parse(text, name or "<input>")
  self.loaded[file.name] = file
  import(self, file, depth or 1)
  resolving.declared(file, self.known)
  resolving.resolve(file, self.known)
  return file
end

-- The same of a file on the paths.
function _M:parsefile(name, depth)
  if self.loaded[name] then
    return self.loaded[name]
  end
  local text = find(self, name)
  if text then
    return self:parse(text, name, depth)
  end
  local fallback = self.unknown_import
  local file = fallback == true and { name = name } or fallback and fallback(self, name)
  if not file then
    error(("module load error: %s\n\t%s: No such file or directory"):format(name, name), 0)
  end
  self.loaded[name] = file
  return file
end

-- A file behind those that it imports.
local function ordered(self, file, list, seen)
  if not seen[file] then
    seen[file] = true
    for _, name in ipairs(file.dependency or {}) do
      ordered(self, self.loaded[name], list, seen)
    end
    list[#list + 1] = file
  end
  return list
end

local function load(self, file)
  for _, one in ipairs(ordered(self, file, {}, {})) do
    pb.add_file(one)
  end
  return true, 1
end

function _M:load(text, name)
  if self == _M then
    self = _M.new()
  end
  return load(self, self:parse(text, name))
end

function _M:loadfile(name)
  if self == _M then
    self = _M.new()
  end
  return load(self, self:parsefile(name))
end

-- Options that are no fields of a descriptor are nothing that it can say.
local function compiled(self, file)
  _M.describe()
  local set = { file = self.include_imports and ordered(self, file, {}, {}) or { file } }
  return pb.encode(".google.protobuf.FileDescriptorSet", set)
end

-- The FileDescriptorSet of a text, as bytes for `pb.load`.
function _M:compile(text, name)
  if self == _M then
    self = _M.new()
  end
  return compiled(self, self:parse(text, name))
end

function _M:compilefile(name)
  if self == _M then
    self = _M.new()
  end
  return compiled(self, self:parsefile(name))
end

-- Loads the types that descriptors themselves are made of.
function _M.describe()
  if not pb.type ".google.protobuf.FileDescriptorSet" then
    _M.new():loadfile "google/protobuf/descriptor.proto"
  end
end

function _M.reload()
  _M.describe()
end

return _M
