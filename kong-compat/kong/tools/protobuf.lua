-- Values as `google.protobuf.Struct` has them, and back.

local _M = {}

local wrap, unwrap

local function each(values, f)
  local made = {}
  for key, value in pairs(values) do
    made[key] = f(value)
  end
  return made
end

function wrap(value)
  local kind = type(value)
  if kind == "table" and value[1] ~= nil then
    return { list_value = { values = each(value, wrap) } }
  elseif kind == "table" then
    return { struct_value = { fields = each(value, wrap) } }
  elseif kind == "boolean" then
    return { bool_value = value }
  elseif kind == "number" then
    return { number_value = value }
  elseif kind == "string" then
    return { string_value = value }
  end
  return { null_value = 1 }
end

function unwrap(value)
  if type(value) ~= "table" then
    return value
  elseif value.list_value then
    return each(value.list_value.values or value.list_value, unwrap)
  elseif value.struct_value then
    return each(value.struct_value.fields or value.struct_value, unwrap)
  end
  for _, name in ipairs { "bool_value", "string_value", "number_value" } do
    if value[name] ~= nil then
      return value[name]
    end
  end
end

function _M.pbwrap_struct(values)
  return { fields = each(values, wrap) }
end

function _M.pbunwrap_struct(struct)
  if type(struct) ~= "table" then
    return struct
  end
  return each(struct.fields or struct, unwrap)
end

return _M
