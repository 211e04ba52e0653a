-- Texts of several lines and simple templates: what `pl.stringx` loads when it is asked for.

local stringx = require "pl.stringx"
local utils = require "pl.utils"

local _M = {}

local function lines_of(text)
  return utils.split(text, "\n")
end

function _M.indent(text, count, char)
  utils.assert_arg(1, text, "string")
  utils.assert_arg(2, count, "number")
  local lines, prefix = lines_of(text), (char or " "):rep(count)
  for i, line in ipairs(lines) do
    lines[i] = prefix .. line
  end
  return table.concat(lines, "\n") .. "\n"
end

-- Takes off the blanks that all lines begin with.
function _M.dedent(text)
  utils.assert_arg(1, text, "string")
  local lines, least = lines_of(text), math.huge
  for _, line in ipairs(lines) do
    least = math.min(least, line:find("%S") or math.huge)
  end
  for i, line in ipairs(lines) do
    lines[i] = line:sub(least)
  end
  return table.concat(lines, "\n") .. "\n"
end

-- Words that fit into a line; with `break_long`, as much of a long one as fits.
local function take_line(words, width, break_long)
  local first = words[1]
  if #first > width then
    if break_long then
      words[1] = first:sub(width + 1)
      return first:sub(1, width)
    end
    return table.remove(words, 1)
  end
  local line, length = {}, 0
  while words[1] and (length + #words[1] <= width or length == 0 and #words[1] == width) do
    local word = table.remove(words, 1)
    if word ~= "" then
      line[#line + 1] = word
      length = length + #word + 1
    end
  end
  return table.concat(line, " ")
end

function _M.wrap(text, width, break_long)
  text = stringx.strip((text:gsub("\n", " ")))
  if text == "" then
    return { "" }
  end
  local words, lines = utils.split(text, "%s"), require "pl.List"()
  while words[1] do
    lines[#lines + 1] = take_line(words, width or 70, break_long)
  end
  return lines
end

function _M.fill(text, width, break_long)
  return table.concat(_M.wrap(text, width, break_long), "\n") .. "\n"
end

-- `${name}` and `$name` become values; unknown names stay if it is `safe`.
local function substitute(text, values, safe)
  local function value_of(name)
    local value = values[name]
    if not value and not safe then
      error("not present in table " .. name)
    end
    return value or name
  end
  if utils.is_callable(values) then
    value_of = values
  end
  return (text:gsub("%${([%w_]+)}", value_of):gsub("%$([%w_]+)", value_of))
end

local Template = {}
Template.__index = Template

function Template.new(text)
  utils.assert_arg(1, text, "string")
  return setmetatable({ tmpl = text }, Template)
end

function Template:substitute(values)
  utils.assert_arg(1, values, "table")
  return substitute(self.tmpl, values, false)
end

function Template:safe_substitute(values)
  utils.assert_arg(1, values, "table")
  return substitute(self.tmpl, values, true)
end

-- Values of several lines keep the indentation of their place.
function Template:indent_substitute(values)
  utils.assert_arg(1, values, "table")
  local lines = lines_of(self.tmpl)
  for i, line in ipairs(lines) do
    lines[i] = line:gsub("(%s*)%$([%w_]+)", function(blanks, name)
      local value = values[name]
      if not value then
        error("not present in table " .. name)
      end
      local is_template = getmetatable(value) == Template
      local text = is_template and value.tmpl or tostring(value)
      if text:find("\n", 1, true) then
        local inner = lines_of(text)
        for j, one in ipairs(inner) do
          inner[j] = blanks .. one
        end
        text = table.concat(inner, "\n") .. "\n"
      end
      return is_template and substitute(text, values) or text
    end)
  end
  return table.concat(lines, "\n") .. "\n"
end

_M.Template = setmetatable(Template, {
  __call = function(_, text) return Template.new(text) end,
})

local function format(text, ...)
  local args, i = table.pack(...), 0
  for code in text:gmatch("%%.") do
    i = i + 1
    if code == "%s" then
      args[i] = tostring(args[i])
    end
  end
  return text:format(unpack(args, 1, math.max(args.n, i)))
end

-- Gives texts Python's `%`.
function _M.format_operator()
  getmetatable("").__mod = function(text, value)
    if value == nil then
      return text
    elseif type(value) == "function" then
      return (text:gsub("%$([%w_]+)", value))
    elseif type(value) ~= "table" or getmetatable(value) then
      return format(text, value)
    elseif #value == 0 then
      return substitute(text, value, true)
    end
    return format(text, unpack(value))
  end
end

return _M
