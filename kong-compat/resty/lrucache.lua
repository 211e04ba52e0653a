-- The module `resty.lrucache`: a cache that keeps what was used last.
--
-- Entries are a ring of tables; the head's next is the one used last.

local _M = { _VERSION = "0.15" }
local methods = _M
local meta = { __index = methods }

local function unlink(entry)
  entry.before.after = entry.after
  entry.after.before = entry.before
end

local function to_front(head, entry)
  entry.before, entry.after = head, head.after
  head.after.before = entry
  head.after = entry
end

function _M.new(size)
  if size < 1 then
    return nil, "size too small"
  end
  local head = {}
  head.before, head.after = head, head
  return setmetatable({ head = head, entries = {}, count_of = 0, size = size }, meta)
end

-- The value; or nil and the value whose time is over. Flags come third.
function methods:get(key)
  local entry = self.entries[key]
  if not entry or entry.value == nil then
    return nil
  end
  unlink(entry)
  to_front(self.head, entry)
  if entry.expires and entry.expires < ngx.now() then
    return nil, entry.value, entry.flags
  end
  return entry.value, nil, entry.flags
end

-- A number of 32 bits; 0 for what is none.
local function flags_of(flags)
  flags = tonumber(flags)
  return flags and flags >= 0 and flags < math.huge and math.floor(flags) % 2^32 or 0
end

function methods:set(key, value, ttl, flags)
  local entry = self.entries[key]
  if entry then
    unlink(entry)
  else
    if self.count_of >= self.size then
      self:delete(self.head.before.key)
    end
    entry = { key = key }
    self.entries[key] = entry
    self.count_of = self.count_of + 1
  end
  entry.value = value
  entry.expires = ttl and ngx.now() + ttl or nil
  entry.flags = flags_of(flags)
  to_front(self.head, entry)
end

function methods:delete(key)
  local entry = self.entries[key]
  if not entry then
    return false
  end
  unlink(entry)
  self.entries[key] = nil
  self.count_of = self.count_of - 1
  return true
end

function methods:count()
  return self.count_of
end

function methods:capacity()
  return self.size
end

-- Up to `limit` keys, those used last first; into `keys`, if there is such a table.
function methods:get_keys(limit, keys)
  keys = keys or {}
  local entry, n = self.head.after, 0
  while entry ~= self.head and (not limit or limit == 0 or n < limit) do
    n = n + 1
    keys[n] = entry.key
    entry = entry.after
  end
  if keys[n + 1] ~= nil then
    keys[n + 1] = nil
  end
  return keys
end

function methods:flush_all()
  self.entries, self.count_of = {}, 0
  self.head.before, self.head.after = self.head, self.head
end

return _M
