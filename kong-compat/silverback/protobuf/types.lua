-- The types that are loaded: messages with their fields, and enums, by name with a leading dot.

local _M = {}

local KINDS = {
  TYPE_MESSAGE = "message", TYPE_GROUP = "group", TYPE_ENUM = "enum",
}

-- What packs into one run of bytes.
local PACKS = {
  int32 = true, int64 = true, uint32 = true, uint64 = true, sint32 = true, sint64 = true,
  bool = true, enum = true, fixed32 = true, fixed64 = true, sfixed32 = true, sfixed64 = true,
  float = true, double = true,
}

_M.PACKS = PACKS

-- Kong has lists that are not there be empty arrays of cjson.
function _M.new()
  return {
    types = {}, hooks = {}, encode_hooks = {},
    decode_default_array = true, array_meta = require("cjson").empty_array_mt,
  }
end

local function default_of(field, text)
  if text == nil or field.kind == "string" or field.kind == "bytes" or field.kind == "enum" then
    return text
  elseif field.kind == "bool" then
    return text == true or text == "true"
  end
  return tonumber(text)
end

local function add_field(type, decl, proto3)
  local options = decl.options or {}
  local kind = KINDS[decl.type] or decl.type:match "^TYPE_(.+)$":lower()
  local field = {
    name = decl.name,
    number = decl.number,
    kind = kind,
    type = decl.type_name or kind,
    type_name = decl.type_name,
    repeated = decl.label == "LABEL_REPEATED",
    required = decl.label == "LABEL_REQUIRED",
    -- A field that shows whether it is there.
    optional = not proto3 or decl.proto3_optional,
  }
  if decl.oneof_index and not decl.proto3_optional then
    field.oneof_index = decl.oneof_index
  end
  field.default = default_of(field, decl.default_value)
  if field.repeated and PACKS[kind] then
    local packed = options.packed
    field.packed = packed == nil and proto3 or packed == true
  end
  local old = type.by_number[field.number]
  if old then
    for i, one in ipairs(type.fields) do
      if one == old then
        table.remove(type.fields, i)
        break
      end
    end
    type.by_name[old.name] = nil
  end
  table.insert(type.fields, field)
  type.by_name[field.name], type.by_number[field.number] = field, field
end

local function add_enum(state, scope, decl)
  local type = {
    name = scope .. "." .. decl.name, basename = decl.name, kind = "enum",
    by_name = {}, by_number = {}, values = decl.value or {},
  }
  for _, value in ipairs(type.values) do
    type.by_name[value.name] = value.number
    type.by_number[value.number] = type.by_number[value.number] or value.name
  end
  state.types[type.name] = type
end

local function add_message(state, scope, decl, proto3)
  local name = scope .. "." .. decl.name
  local is_map = decl.options and decl.options.map_entry
  local type = state.types[name]
  if not type or type.kind == "enum" then
    type = { name = name, basename = decl.name, fields = {}, by_name = {}, by_number = {} }
    state.types[name] = type
  end
  type.kind, type.proto3, type.oneofs = is_map and "map" or "message", proto3, {}
  for i, oneof in ipairs(decl.oneof_decl or {}) do
    type.oneofs[i - 1] = oneof.name
  end
  for _, field in ipairs(decl.field or {}) do
    add_field(type, field, proto3)
  end
  for _, nested in ipairs(decl.nested_type or {}) do
    add_message(state, name, nested, proto3)
  end
  for _, enum in ipairs(decl.enum_type or {}) do
    add_enum(state, name, enum)
  end
end

local function add_extensions(state, decl, proto3)
  for _, extension in ipairs(decl.extension or {}) do
    local type = state.types[extension.extendee]
    if type then
      add_field(type, extension, proto3)
    end
  end
  for _, nested in ipairs(decl.nested_type or {}) do
    add_extensions(state, nested, proto3)
  end
end

-- Adds what a FileDescriptorProto declares.
function _M.add_file(state, file)
  local proto3 = file.syntax ~= nil and file.syntax ~= "proto2"
  local scope = (file.package or "") ~= "" and "." .. file.package or ""
  for _, enum in ipairs(file.enum_type or {}) do
    add_enum(state, scope, enum)
  end
  for _, message in ipairs(file.message_type or {}) do
    add_message(state, scope, message, proto3)
  end
  add_extensions(state, file, proto3)
  for _, message in ipairs(file.message_type or {}) do
    add_extensions(state, message, proto3)
  end
end

-- A type by its name, with or without the dot.
function _M.find(state, name)
  if type(name) ~= "string" then
    return nil
  end
  return state.types[name] or state.types["." .. name]
end

return _M
