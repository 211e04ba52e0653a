-- Folders: Penlight's `dir`.

local lfs = require "lfs"
local path = require "pl.path"
local utils = require "pl.utils"

local _M = {}

local function list(values)
  return setmetatable(values, require "pl.List")
end

local function check(n, folder)
  utils.assert_arg(n, folder, "string", path.isdir, "not a directory", 4)
end

-- A pattern of Lua for one of the shell.
local function mask_of(pattern)
  return "^" .. utils.escape(pattern):gsub("%%%*", ".*"):gsub("%%%?", ".") .. "$"
end

function _M.fnmatch(name, pattern)
  utils.assert_string(1, name)
  utils.assert_string(2, pattern)
  return name:find(mask_of(pattern)) ~= nil
end

function _M.filter(names, pattern)
  utils.assert_arg(1, names, "table")
  local kept, mask = {}, mask_of(utils.assert_string(2, pattern))
  for _, name in ipairs(names) do
    if name:find(mask) then
      kept[#kept + 1] = name
    end
  end
  return list(kept)
end

local function entries(folder, is_wanted)
  local found = {}
  for name in lfs.dir(folder) do
    local whole = path.join(folder, name)
    if name ~= "." and name ~= ".." and is_wanted(whole, name) then
      found[#found + 1] = whole
    end
  end
  return list(found)
end

function _M.getfiles(folder, pattern)
  folder = folder or "."
  check(1, folder)
  local mask = pattern and mask_of(utils.assert_string(2, pattern))
  return entries(folder, function(whole, name)
    return path.isfile(whole) and (not mask or name:find(mask))
  end)
end

function _M.getdirectories(folder)
  folder = folder or "."
  check(1, folder)
  return entries(folder, path.isdir)
end

-- Every file below a folder, and whether it is one itself.
function _M.dirtree(folder)
  check(1, folder)
  local waiting = { { folder, lfs.dir(folder) } }
  return function()
    while #waiting > 0 do
      local at = waiting[#waiting]
      local name = at[2](at[3])
      if not name then
        table.remove(waiting)
      elseif name ~= "." and name ~= ".." then
        local whole = path.join(at[1], name)
        local is_folder = lfs.symlinkattributes(whole, "mode") == "directory"
        if is_folder then
          waiting[#waiting + 1] = { whole, lfs.dir(whole) }
        end
        return whole, is_folder
      end
    end
  end
end

function _M.getallfiles(folder, pattern)
  local files, mask = {}, mask_of(pattern or "*")
  for whole, is_folder in _M.dirtree(folder or ".") do
    if not is_folder and path.basename(whole):find(mask) then
      files[#files + 1] = whole
    end
  end
  return list(files)
end

-- Makes a folder and those that it lies in.
function _M.makepath(folder)
  utils.assert_string(1, folder)
  folder = path.normpath(folder)
  if path.isdir(folder) then
    return true
  end
  local parent = path.dirname(folder)
  if parent ~= "" and parent ~= folder then
    local ok, err = _M.makepath(parent)
    if not ok then
      return nil, err
    end
  end
  return lfs.mkdir(folder)
end

function _M.rmtree(folder)
  check(1, folder)
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then
      local whole = path.join(folder, name)
      local is_folder = lfs.symlinkattributes(whole, "mode") == "directory"
      local ok, err = (is_folder and _M.rmtree or os.remove)(whole)
      if not ok then
        return nil, err
      end
    end
  end
  return lfs.rmdir(folder)
end

function _M.copyfile(from, to, overwrite)
  if overwrite == false and path.exists(to) then
    return false, "cannot overwrite destination"
  end
  to = path.isdir(to) and path.join(to, path.basename(from)) or to
  return require("pl.file").copy(from, to)
end

function _M.movefile(from, to)
  to = path.isdir(to) and path.join(to, path.basename(from)) or to
  local ok, err = os.rename(from, to)
  return ok or false, err
end

return _M
