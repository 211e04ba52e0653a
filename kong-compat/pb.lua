-- lua-protobuf: types of protobuf, and messages as tables and as bytes.

local codec = require "silverback.protobuf.codec"
local types = require "silverback.protobuf.types"

local _M = { _VERSION = "0.5.1" }

local state = types.new()

local function type_of(name)
  local found = types.find(state, name)
  if not found then
    error(("bad argument #1 (type '%s' does not exists)"):format(tostring(name)), 3)
  end
  return found
end

-- Only messages have fields.
local function message_of(name)
  local found = type_of(name)
  if found.kind == "enum" then
    error(("bad argument #1 (type '%s' is an enum)"):format(name), 3)
  end
  return found
end

-- Adds the types of a FileDescriptorProto that is a table already.
function _M.add_file(file)
  types.add_file(state, file)
end

-- Adds the types of a FileDescriptorSet; false and where the bytes are wrong if they are.
function _M.load(data)
  require("protoc").describe()
  local descriptor = types.find(state, "google.protobuf.FileDescriptorSet")
  local ok, set = pcall(codec.decode, state, descriptor, data)
  if not ok or type(set.file) ~= "table" then
    return false, tonumber(tostring(set):match "offset (%d+)") or 1
  end
  for _, file in ipairs(set.file) do
    types.add_file(state, file)
  end
  return true, #data + 1
end

function _M.loadfile(name)
  local file, err = io.open(name, "rb")
  if not file then
    return nil, err
  end
  local data = file:read "*a"
  file:close()
  return _M.load(data)
end

-- The bytes of a message; put into the buffer if there is one.
function _M.encode(name, value, buffer)
  local message = message_of(name)
  local ok, data = pcall(codec.encode, state, message, value)
  if not ok then
    error(("bad argument #2 to 'encode' (%s)"):format(tostring(data)), 2)
  end
  if buffer and buffer.put then
    return buffer:put(data)
  end
  return data
end

-- The table of a message, or the one that is given with what the bytes say.
function _M.decode(name, data, value)
  local message = message_of(name)
  local ok, decoded = pcall(codec.decode, state, message, tostring(data or ""), value)
  if not ok then
    error(tostring(decoded), 2)
  end
  return decoded
end

-- The values of what is not there. `*array` and `*map` name the metatables of lists and maps, for
-- which others are put; false is none.
function _M.defaults(name, meta)
  local kind = type(name) == "string" and name:match "^%*(%a)"
  if kind then
    local key = kind:lower() == "a" and "array_meta" or "map_meta"
    if meta ~= nil then
      state[key] = meta or nil
    end
    return state[key]
  end
  return codec.defaults(state, message_of(name), {})
end

local function told(found)
  return found.name, found.basename, found.kind
end

function _M.type(name)
  local found = types.find(state, name)
  if found then
    return told(found)
  end
end

-- All types: name, last part of the name, kind.
function _M.types()
  local name, found
  return function()
    name, found = next(state.types, name)
    if found then
      return told(found)
    end
  end
end

local function label_of(field)
  if field.packed then
    return "packed"
  end
  return field.repeated and "repeated" or field.required and "required" or "optional"
end

local function described(message, field)
  local oneof = field.oneof_index
  if oneof then
    return field.name, field.number, field.type, field.default, label_of(field),
      message.oneofs[oneof], oneof
  end
  return field.name, field.number, field.type, field.default, label_of(field)
end

-- A field by name or number: name, number, type, default, label, and its oneof if it is in one.
function _M.field(name, key)
  local message = types.find(state, name)
  if not message then
    return nil
  elseif message.kind == "enum" then
    local number = message.by_name[key] or key
    return message.by_number[number], number
  end
  local field = message.by_name[key] or message.by_number[key]
  if field then
    return described(message, field)
  end
end

function _M.fields(name)
  local message = message_of(name)
  local i = 0
  return function()
    i = i + 1
    local field = message.fields[i]
    if field then
      return described(message, field)
    end
  end
end

-- The number of a name, or the name of a number.
function _M.enum(name, key)
  local enum = type_of(name)
  if type(key) == "string" then
    return enum.by_name[key]
  end
  return enum.by_number[key]
end

local function hook(hooks)
  return function(name, ...)
    local key = type_of(name).name
    local old = state[hooks][key]
    if select("#", ...) > 0 then
      state[hooks][key] = (...)
    end
    return old
  end
end

-- What a message becomes once it is decoded, or before it is encoded.
_M.hook = hook "hooks"
_M.encode_hook = hook "encode_hooks"

local OPTIONS = {
  enum_as_name = function() state.enum_as_value = false end,
  enum_as_value = function() state.enum_as_value = true end,
  enable_hooks = function() state.enable_hooks = true end,
  disable_hooks = function() state.enable_hooks = false end,
  enable_enchooks = function() state.enable_enchooks = true end,
  disable_enchooks = function() state.enable_enchooks = false end,
  encode_default_values = function() state.encode_default_values = true end,
  no_encode_default_values = function() state.encode_default_values = false end,
  decode_default_array = function() state.decode_default_array = true end,
  no_decode_default_array = function() state.decode_default_array = false end,
  auto_default_values = function() state.defaults = nil end,
  no_default_values = function() state.defaults = "no" end,
  use_default_values = function() state.defaults = "copy" end,
  use_default_metatable = function() state.defaults = "copy" end,
  int64_as_number = function() state.int64 = nil end,
  int64_as_string = function() state.int64 = "text" end,
  int64_as_hexstring = function() state.int64 = "hex" end,
}

function _M.option(name)
  local set = OPTIONS[name]
  if not set then
    error(("bad argument #1 to 'option' (invalid option '%s')"):format(tostring(name)), 2)
  end
  set()
end

-- The types and options so far, in place of which others are put.
function _M.state(...)
  local old = state
  if select("#", ...) > 0 then
    state = ... or types.new()
  end
  return old
end

-- Forgets everything, a type, or a field of a type.
function _M.clear(name, key)
  if name == nil then
    state = types.new()
    return
  end
  local found = types.find(state, name)
  if not found then
    return
  elseif key == nil then
    state.types[found.name] = nil
    return
  end
  local field = found.by_name[key] or found.by_number[key]
  for i, one in ipairs(found.fields or {}) do
    if one == field then
      table.remove(found.fields, i)
      found.by_name[field.name], found.by_number[field.number] = nil, nil
    end
  end
end

function _M.tohex(data)
  return (data:gsub(".", function(one)
    return ("%02X "):format(one:byte())
  end):gsub(" $", ""))
end

function _M.fromhex(text)
  return (text:gsub("%X", ""):gsub("%x%x", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

function _M.result(data, from, to)
  return data:sub(from or 1, to)
end

return _M
