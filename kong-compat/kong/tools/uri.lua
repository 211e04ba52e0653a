-- Request paths, normalised as Kong's router compares them.

local _M = {}

local UNSAFE = "[^!#$&'()*+,/:;=?@%[%]%w%-_.~%%]"
local RESERVED = "!*'();:@&=+$,/?%#[]"

-- An escape that stands for an unreserved character is undone; the others are upper case.
local function decode(escape, digits)
  local char = string.char(tonumber(digits, 16))
  if RESERVED:find(char, 1, true) then
    return escape:upper()
  end
  return char
end

local function encode(char)
  return ("%%%02X"):format(char:byte())
end

-- Resolves `.` and `..`; empty segments are dropped if slashes are merged.
local function resolve(path, merge_slashes)
  local segments = {}
  local directory = false
  for segment in path:gsub("^/", ""):gmatch("([^/]*)/?") do
    segments[#segments + 1] = segment
  end
  -- gmatch finds an empty rest after the last slash, or after the last segment.
  if segments[#segments] == "" and path:sub(-1) ~= "/" then
    segments[#segments] = nil
  end
  local kept = {}
  for i, segment in ipairs(segments) do
    local last = i == #segments
    directory = last and (segment == "" or segment == "." or segment == "..")
    if segment == ".." then
      kept[#kept] = nil
    elseif segment ~= "." and not (segment == "" and (merge_slashes or last)) then
      kept[#kept + 1] = segment
    end
  end
  local resolved = "/" .. table.concat(kept, "/")
  if directory and resolved ~= "/" then
    resolved = resolved .. "/"
  end
  return resolved
end

-- What cannot stand in a head goes into an escape; what is reserved stays.
function _M.escape(path)
  if type(path) == "nil" or not string.find(path, UNSAFE) then
    return path
  end
  return (string.gsub(path, UNSAFE, encode))
end

function _M.normalize(path, merge_slashes)
  if path == "" or path == "/" then
    return path
  end
  if string.find(path, "%", 1, true) then
    path = path:gsub("(%%(%x%x))", decode)
  end
  if not string.find(path, ".", 1, true)
    and not (merge_slashes and string.find(path, "//", 1, true))
  then
    return path
  end
  return resolve(path, merge_slashes)
end

return _M
