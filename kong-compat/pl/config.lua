-- `pl.config` of Penlight: files of names and values, with sections in brackets.

local stringx = require "pl.stringx"

local _M = {}

local function option(options, name, default)
  if options and options[name] ~= nil then
    return options[name]
  end
  return default
end

-- A line that ends with a backslash goes on in the next.
function _M.lines(file)
  local file_lines = file:lines()
  return function()
    local whole
    for line in file_lines do
      line = (whole or "") .. line
      if line:sub(-1) ~= "\\" then
        return line
      end
      whole = line:sub(1, -2)
    end
    return whole
  end
end

local function name_of(text, options)
  if option(options, "variabilize", true) then
    return (text:gsub("[^%w]", "_"))
  end
  return tonumber(text) or text
end

local value_of

function value_of(text, options)
  local delimiter = option(options, "list_delim", ",")
  if delimiter and text:find(delimiter, 1, true) and not text:find('^"') then
    local list = {}
    for _, item in ipairs(stringx.split(text, delimiter)) do
      list[#list + 1] = value_of(stringx.strip(item), options)
    end
    return list
  end
  local convert = option(options, "convert_numbers", true)
  if type(convert) == "function" then
    return convert(text) or text
  end
  return convert and tonumber(text) or (text:gsub('^(["\'])(.*)%1$', "%2"))
end

-- A table of the values of a file, which is a name or an open file; nil and why not.
function _M.read(file, options)
  local handle, err = file, nil
  if type(file) == "string" then
    handle, err = io.open(file, "r")
    if not handle then
      return nil, err
    end
  end
  local all = {}
  local section = all
  local separator = option(options, "keysep", "=")
  for line in _M.lines(handle) do
    line = stringx.strip(line)
    local title = line:match("^%[(.+)%]$")
    if title then
      section = {}
      all[name_of(title, options)] = section
    elseif line ~= "" and not line:find("^[#;]") then
      local at = line:find(separator, 1, true)
      if at then
        local name = stringx.strip(line:sub(1, at - 1))
        section[name_of(name, options)] = value_of(stringx.strip(line:sub(at + 1)), options)
      else
        section[#section + 1] = value_of(line, options)
      end
    end
  end
  if type(file) == "string" then
    handle:close()
  end
  return all
end

return _M
