-- A `.proto` file as the table that `descriptor.proto` says: a FileDescriptorProto.

local lexer = require "silverback.protobuf.lexer"

local SCALARS = {}
for _, name in ipairs {
  "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes",
  "uint32", "sfixed32", "sfixed64", "sint32", "sint64",
} do
  SCALARS[name] = "TYPE_" .. name:upper()
end

local LABELS = {
  optional = "LABEL_OPTIONAL", required = "LABEL_REQUIRED", repeated = "LABEL_REPEATED",
}

local function add(owner, list, item)
  owner[list] = owner[list] or {}
  table.insert(owner[list], item)
  return item
end

local constant

-- `{ name: value ... }`, the text format of a message.
local function aggregate(lex, close)
  local fields = {}
  while not lex:take(close) do
    local name
    if lex:take "[" then
      name = lex:path()
      lex:expect "]"
    else
      name = lex:ident()
    end
    if lex:take ":" or lex.word == "{" or lex.word == "<" then
      fields[name] = constant(lex)
    else
      lex:fail(("':' expected, got '%s'"):format(lex.word))
    end
    if not lex:take "," then
      lex:take ";"
    end
  end
  return fields
end

function constant(lex)
  if lex:take "{" then
    return aggregate(lex, "}")
  elseif lex:take "<" then
    return aggregate(lex, ">")
  elseif lex:take "[" then
    local list = {}
    while not lex:take "]" do
      list[#list + 1] = constant(lex)
      lex:take ","
    end
    return list
  elseif lex.kind == "text" then
    return lex:string()
  end
  local negative = lex:take "-"
  if not negative then
    lex:take "+"
  end
  if lex.kind == "number" then
    local number = lex:integer()
    return negative and -number or number
  end
  local name = lex:path()
  if name == "true" or name == "false" then
    return name == "true"
  elseif name == "inf" or name == "nan" then
    return negative and "-" .. name or name
  end
  return name
end

-- `name`, `(an.extension)` or both with dots between them, and a value.
local function option(lex, options)
  local parts = {}
  repeat
    if lex:take "(" then
      parts[#parts + 1] = (lex:path():gsub("^%.", ""))
      lex:expect ")"
    else
      parts[#parts + 1] = (lex:path():gsub("^%.", ""))
    end
  until not (lex:take "." or lex.kind == "name")
  lex:expect "="
  local owner = options
  for i = 1, #parts - 1 do
    owner[parts[i]] = type(owner[parts[i]]) == "table" and owner[parts[i]] or {}
    owner = owner[parts[i]]
  end
  owner[parts[#parts]] = constant(lex)
end

local function option_line(lex, owner)
  owner.options = owner.options or {}
  option(lex, owner.options)
  -- Kong's own files leave it out, and lua-protobuf lets them.
  lex:take ";"
end

-- `[a = 1, b = 2]`.
local function options_of(lex, owner)
  if not lex:take "[" then
    return
  end
  owner.options = {}
  repeat
    option(lex, owner.options)
  until not lex:take ","
  lex:expect "]"
end

local function default_of(field)
  local options = field.options
  if options and options.default ~= nil then
    field.default_value, options.default = tostring(options.default), nil
  end
  if options and options.json_name then
    field.json_name, options.json_name = options.json_name, nil
  end
end

local message

local function typed(field, name)
  field.type = SCALARS[name]
  if not field.type then
    field.type_name = name
  end
end

-- A field from its type on.
local function field(lex, owner, label, oneof)
  local new = { label = label or "LABEL_OPTIONAL" }
  if lex:take "group" then
    local name = lex:ident()
    new.name, new.type, new.type_name = name:lower(), "TYPE_GROUP", name
    lex:expect "="
    new.number = lex:integer()
    options_of(lex, new)
    add(owner, "nested_type", message(lex, name))
  else
    typed(new, lex:path())
    new.name = lex:ident()
    lex:expect "="
    new.number = lex:integer()
    options_of(lex, new)
    default_of(new)
    lex:expect ";"
  end
  new.oneof_index = oneof
  return new
end

local function camel(name)
  return (("_" .. name):gsub("_(%w)", string.upper):gsub("_", ""))
end

-- `map<key, value> name = 1;`: a list of entries that are messages.
local function map(lex, owner)
  lex:expect "<"
  local key, value = { name = "key", number = 1 }, { name = "value", number = 2 }
  typed(key, lex:ident())
  lex:expect ","
  typed(value, lex:path())
  lex:expect ">"
  key.label, value.label = "LABEL_OPTIONAL", "LABEL_OPTIONAL"
  local name = lex:ident()
  lex:expect "="
  local new = { name = name, number = lex:integer(), label = "LABEL_REPEATED" }
  options_of(lex, new)
  lex:expect ";"
  new.type, new.type_name = "TYPE_MESSAGE", camel(name) .. "Entry"
  add(owner, "nested_type", {
    name = new.type_name, field = { key, value }, options = { map_entry = true },
  })
  add(owner, "field", new)
end

local function oneof(lex, owner)
  local decl = add(owner, "oneof_decl", { name = lex:ident() })
  local at = #owner.oneof_decl - 1
  lex:expect "{"
  while not lex:take "}" do
    if lex:take "option" then
      option_line(lex, decl)
    elseif not lex:take ";" then
      add(owner, "field", field(lex, owner, nil, at))
    end
  end
end

local function enum(lex)
  local new = { name = lex:ident(), value = {} }
  lex:expect "{"
  while not lex:take "}" do
    if lex:take "option" then
      option_line(lex, new)
    elseif lex:take "reserved" then
      repeat lex:next() until lex:take ";"
    elseif not lex:take ";" then
      local value = { name = lex:ident() }
      lex:expect "="
      value.number = lex:integer()
      options_of(lex, value)
      lex:expect ";"
      table.insert(new.value, value)
    end
  end
  return new
end

local function extend(lex, owner)
  local extendee = lex:path()
  lex:expect "{"
  while not lex:take "}" do
    local label = LABELS[lex.word]
    if label then
      lex:next()
    end
    add(owner, "extension", field(lex, owner, label)).extendee = extendee
  end
end

-- Numbers that are kept free or for extensions say nothing to a codec.
local function numbers(lex)
  while lex.kind ~= "end" and not lex:take ";" do
    lex:next()
  end
end

local MEMBERS = {
  message = function(lex, owner) add(owner, "nested_type", message(lex)) end,
  enum = function(lex, owner) add(owner, "enum_type", enum(lex)) end,
  extend = extend,
  extensions = numbers,
  reserved = numbers,
  oneof = oneof,
  option = option_line,
  map = map,
}

-- Whether the word at hand begins a member, and is not the type of a field.
local function is_member(lex)
  local after = lex.text:match("^%s*([^%s])", lex.at)
  if lex.word == "map" then
    return after == "<"
  end
  return MEMBERS[lex.word] ~= nil and lex.kind == "name"
end

local function optional(lex, owner)
  local new = add(owner, "field", field(lex, owner, "LABEL_OPTIONAL"))
  if owner.proto3 then
    new.proto3_optional = true
  end
end

-- From the name on, or from the brace if there is a name already.
function message(lex, name)
  local new = { name = name or lex:ident(), proto3 = lex.proto3 }
  lex:expect "{"
  while not lex:take "}" do
    if is_member(lex) then
      local word = lex:ident()
      MEMBERS[word](lex, new)
    elseif lex.word == "optional" then
      lex:next()
      optional(lex, new)
    elseif LABELS[lex.word] then
      add(new, "field", field(lex, new, LABELS[lex:ident()]))
    elseif not lex:take ";" then
      add(new, "field", field(lex, new))
    end
  end
  new.proto3 = nil
  return new
end

local function method(lex)
  local new = { name = lex:ident() }
  lex:expect "("
  new.client_streaming = lex:take "stream" or nil
  new.input_type = lex:path()
  lex:expect ")"
  lex:expect "returns"
  lex:expect "("
  new.server_streaming = lex:take "stream" or nil
  new.output_type = lex:path()
  lex:expect ")"
  if lex:take "{" then
    while not lex:take "}" do
      if lex:take "option" then
        option_line(lex, new)
      else
        lex:expect ";"
      end
    end
  else
    lex:expect ";"
  end
  return new
end

local function service(lex)
  local new = { name = lex:ident() }
  lex:expect "{"
  while not lex:take "}" do
    if lex:take "option" then
      option_line(lex, new)
    elseif lex:take "rpc" then
      add(new, "method", method(lex))
    else
      lex:expect ";"
    end
  end
  return new
end

local function import(lex, file)
  -- A plain import is a public one for lua-protobuf, and Kong follows those.
  local kind = lex.kind == "name" and lex:ident() or "public"
  add(file, "dependency", lex:string())
  add(file, kind .. "_dependency", #file.dependency - 1)
  lex:expect ";"
end

local function syntax(lex, file)
  lex:expect "="
  file.syntax = lex:string()
  lex.proto3 = file.syntax ~= "proto2"
  lex:expect ";"
end

local TOP = {
  syntax = syntax,
  edition = syntax,
  import = import,
  package = function(lex, file)
    file.package = lex:path()
    lex:expect ";"
  end,
  option = option_line,
  message = function(lex, file) add(file, "message_type", message(lex)) end,
  enum = function(lex, file) add(file, "enum_type", enum(lex)) end,
  service = function(lex, file) add(file, "service", service(lex)) end,
  extend = extend,
}

-- The table of a file, in which names of types are as they were written.
return function(text, name)
  local lex = lexer.new(text:gsub("^\239\187\191", ""), name)
  local file = { name = name }
  while lex.kind ~= "end" do
    if not lex:take ";" then
      local word = lex:ident()
      local read = TOP[word] or lex:fail(("unexpected '%s'"):format(word))
      read(lex, file)
    end
  end
  return file
end
