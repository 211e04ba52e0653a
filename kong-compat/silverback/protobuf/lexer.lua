-- The words of a `.proto` file.

local _M = {}
_M.__index = _M

local ESCAPES = {
  a = "\a", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", v = "\v",
  ["\\"] = "\\", ["'"] = "'", ['"'] = '"', ["?"] = "?",
}

function _M.new(text, name)
  local self = setmetatable({ text = text, name = name, at = 1 }, _M)
  self:next()
  return self
end

-- Raises an error with the place of the word at hand.
function _M:fail(what)
  local _, breaks = self.text:sub(1, (self.from or self.at) - 1):gsub("\n", "")
  error(("%s:%d: %s"):format(self.name, breaks + 1, what), 0)
end

local function skip(self)
  while true do
    local at = self.text:match("^%s*()", self.at)
    if self.text:find("^//", at) then
      at = self.text:match("^[^\n]*()", at)
    elseif self.text:find("^/%*", at) then
      at = select(2, self.text:find("*/", at + 2, true))
      at = at and at + 1 or self:fail "a comment has no end"
    elseif at == self.at then
      return
    end
    self.at = at
  end
end

local function unescaped(text)
  text = text:gsub("\\([xX])(%x%x?)", function(_, digits)
    return string.char(tonumber(digits, 16))
  end)
  text = text:gsub("\\([0-7][0-7]?[0-7]?)", function(digits)
    return string.char(tonumber(digits, 8) % 256)
  end)
  return (text:gsub("\\(.)", function(letter)
    return ESCAPES[letter] or letter
  end))
end

-- The end of a text in quotes.
local function quoted(self)
  local quote, at = self.text:sub(self.at, self.at), self.at + 1
  while true do
    local stop = self.text:find("[\\\n" .. quote .. "]", at)
    local found = stop and self.text:sub(stop, stop)
    if not stop or found == "\n" then
      self:fail "a text has no end"
    elseif found == quote then
      return stop
    end
    at = stop + 2
  end
end

local PATTERNS = {
  { "name", "^%.?[%a_][%w_]*()" },
  { "number", "^%d[%w_]*%.?[%w_]*[eE][+-]%d+()" },
  { "number", "^%.?%d[%w_.]*()" },
  { "sign", "^.()" },
}

-- Goes on to the next word: its kind (`name`, `number`, `text`, `sign`, `end`) and what it says.
function _M:next()
  skip(self)
  self.from = self.at
  if self.at > #self.text then
    self.kind, self.word = "end", "the end"
    return
  end
  if self.text:find("^['\"]", self.at) then
    local stop = quoted(self)
    self.kind, self.word = "text", unescaped(self.text:sub(self.at + 1, stop - 1))
    self.at = stop + 1
    return
  end
  for _, pattern in ipairs(PATTERNS) do
    local stop = self.text:match(pattern[2], self.at)
    if stop then
      self.kind, self.word = pattern[1], self.text:sub(self.at, stop - 1)
      self.at = stop
      return
    end
  end
end

-- Takes a word if it is the one at hand.
function _M:take(word)
  if self.word == word and self.kind ~= "text" then
    self:next()
    return true
  end
  return false
end

function _M:expect(word)
  if not self:take(word) then
    self:fail(("'%s' expected, got '%s'"):format(word, self.word))
  end
end

local function of_kind(self, kind, what)
  if self.kind ~= kind then
    self:fail(("%s expected, got '%s'"):format(what, self.word))
  end
  local word = self.word
  self:next()
  return word
end

function _M:ident()
  return of_kind(self, "name", "a name")
end

-- A name with dots.
function _M:path()
  local path = of_kind(self, "name", "a name")
  while self.kind == "name" and self.word:find "^%." or self.word == "." and self.kind == "sign" do
    if self:take "." then
      path = path .. "." .. self:ident()
    else
      path = path .. self:ident()
    end
  end
  return path
end

function _M:integer()
  local negative = self:take "-"
  local word = of_kind(self, "number", "a number")
  local number = word:find "^0[0-7]+$" and tonumber(word, 8) or tonumber(word)
  if not number then
    self:fail(("a number expected, got '%s'"):format(word))
  end
  return negative and -number or number
end

-- Texts beside each other are one.
function _M:string()
  local text = of_kind(self, "text", "a text")
  while self.kind == "text" do
    text = text .. of_kind(self, "text", "a text")
  end
  return text
end

return _M
