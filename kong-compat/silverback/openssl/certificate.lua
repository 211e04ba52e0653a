-- A certificate (RFC 5280) as the table of its parts, which are DER where nothing else is said, and
-- back.

local der = require "silverback.openssl.der"

local _M = {}

-- Days from 1970 of a day in the civil calendar.
local function days(year, month, day)
  year = month <= 2 and year - 1 or year
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return year * 365 + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + of_year - 719468
end

-- Seconds since 1970 of a UTCTime or GeneralizedTime.
local function seconds(value)
  local text = value.content
  if value.tag == der.UTC_TIME then
    local year = tonumber(text:sub(1, 2))
    text = (year and year < 50 and "20" or "19") .. text
  end
  local year, month, day, hour, minute, second =
    text:match "^(%d%d%d%d)(%d%d)(%d%d)(%d%d)(%d%d)(%d%d)Z$"
  if not year then
    return nil
  end
  return days(tonumber(year), tonumber(month), tonumber(day)) * 86400 + hour * 3600 + minute * 60
    + second
end

local function time(number)
  local date = os.date("!*t", number)
  if date.year >= 1950 and date.year < 2050 then
    return der.write(der.UTC_TIME, os.date("!%y%m%d%H%M%SZ", number))
  end
  return der.write(der.GENERALIZED_TIME, os.date("!%Y%m%d%H%M%SZ", number))
end

local function read_extensions(list)
  local found = {}
  for _, value in ipairs(list) do
    local parts = der.all(value.content)
    if not parts or #parts < 2 then
      return nil
    end
    local critical = parts[2].tag == der.BOOLEAN and parts[2].content ~= "\0"
    found[#found + 1] = { id = der.oid_text(parts[1].content), critical = critical,
      value = parts[#parts].content }
  end
  return found
end
_M.read_extensions = read_extensions

-- The fields of a certificate in DER; nil if it is none.
function _M.read(bytes)
  local outer, after = der.take(bytes, 1, der.SEQUENCE)
  local parts = outer and after == #bytes + 1 and der.all(outer)
  if not parts or #parts ~= 3 or parts[1].tag ~= der.SEQUENCE or parts[3].tag ~= der.BIT_STRING then
    return nil
  end
  local body = der.all(parts[1].content)
  if not body then
    return nil
  end
  local version = 0
  if body[1] and body[1].tag == 0xa0 then
    version = (der.take_integer(body[1].content, 1) or ""):byte() or 0
    table.remove(body, 1)
  end
  local validity = body[4] and der.all(body[4].content)
  local before, until_ = validity and validity[1], validity and validity[2]
  if #body < 6 or body[1].tag ~= der.INTEGER or body[6].tag ~= der.SEQUENCE or not until_ then
    return nil
  end
  local certificate = {
    version = version, serial = body[1].content, algorithm = body[2].whole,
    issuer = body[3].whole, not_before = seconds(before), not_after = seconds(until_),
    subject = body[5].whole, key = body[6].whole, extensions = {},
    signed = parts[1].whole, signature_algorithm = parts[2].content,
    signature = parts[3].content:sub(2), whole = bytes,
  }
  for i = 7, #body do
    local list = body[i].tag == 0xa3 and der.take(body[i].content, 1, der.SEQUENCE)
    local values = list and der.all(list)
    if body[i].tag == 0xa3 then
      certificate.extensions = values and read_extensions(values)
    end
  end
  if not certificate.extensions or not certificate.not_before or not certificate.not_after then
    return nil
  end
  return certificate
end

function _M.write_extensions(list)
  local found = {}
  for i, extension in ipairs(list) do
    found[i] = der.sequence(der.write(der.OID, der.oid(extension.id)),
      extension.critical and der.write(der.BOOLEAN, "\255") or "",
      der.write(der.OCTET_STRING, extension.value))
  end
  return der.sequence(table.concat(found))
end

-- The part that is signed.
function _M.to_be_signed(c, algorithm)
  return der.sequence(c.version > 0 and der.write(0xa0, der.integer(string.char(c.version))) or "",
    der.write(der.INTEGER, c.serial), algorithm, c.issuer,
    der.sequence(time(c.not_before), time(c.not_after)), c.subject, c.key,
    #c.extensions > 0 and der.write(0xa3, _M.write_extensions(c.extensions)) or "")
end

return _M
