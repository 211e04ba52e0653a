-- What `start_kong` is given as fixtures: names for the gateway, and server blocks of nginx.

local fixtures = {}

-- Names that the gateway is to know: `fixtures.dns_mock:A { name = ..., address = ... }`.
local dns_mock = {}
dns_mock.__index = dns_mock

local function record(kind)
  return function(self, entry)
    entry.kind = kind
    self.records[#self.records + 1] = entry
    return true
  end
end

for _, kind in ipairs { "A", "AAAA", "SRV", "CNAME" } do
  dns_mock[kind] = record(kind)
end

fixtures.dns_mock = {
  new = function()
    return setmetatable({ records = {} }, dns_mock)
  end,
}

local function hosts_file(records, prefix)
  local path = prefix .. "/hosts"
  local lines = { "127.0.0.1 localhost" }
  for _, one in ipairs(records) do
    if one.kind == "A" or one.kind == "AAAA" then
      lines[#lines + 1] = (one.address or one.target) .. " " .. one.name
    end
  end
  local file = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  return path
end

-- The settings with what fixtures add to them.
function fixtures.apply(env, given, prefix)
  local copy = {}
  for name, value in pairs(env) do
    copy[name] = value
  end
  given = given or {}
  if given.dns_mock and given.dns_mock.records then
    local path = hosts_file(given.dns_mock.records, prefix)
    copy.dns_hostsfile = copy.dns_hostsfile or path
    copy.resolver_hosts_file = copy.resolver_hosts_file or path
  end
  for name, block in pairs(given.http_mock or {}) do
    require("spec.internal.mock").server_block(name, block, prefix)
  end
  return copy
end

return fixtures
