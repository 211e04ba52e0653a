-- `kong.db.tags`: which entities have a tag, gathered from the collections when somebody asks.

local TAGGED = {
  "services", "routes", "consumers", "consumer_groups", "plugins", "upstreams", "targets",
  "certificates", "snis", "ca_certificates", "key_sets", "keys", "vaults",
}

local Tags = {}

-- One row for each tag of each entity, or of one tag alone.
local function rows_of(db, wanted)
  local rows = {}
  for _, name in ipairs(TAGGED) do
    for entity in db[name]:each() do
      for _, tag in ipairs(entity.tags or {}) do
        if not wanted or tag == wanted then
          rows[#rows + 1] = { tag = tag, entity_name = name, entity_id = entity.id }
        end
      end
    end
  end
  return rows
end

-- A page of them; `offset` is the place of its first row as text.
local function page_of(self, rows, size, offset)
  local from = tonumber(ngx.decode_base64(offset or "") or "") or 0
  local size_of_page = size or self.pagination.page_size
  local page = {}
  for i = from + 1, math.min(from + size_of_page, #rows) do
    page[#page + 1] = rows[i]
  end
  local next_from = from + size_of_page
  local next_offset = next_from < #rows and ngx.encode_base64(tostring(next_from), true) or nil
  return setmetatable(page, require("cjson").array_mt), nil, nil, next_offset
end

function Tags:page_by_tag(tag, size, offset)
  local ok, told = self.schema:validate_field(self.schema.fields.tag, tag)
  if not ok then
    local failure = self.errors:invalid_unique("tag", told)
    return nil, tostring(failure), failure
  end
  return page_of(self, rows_of(self.db, tag), size, offset)
end

function Tags:page(size, offset)
  return page_of(self, rows_of(self.db), size, offset)
end

function Tags:select()
  return nil
end

for _, name in ipairs { "insert", "update", "upsert", "delete" } do
  Tags[name] = function(self)
    local failure = self.errors:schema_violation {
      tags = "does not support insert/upsert/update/delete operations",
    }
    return nil, tostring(failure), failure
  end
end

return Tags
