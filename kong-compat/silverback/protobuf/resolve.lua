-- Gives the types that a `.proto` file names their whole names, in the scopes of protobuf.

local function collect(known, scope, decl)
  local name = scope .. "." .. decl.name
  known[name] = "TYPE_MESSAGE"
  for _, nested in ipairs(decl.nested_type or {}) do
    collect(known, name, nested)
  end
  for _, enum in ipairs(decl.enum_type or {}) do
    known[name .. "." .. enum.name] = "TYPE_ENUM"
  end
end

local function scope_of(file)
  return (file.package or "") ~= "" and "." .. file.package or ""
end

-- The types that a file declares: whole name to kind.
local function declared(file, known)
  local scope = scope_of(file)
  for _, message in ipairs(file.message_type or {}) do
    collect(known, scope, message)
  end
  for _, enum in ipairs(file.enum_type or {}) do
    known[scope .. "." .. enum.name] = "TYPE_ENUM"
  end
end

-- The innermost scope wins.
local function find(known, scope, name)
  if name:sub(1, 1) == "." then
    return known[name] and name
  end
  while true do
    local whole = scope .. "." .. name
    if known[whole] then
      return whole
    elseif scope == "" then
      return nil
    end
    scope = scope:match "^(.*)%.[^.]*$"
  end
end

local function whole(file, known, scope, name)
  return find(known, scope, name)
    or error(("%s: unknown type '%s'"):format(file.name, name), 0)
end

local function fields_of(file, known, scope, list)
  for _, field in ipairs(list or {}) do
    if field.type_name then
      field.type_name = whole(file, known, scope, field.type_name)
      if field.type ~= "TYPE_GROUP" then
        field.type = known[field.type_name]
      end
    end
    if field.extendee then
      -- What is extended may be options that nobody reads.
      field.extendee = find(known, scope, field.extendee) or field.extendee
    end
  end
end

local function message(file, known, scope, decl)
  scope = scope .. "." .. decl.name
  fields_of(file, known, scope, decl.field)
  fields_of(file, known, scope, decl.extension)
  for _, nested in ipairs(decl.nested_type or {}) do
    message(file, known, scope, nested)
  end
end

local _M = { declared = declared }

-- `known` holds what the file and its imports declare.
function _M.resolve(file, known)
  local scope = scope_of(file)
  for _, decl in ipairs(file.message_type or {}) do
    message(file, known, scope, decl)
  end
  fields_of(file, known, scope, file.extension)
  for _, service in ipairs(file.service or {}) do
    for _, method in ipairs(service.method or {}) do
      method.input_type = whole(file, known, scope, method.input_type)
      method.output_type = whole(file, known, scope, method.output_type)
    end
  end
end

return _M
