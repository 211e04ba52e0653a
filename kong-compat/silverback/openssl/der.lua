-- DER (X.690) as keys and certificates use it: read value by value, written from the inside out.

local byte, char, sub = string.byte, string.char, string.sub
local floor = math.floor

local _M = {
  BOOLEAN = 0x01, INTEGER = 0x02, BIT_STRING = 0x03, OCTET_STRING = 0x04, NULL = 0x05, OID = 0x06,
  UTF8 = 0x0c, PRINTABLE = 0x13, IA5 = 0x16, UTC_TIME = 0x17, GENERALIZED_TIME = 0x18,
  SEQUENCE = 0x30, SET = 0x31,
}

-- The value at a place: its tag, its content, the place behind it; nil if there is none.
function _M.read(bytes, at)
  at = at or 1
  local tag, length = byte(bytes, at, at + 1)
  if not length then
    return nil
  end
  local from = at + 2
  if length >= 0x80 then
    local count = length - 0x80
    if count < 1 or count > 4 or #bytes < at + 1 + count then
      return nil
    end
    length = 0
    for i = 1, count do
      length = length * 256 + byte(bytes, at + 1 + i)
    end
    from = from + count
  end
  if from + length - 1 > #bytes then
    return nil
  end
  return tag, sub(bytes, from, from + length - 1), from + length
end

-- The content of the value at a place, if it has this tag, and the place behind it.
function _M.take(bytes, at, wanted)
  local tag, content, after = _M.read(bytes, at)
  if tag == wanted then
    return content, after
  end
end

-- All values side by side: a list of { tag, content, whole }; nil if the bytes end within one.
function _M.all(bytes)
  local list, at = {}, 1
  while at <= #bytes do
    local tag, content, after = _M.read(bytes, at)
    if not tag then
      return nil
    end
    list[#list + 1] = { tag = tag, content = content, whole = sub(bytes, at, after - 1) }
    at = after
  end
  return list
end

function _M.write(tag, ...)
  local content = table.concat { ... }
  local length = #content
  if length < 0x80 then
    return char(tag, length) .. content
  end
  local digits = ""
  while length > 0 do
    digits = char(length % 256) .. digits
    length = floor(length / 256)
  end
  return char(tag, 0x80 + #digits) .. digits .. content
end

function _M.sequence(...)
  return _M.write(_M.SEQUENCE, ...)
end

-- A number that is not negative, from its bytes.
function _M.integer(bytes)
  bytes = bytes:gsub("^%z+", "")
  if bytes == "" or byte(bytes) >= 0x80 then
    bytes = "\0" .. bytes
  end
  return _M.write(_M.INTEGER, bytes)
end

-- The bytes of the number at a place, without zeros before it.
function _M.take_integer(bytes, at)
  local content, after = _M.take(bytes, at, _M.INTEGER)
  if content then
    return (content:gsub("^%z+", "")), after
  end
end

-- `1.2.840` as DER holds it.
function _M.oid(text)
  local numbers = {}
  for number in text:gmatch "%d+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  if #numbers < 2 then
    return nil
  end
  local bytes = { char(numbers[1] * 40 + numbers[2]) }
  for i = 3, #numbers do
    local number = numbers[i]
    local group = char(number % 128)
    number = floor(number / 128)
    while number > 0 do
      group = char(number % 128 + 128) .. group
      number = floor(number / 128)
    end
    bytes[#bytes + 1] = group
  end
  return table.concat(bytes)
end

function _M.oid_text(bytes)
  local first = byte(bytes) or 0
  local numbers, number = { math.min(floor(first / 40), 2) }, 0
  numbers[2] = first - numbers[1] * 40
  for i = 2, #bytes do
    local digit = byte(bytes, i)
    number = number * 128 + digit % 128
    if digit < 128 then
      numbers[#numbers + 1] = ("%.0f"):format(number)
      number = 0
    end
  end
  return table.concat(numbers, ".")
end

local BEGIN, END, DASHES = "-----BEGIN ", "-----END ", "-----"

-- The sections of a PEM text one by one: the name, what is between its lines, and the whole. Every
-- mark is looked for once, so that a text of nothing but marks takes no longer than another.
function _M.sections(text)
  local from, ending = 1, 0
  return function()
    while true do
      local first, last = text:find(BEGIN, from, true)
      local close, behind = text:find(DASHES, (last or #text) + 1, true)
      if not close then
        return nil
      end
      if ending <= behind then
        ending = text:find(END, behind + 1, true)
        if not ending then
          return nil
        end
      end
      from = last + 1
      local name = sub(text, last + 1, close - 1)
      local line = END .. name .. DASHES
      if sub(text, ending, ending + #line - 1) == line and not name:find("\n", 1, true) then
        from = ending + #line
        return name, sub(text, behind + 1, ending - 1), sub(text, first, from - 1)
      end
    end
  end
end

-- Headers of a section (RFC 1421) end with an empty line.
local function split_headers(body)
  local from, colon = body:find "%S", body:find(":", 1, true)
  local blank, last
  if colon then
    blank, last = body:find("\r?\n\r?\n", colon)
  end
  if blank then
    return sub(body, from, blank - 1), sub(body, last + 1)
  end
  return nil, body
end

-- The first section of a PEM text whose name `wanted` takes: what it holds, its name, its headers.
function _M.from_pem(text, wanted)
  for name, body in _M.sections(text) do
    if not wanted or wanted(name) then
      local headers, rest = split_headers(body)
      return ngx.decode_base64((rest:gsub("%s+", ""))), name, headers
    end
  end
end

function _M.to_pem(name, bytes)
  local text = ngx.encode_base64(bytes):gsub(("."):rep(64), "%0\n")
  if text:sub(-1) ~= "\n" then
    text = text .. "\n"
  end
  return ("-----BEGIN %s-----\n%s-----END %s-----\n"):format(name, text, name)
end

return _M
