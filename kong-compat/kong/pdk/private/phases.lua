-- Phases as numbers, which plugins that check them by Kong's own functions use.

local bit = require "bit"

local NUMBERS = {
  init_worker = 0x1, certificate = 0x2, client_hello = 0x8, rewrite = 0x10, access = 0x20,
  balancer = 0x40, response = 0x80, cluster_listener = 0x100, header_filter = 0x200,
  body_filter = 0x400, log = 0x2000, preread = 0x4000, error = 0x1000000, admin_api = 0x10000000,
}

local phases = setmetatable({}, {
  __index = function(_, name)
    error("unknown phase or phase alias: " .. tostring(name))
  end,
})
for name, number in pairs(NUMBERS) do
  phases[name] = number
  phases[number] = name
end
phases.request = bit.bor(NUMBERS.rewrite, NUMBERS.access, NUMBERS.balancer, NUMBERS.response,
  NUMBERS.header_filter, NUMBERS.body_filter, NUMBERS.log, NUMBERS.error, NUMBERS.admin_api,
  NUMBERS.cluster_listener)

local function names_of(set)
  local names = {}
  for i = 0, 29 do
    local number = bit.lshift(1, i)
    if bit.band(set, number) ~= 0 then
      names[#names + 1] = rawget(phases, number)
    end
  end
  return table.concat(names, ", ")
end

-- The phase that runs, as a number; an error where there is no request. What somebody has set in
-- its place counts first: specs do.
local function current(otherwise)
  local set = ngx.ctx and ngx.ctx.KONG_PHASE
  local number = set or NUMBERS[ngx.get_phase and ngx.get_phase() or ""]
  if not number then
    error("no phase in ngx.ctx.KONG_PHASE" .. otherwise, 3)
  end
  return number
end

local function check(accepted)
  local phase = current(", (need one of " .. names_of(accepted) .. ")")
  if bit.band(phase, accepted) == 0 then
    error(("function cannot be called in %s phase (only in: %s)"):format(
      phases[phase], names_of(accepted)), 3)
  end
end

local function check_not(rejected)
  local phase = current("")
  if bit.band(phase, rejected) ~= 0 then
    error(("function cannot be called in %s phase (can be called in any phases except: %s)"):format(
      phases[phase], names_of(rejected)), 3)
  end
end

return {
  new = function(...) return bit.bor(...) end,
  check = check,
  check_not = check_not,
  phases = phases,
}
