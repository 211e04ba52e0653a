-- Messages of DNS (RFC 1035): questions are written, answers are read.

local byte, char, sub = string.byte, string.char, string.sub

local host = require "silverback.host"

local _M = {}

-- The longest name (RFC 1035, section 3.1).
local NAME_MAX = 255

local ERRORS = { "format error", "server failure", "name error", "not implemented", "refused" }
-- Compression may point back so often within one name.
local JUMPS_MAX = 64
-- More than this many records are in no honest message.
local RECORDS_MAX = 1000

-- A number of two bytes.
function _M.number(n)
  return char(math.floor(n / 256), n % 256)
end

function _M.read_number(text, at)
  local high, low = byte(text, at, at + 1)
  return low and high * 256 + low
end

local function read_long(text, at)
  local high, low = _M.read_number(text, at), _M.read_number(text, at + 2)
  return high and low and high * 65536 + low
end

-- A question and its id.
function _M.question(name, options, no_recurse)
  local labels = {}
  if name:sub(1, 1) == "." then
    return nil, "bad name"
  end
  for label in name:gmatch("([^.]+)") do
    if #label > 63 then
      return nil, "bad name"
    end
    labels[#labels + 1] = char(#label) .. label
  end
  local id = _M.read_number(host.random_bytes(2), 1)
  return table.concat {
    _M.number(id), no_recurse and "\0\0" or "\1\0", "\0\1\0\0\0\0\0\0",
    table.concat(labels), "\0", _M.number(options.qtype or 1), "\0\1",
  }, id
end

-- A name and the position behind it.
local function read_name(text, at)
  local labels, after = {}, nil
  local jumps, total = 0, 1
  while true do
    local length = byte(text, at)
    if not length then
      return nil
    end
    if length == 0 then
      return table.concat(labels, "."), after or at + 1
    end
    if length >= 192 then
      local pointer = _M.read_number(text, at)
      jumps = jumps + 1
      if not pointer or jumps > JUMPS_MAX then
        return nil
      end
      after = after or at + 2
      at = pointer % 16384 + 1
    else
      total = total + length + 1
      if length > 63 or total > NAME_MAX then
        return nil
      end
      labels[#labels + 1] = sub(text, at + 1, at + length)
      at = at + length + 1
    end
  end
end

-- The eight groups of an IPv6 address.
function _M.groups(address)
  local head, tail = address:match("^(.-)::(.*)$")
  local function list(text)
    local groups = {}
    for group in (text or ""):gmatch("%x+") do
      groups[#groups + 1] = group
    end
    return groups
  end
  local groups, rest = list(head or address), list(tail)
  if head then
    for _ = 1, 8 - #groups - #rest do
      groups[#groups + 1] = "0"
    end
  end
  for _, group in ipairs(rest) do
    groups[#groups + 1] = group
  end
  return #groups == 8 and groups or nil
end

-- An IPv6 address whose longest run of zeros is written as `::`.
function _M.compressed(address)
  local groups = _M.groups(address)
  if not groups then
    return address
  end
  local from, best, run = 0, 1, 0
  for i, group in ipairs(groups) do
    run = tonumber(group, 16) == 0 and run + 1 or 0
    if run > best then
      from, best = i - run + 1, run
    end
  end
  if from == 0 then
    return address
  end
  return table.concat(groups, ":", 1, from - 1) .. "::" .. table.concat(groups, ":", from + best)
end

local read = {}

read[1] = function(record, text, at, length)
  if length ~= 4 then
    return nil, "bad A record value length: " .. length
  end
  record.address = table.concat({ byte(text, at, at + 3) }, ".")
  return true
end

read[28] = function(record, text, at, length)
  if length ~= 16 then
    return nil, "bad AAAA record value length: " .. length
  end
  local groups = {}
  for i = 0, 7 do
    groups[i + 1] = ("%x"):format(_M.read_number(text, at + i * 2))
  end
  record.address = _M.compressed(table.concat(groups, ":"))
  return true
end

local function named(field, skip)
  return function(record, text, at)
    record[field] = read_name(text, at + (skip or 0))
    return record[field] ~= nil, "bad " .. field .. " record"
  end
end

read[2], read[5], read[12] = named("nsdname"), named("cname"), named("ptrdname")

read[15] = function(record, text, at)
  record.preference = _M.read_number(text, at)
  return named("exchange", 2)(record, text, at)
end

read[33] = function(record, text, at)
  record.priority = _M.read_number(text, at)
  record.weight = _M.read_number(text, at + 2)
  record.port = _M.read_number(text, at + 4)
  return named("target", 6)(record, text, at)
end

local function texts(field)
  return function(record, text, at, length)
    local all, last = {}, at + length
    while at < last do
      local size = byte(text, at)
      all[#all + 1] = sub(text, at + 1, at + size)
      at = at + size + 1
    end
    record[field] = #all > 1 and all or all[1] or ""
    return true
  end
end

read[16], read[99] = texts("txt"), texts("spf")

read[6] = function(record, text, at)
  local name, after = read_name(text, at)
  if not name then
    return nil, "bad SOA record"
  end
  record.mname = name
  record.rname, after = read_name(text, after)
  if not record.rname then
    return nil, "bad SOA record"
  end
  for i, field in ipairs { "serial", "refresh", "retry", "expire", "minimum" } do
    record[field] = read_long(text, after + (i - 1) * 4)
  end
  return true
end

-- One record, and the position behind it.
local function read_record(text, at, section)
  local name, after = read_name(text, at)
  local length = name and _M.read_number(text, after + 8)
  if not length then
    return nil, "truncated"
  end
  local record = {
    section = section, name = name, type = _M.read_number(text, after),
    class = _M.read_number(text, after + 2), ttl = read_long(text, after + 4),
  }
  local data = after + 10
  if data + length - 1 > #text then
    return nil, "truncated"
  end
  local reader = read[record.type]
  if not reader then
    record.rdata = sub(text, data, data + length - 1)
    return record, data + length
  end
  local ok, err = reader(record, text, data, length)
  if not ok then
    return nil, err
  end
  return record, data + length
end

-- The records of an answer, those behind the first section only if they are asked for. The third
-- value says that it was cut.
function _M.answers(text, id, options)
  if #text < 12 then
    return nil, "truncated"
  end
  if _M.read_number(text, 1) ~= id then
    return nil, "id mismatch"
  end
  local flags = _M.read_number(text, 3)
  if flags < 32768 then
    return nil, "bad QR flag in the DNS response"
  end
  if math.floor(flags / 512) % 2 == 1 then
    return nil, "truncated", true
  end
  local answers, code = {}, flags % 16
  if code ~= 0 then
    answers.errcode, answers.errstr = code, ERRORS[code] or "unknown"
  end
  if code ~= 0 and code ~= 3 or _M.read_number(text, 5) ~= 1 then
    return answers
  end
  local _, at = read_name(text, 13)
  if not at then
    return nil, "bad name"
  end
  at = at + 4
  local sections = options.additional_section and 3 or options.authority_section and 2 or 1
  for section = 1, sections do
    local count = math.min(_M.read_number(text, 5 + section * 2), RECORDS_MAX)
    for _ = 1, count do
      local record, after = read_record(text, at, section)
      if not record then
        return nil, after
      end
      at = after
      if section == 1 or section == 3 and options.additional_section
        or section == 2 and options.authority_section then
        answers[#answers + 1] = record
      end
    end
  end
  return answers
end

return _M
