-- Messages as bytes and as tables.

local wire = require "silverback.protobuf.wire"
local types = require "silverback.protobuf.types"

local DEPTH = 100
local VARINT, FIXED64, BYTES, OPEN, CLOSE, FIXED32 = 0, 1, 2, 3, 4, 5

local WIRE_TYPES = {
  string = BYTES, bytes = BYTES, message = BYTES, group = OPEN,
  fixed64 = FIXED64, sfixed64 = FIXED64, double = FIXED64,
  fixed32 = FIXED32, sfixed32 = FIXED32, float = FIXED32,
}

local _M = {}

local function wire_type(field)
  return WIRE_TYPES[field.kind] or VARINT
end

local function tag(field, kind)
  return wire.varint(field.number * 8 + (kind or wire_type(field)))
end

local function mismatch(field, wanted, value)
  error(("%s expected for field '%s', got %s"):format(wanted, field.name, type(value)), 0)
end

local encode_message

local function enum_number(state, field, value)
  local enum = types.find(state, field.type)
  local number = enum and type(value) == "string" and enum.by_name[value] or wire.integer(value)
  if not number then
    error(("can not encode unknown enum '%s' at field '%s'"):format(value, field.name), 0)
  end
  return number
end

-- A value without its tag.
local function encode_value(state, field, value, depth)
  local kind = field.kind
  if kind == "string" or kind == "bytes" then
    if type(value) ~= "string" then
      mismatch(field, "string", value)
    end
    return wire.varint(#value) .. value
  elseif kind == "message" or kind == "group" then
    local inner = encode_message(state, types.find(state, field.type), value, depth + 1, field)
    return kind == "group" and inner .. tag(field, CLOSE) or wire.varint(#inner) .. inner
  elseif kind == "bool" then
    return value and "\1" or "\0"
  elseif kind == "enum" then
    return wire.varint(enum_number(state, field, value))
  elseif kind == "double" or kind == "float" then
    return wire.fixed(kind, tonumber(value) or mismatch(field, "number", value))
  end
  local number = wire.integer(value) or mismatch(field, "number/'#number'", value)
  if wire.SIZES[kind] then
    return wire.fixed(kind, number)
  elseif kind == "sint32" or kind == "sint64" then
    number = wire.zigzag(number)
  end
  return wire.varint(number)
end

local function encode_map(state, field, entry, value, out, depth)
  local key_field, value_field = entry.by_number[1], entry.by_number[2]
  for key, one in pairs(value) do
    local inner = tag(key_field) .. encode_value(state, key_field, key, depth)
      .. tag(value_field) .. encode_value(state, value_field, one, depth)
    out[#out + 1] = tag(field) .. wire.varint(#inner) .. inner
  end
end

local function encode_list(state, field, value, out, depth)
  local items = {}
  for i, one in ipairs(value) do
    items[i] = encode_value(state, field, one, depth)
  end
  if field.packed and #items > 0 then
    local packed = table.concat(items)
    out[#out + 1] = tag(field, BYTES) .. wire.varint(#packed) .. packed
  elseif not field.packed then
    for _, item in ipairs(items) do
      out[#out + 1] = tag(field) .. item
    end
  end
end

-- What proto3 does not write down.
local function is_zero(field, value)
  return value == 0 or value == false or value == ""
    or field.kind == "enum" and type(value) == "string"
end

local function is_left_out(state, message, field, value)
  if not message.proto3 or field.optional or field.oneof_index or state.encode_default_values then
    return false
  end
  if field.kind == "message" or not is_zero(field, value) then
    return false
  end
  return field.kind ~= "enum" or enum_number(state, field, value) == 0
end

local function encode_field(state, message, field, value, out, depth)
  local entry = field.kind == "message" and types.find(state, field.type)
  if field.kind == "message" and not entry then
    return
  end
  if field.repeated then
    if type(value) ~= "table" then
      error(("table expected at field '%s', got %s"):format(field.name, type(value)), 0)
    elseif entry and entry.kind == "map" then
      encode_map(state, field, entry, value, out, depth)
    else
      encode_list(state, field, value, out, depth)
    end
  elseif not is_left_out(state, message, field, value) then
    out[#out + 1] = tag(field) .. encode_value(state, field, value, depth)
  end
end

function encode_message(state, message, value, depth, field)
  local hook = state.enable_enchooks and state.encode_hooks[message.name]
  if hook then
    local changed = hook(value)
    value = changed == nil and value or changed
  end
  if type(value) ~= "table" then
    local at = field and (" at field '%s'"):format(field.name) or ""
    error(("table expected%s, got %s"):format(at, type(value)), 0)
  end
  if depth > DEPTH then
    error("message nested too deeply", 0)
  end
  local out = {}
  for _, one in ipairs(message.fields) do
    local inner = value[one.name]
    if inner ~= nil then
      encode_field(state, message, one, inner, out, depth)
    end
  end
  return table.concat(out)
end

function _M.encode(state, message, value)
  return encode_message(state, message, value, 1)
end

local ZEROS = { string = "", bytes = "", bool = false }

-- What a field says that is not there; nil in proto2 unless it is declared.
local function default_of(state, message, field)
  local declared = field.default
  if field.kind == "enum" then
    local enum = types.find(state, field.type)
    if declared ~= nil and enum then
      return state.enum_as_value and enum.by_name[declared] or declared
    end
    local first = enum and not state.enum_as_value and enum.by_number[0]
    return message.proto3 and (first or 0) or nil
  elseif declared ~= nil or not message.proto3 then
    return declared
  elseif field.kind == "message" or field.kind == "group" then
    return nil
  end
  local zero = ZEROS[field.kind]
  return zero == nil and 0 or zero
end

-- What a list or a map begins as.
local function empty(state, field)
  local entry = field.kind == "message" and types.find(state, field.type)
  if entry and entry.kind == "map" then
    return setmetatable({}, state.map_meta)
  end
  return setmetatable({}, state.array_meta)
end

-- The fields of a message that have a value though they are not there.
function _M.defaults(state, message, value)
  for _, field in ipairs(message.fields) do
    if field.repeated then
      if message.proto3 or state.decode_default_array then
        value[field.name] = empty(state, field)
      end
    elseif not field.oneof_index and not (message.proto3 and field.optional) then
      value[field.name] = default_of(state, message, field)
    end
  end
  return value
end

local decode_message

local function read_bytes(data, at, last)
  local size, from = wire.read_varint(data, at, last)
  size = tonumber(size)
  if from + size - 1 > last then
    error("truncated bytes at offset " .. at, 0)
  end
  return from, from + size - 1
end

local function decode_value(state, field, data, at, last, depth)
  local kind = field.kind
  if wire.SIZES[kind] then
    return wire.read_fixed(kind, data, at, last, state.int64)
  elseif kind == "string" or kind == "bytes" then
    local from, to = read_bytes(data, at, last)
    return data:sub(from, to), to + 1
  elseif kind == "message" then
    local from, to = read_bytes(data, at, last)
    local message = types.find(state, field.type)
    return message and decode_message(state, message, data, from, to, depth + 1), to + 1
  elseif kind == "group" then
    local message = types.find(state, field.type)
    return decode_message(state, message, data, at, last, depth + 1, field.number)
  end
  local value, after = wire.read_varint(data, at, last)
  value = wire.from_varint(kind, value, state.int64)
  if kind == "enum" and not state.enum_as_value then
    local enum = types.find(state, field.type)
    value = enum and enum.by_number[value] or value
  end
  return value, after
end

local function skip(kind, data, at, last, depth)
  if kind == VARINT then
    return select(2, wire.read_varint(data, at, last))
  elseif kind == FIXED64 or kind == FIXED32 then
    return at + (kind == FIXED64 and 8 or 4)
  elseif kind == BYTES then
    return select(2, read_bytes(data, at, last)) + 1
  elseif kind ~= OPEN or depth > DEPTH then
    error("invalid wire type at offset " .. at, 0)
  end
  while true do
    local key
    key, at = wire.read_varint(data, at, last)
    if tonumber(key) % 8 == CLOSE then
      return at
    end
    at = skip(tonumber(key) % 8, data, at, last, depth + 1)
  end
end

-- A list that is packed, whatever its declaration says.
local function decode_packed(state, field, data, at, last, list, depth)
  local from, to = read_bytes(data, at, last)
  while from <= to do
    list[#list + 1], from = decode_value(state, field, data, from, to, depth)
  end
  return to + 1
end

-- A pair of a map has both, whatever the syntax.
local ENTRY = { proto3 = true }

local function decode_entry(state, entry, data, at, last, map, depth)
  local from, to = read_bytes(data, at, last)
  local pair = decode_message(state, entry, data, from, to, depth + 1)
  local key, value = entry.by_number[1], entry.by_number[2]
  local name, inner = pair[key.name], pair[value.name]
  if name == nil then
    name = default_of(state, ENTRY, key)
  end
  if inner == nil then
    inner = default_of(state, ENTRY, value)
    if inner == nil then
      inner = {}
    end
  end
  map[name] = inner
  return to + 1
end

local function decode_field(state, message, field, kind, data, at, last, value, depth)
  if not field.repeated then
    if field.oneof_index then
      value[message.oneofs[field.oneof_index]] = field.name
    end
    value[field.name], at = decode_value(state, field, data, at, last, depth)
    return at
  end
  local list = value[field.name] or empty(state, field)
  value[field.name] = list
  local entry = field.kind == "message" and types.find(state, field.type)
  if entry and entry.kind == "map" then
    return decode_entry(state, entry, data, at, last, list, depth)
  elseif kind == BYTES and types.PACKS[field.kind] then
    return decode_packed(state, field, data, at, last, list, depth)
  end
  list[#list + 1], at = decode_value(state, field, data, at, last, depth)
  return at
end

-- From `at` to `last`, or to the end of a group.
function decode_message(state, message, data, at, last, depth, group, value)
  if depth > DEPTH then
    error("message nested too deeply", 0)
  end
  value = value or {}
  if state.defaults == "copy" or message.proto3 and state.defaults ~= "no" then
    _M.defaults(state, message, value)
  end
  while at <= last do
    local key
    key, at = wire.read_varint(data, at, last)
    key = tonumber(key)
    local number, kind = math.floor(key / 8), key % 8
    if group and kind == CLOSE and number == group then
      break
    end
    local field = message.by_number[number]
    local fits = field and (kind == wire_type(field) or kind == BYTES and field.repeated)
    if fits then
      at = decode_field(state, message, field, kind, data, at, last, value, depth)
    else
      at = skip(kind, data, at, last, depth)
    end
  end
  if at > last + 1 then
    error("truncated message", 0)
  end
  local hook = state.enable_hooks and state.hooks[message.name]
  if hook then
    local changed = hook(value)
    value = changed == nil and value or changed
  end
  return value, at
end

function _M.decode(state, message, data, value)
  return (decode_message(state, message, data, 1, #data, 1, nil, value))
end

return _M
