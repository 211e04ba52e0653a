-- What Kong's plugin ldap-auth has of ASN.1: its own file calls OpenSSL's C functions, which are
-- not here. The other files of the plugin run as they are.

local _M = {
  CLASS = { UNIVERSAL = 0x00, APPLICATION = 0x40, CONTEXT_SPECIFIC = 0x80, PRIVATE = 0xc0 },
  TAG = {
    EOC = 0, BOOLEAN = 1, INTEGER = 2, OCTET_STRING = 4, NULL = 5, ENUMERATED = 10, SEQUENCE = 16,
  },
}
local CLASS, TAG = _M.CLASS, _M.TAG

local der = require "silverback.openssl.der"

-- The value between two places, counted from 0: what its head says.
function _M.get_object(bytes, start, stop)
  start, stop = start or 0, stop or #bytes
  if stop <= start or stop > #bytes then
    return nil, "invalid offset"
  end
  local tag, content, after = der.read(bytes:sub(1, stop), start + 1)
  -- A tag of 31 goes on in the next byte; LDAP has none.
  if not tag or tag % 32 == 31 then
    local first = bytes:byte(start + 1)
    local is_constructed = bit.band(first, 0x20) ~= 0
    return nil, "der with error encoding: " .. (is_constructed and 160 or 128)
  end
  local head = after - 1 - #content - start
  return {
    tag = tag % 32, class = tag - tag % 64, cons = tag % 64 >= 32, len = #content,
    offset = start + head, hl = head,
  }
end

function _M.put_object(tag, class, constructed, data, length)
  length = type(data) == "string" and #data or length or 0
  if length <= 0 then
    return nil, "invalid object length"
  end
  local first = class + (constructed == 1 and 32 or 0) + tag
  if not data then
    return der.write(first, ("\0"):rep(length)):sub(1, -length - 1)
  end
  return der.write(first, data)
end

-- A number in two's complement, as short as it can be.
local function number_bytes(value)
  local bytes = ""
  repeat
    local byte = value % 256
    bytes = string.char(byte) .. bytes
    value = (value - byte) / 256
  until value == 0 and byte < 128 or value == -1 and byte >= 128
  return bytes
end

local function number_of(bytes)
  local value = bytes:byte() >= 128 and -1 or 0
  for i = 1, #bytes do
    value = value * 256 + bytes:byte(i)
  end
  return value
end

function _M.encode(value, tag)
  if tag == nil then
    tag = type(value) == "string" and TAG.OCTET_STRING or TAG.INTEGER
  end
  if tag == TAG.INTEGER or tag == TAG.ENUMERATED then
    return der.write(tag, number_bytes(value))
  elseif tag == TAG.OCTET_STRING then
    return der.write(tag, value)
  elseif tag == TAG.SEQUENCE then
    return _M.put_object(tag, CLASS.UNIVERSAL, 1, value)
  end
end

-- Whether a number is longer than it has to be, which DER forbids.
local function is_padded(content)
  local first, second = content:byte(1, 2)
  return second ~= nil and (first == 0 and second < 128 or first == 255 and second >= 128)
end

-- Where the next value is, and the value; on failure nil, nil and why.
function _M.decode(bytes, offset)
  offset = offset or 0
  local object, err = _M.get_object(bytes, offset)
  if not object then
    return nil, nil, err
  end
  local content = bytes:sub(object.offset + 1, object.offset + object.len)
  local value
  if object.tag == TAG.OCTET_STRING then
    value = content
  elseif object.tag == TAG.INTEGER or object.tag == TAG.ENUMERATED then
    if #content == 0 or #content > 6 or is_padded(content) then
      err = object.tag == TAG.INTEGER and "failed to decode ASN1_INTEGER"
        or "failed to decode ASN1_ENUMERATED"
    else
      value = number_of(content)
    end
  else
    return nil, nil, "unknown tag type: " .. object.tag
  end
  return object.offset + object.len, value, err
end

-- The result of an operation (RFC 4511, 4.1.9), behind the head of its message.
function _M.parse_ldap_result(bytes)
  local offset, id, err = _M.decode(bytes)
  if err then
    return nil, err
  elseif type(id) ~= "number" then
    return nil, "message id should be an integer value"
  end
  local operation
  operation, err = _M.get_object(bytes, offset)
  if not operation then
    return nil, err
  end
  local found, at = {}, operation.offset
  for i, wrong in ipairs {
    "result code should be an enumerated value", "matched dn should be an octet string",
    "diagnostic message should be an octet string",
  } do
    at, found[i], err = _M.decode(bytes, at)
    if err then
      return nil, err
    elseif type(found[i]) ~= (i == 1 and "number" or "string") then
      return nil, wrong
    end
  end
  return {
    message_id = id, protocol_op = operation.tag, result_code = found[1], matched_dn = found[2],
    diagnostic_msg = found[3],
  }
end

return _M
