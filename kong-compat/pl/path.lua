-- What plugins use of Penlight's `path`: names of files and folders, and whether they are there.

local host = require "silverback.host"
local lfs = require "lfs"

local _M = {
  sep = "/", dirsep = ":", is_windows = false, dir = lfs.dir, mkdir = lfs.mkdir, rmdir = lfs.rmdir,
  attrib = lfs.attributes, link_attrib = lfs.symlinkattributes, chdir = lfs.chdir,
}

function _M.isabs(path)
  return path:sub(1, 1) == "/"
end

function _M.join(first, second, ...)
  if select("#", ...) > 0 then
    return _M.join(_M.join(first, second), ...)
  end
  if _M.isabs(second) or first == "" then
    return second
  end
  return first:sub(-1) == "/" and first .. second or first .. "/" .. second
end

function _M.splitpath(path)
  local folder, name = path:match("^(.*)/([^/]*)$")
  return folder or "", name or path
end

function _M.splitext(path)
  local stem, extension = path:match("^(.*[^/])(%.[^%./]*)$")
  return stem or path, extension or ""
end

function _M.dirname(path)
  return (_M.splitpath(path))
end

function _M.basename(path)
  return (select(2, _M.splitpath(path)))
end

function _M.extension(path)
  return (select(2, _M.splitext(path)))
end

-- Without `.`, `..` and double slashes.
function _M.normpath(path)
  local parts = {}
  local root = _M.isabs(path) and "/" or ""
  for part in path:gmatch("[^/]+") do
    if part == ".." and #parts > 0 and parts[#parts] ~= ".." then
      parts[#parts] = nil
    elseif part ~= "." and not (part == ".." and root ~= "") then
      parts[#parts + 1] = part
    end
  end
  local normal = root .. table.concat(parts, "/")
  return normal == "" and "." or normal
end

function _M.expanduser(path)
  if path:sub(1, 1) ~= "~" then
    return path
  end
  local home = os.getenv("HOME")
  if not home then
    return nil, "failed to expand '~' (HOME not set)"
  end
  return home .. path:sub(2)
end

-- The path if it is there, else false.
function _M.exists(path)
  return host.file_kind(path) and path or false
end

function _M.isfile(path)
  return host.file_kind(path) == "file"
end

function _M.isdir(path)
  return host.file_kind(path) == "directory"
end

function _M.getsize(path)
  return host.file_size(path)
end

local function time_of(which)
  return function(path)
    return lfs.attributes(path, which)
  end
end

_M.getatime, _M.getmtime, _M.getctime = time_of "access", time_of "modification", time_of "change"

function _M.islink(path)
  return lfs.symlinkattributes(path, "mode") == "link"
end

function _M.normcase(path)
  return path
end

_M.tmpname = os.tmpname

-- A path as seen from a folder.
function _M.relpath(path, start)
  path, start = _M.abspath(path), _M.abspath(start or _M.currentdir())
  local there, here = {}, {}
  for part in path:gmatch("[^/]+") do
    there[#there + 1] = part
  end
  for part in start:gmatch("[^/]+") do
    here[#here + 1] = part
  end
  local common = 0
  while there[common + 1] and there[common + 1] == here[common + 1] do
    common = common + 1
  end
  local parts = {}
  for _ = common + 1, #here do
    parts[#parts + 1] = ".."
  end
  for i = common + 1, #there do
    parts[#parts + 1] = there[i]
  end
  return table.concat(parts, "/")
end

function _M.common_prefix(a, b)
  local n = 0
  while n < math.min(#a, #b) and a:byte(n + 1) == b:byte(n + 1) do
    n = n + 1
  end
  local behind = a:sub(n + 1, n + 1) .. b:sub(n + 1, n + 1)
  local is_whole = (n == #a or n == #b) and behind:find("^/?$")
  local prefix = a:sub(1, n)
  return is_whole and prefix or (prefix:match("^(.*)/") or "")
end

function _M.currentdir()
  return host.current_dir()
end

function _M.abspath(path, base)
  if _M.isabs(path) then
    return _M.normpath(path)
  end
  return _M.normpath(_M.join(base or _M.currentdir(), path))
end

return _M
