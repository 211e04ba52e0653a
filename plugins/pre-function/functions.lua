-- The handler of pre-function and post-function: Lua code of the configuration, phase by phase.
--
-- A piece of code runs on each request, unless it returns a function: then this function runs in
-- its place from there on, and what the piece declared lives as long as the configuration.

local kong_meta = require "kong.meta"
local sandbox = require "kong.tools.sandbox"

local PHASES = { "certificate", "rewrite", "access", "header_filter", "body_filter", "log" }

-- Code that ends the request on its first run keeps running as code: nobody saw what it returns.
local function runner(code)
  local run = sandbox.sandbox(code)
  local started = false
  local settled = false
  return function()
    if settled then
      return run()
    end
    if started then
      settled = true
      return run()
    end
    started = true
    local result = run()
    settled = true
    if type(result) == "function" then
      run = result
      run()
    end
  end
end

local function compile(codes)
  local runners = {}
  for i, code in ipairs(codes or {}) do
    runners[i] = runner(code)
  end
  return runners
end

-- Compiled code by configuration; it goes when the configuration does.
local compiled = setmetatable({}, { __mode = "k" })

local function runners_of(conf)
  local phases = compiled[conf]
  if not phases then
    phases = {}
    for _, phase in ipairs(PHASES) do
      phases[phase] = compile(conf[phase])
    end
    compiled[conf] = phases
  end
  return phases
end

return function(priority)
  local Functions = {
    PRIORITY = priority,
    VERSION = kong_meta.version,
  }

  for _, phase in ipairs(PHASES) do
    Functions[phase] = function(_, conf)
      local runners = runners_of(conf)[phase]
      for i = 1, #runners do
        runners[i]()
      end
    end
  end

  -- The phases that a configuration has code for: the gateway skips the others.
  function Functions:__phases(conf)
    local used = {}
    for _, phase in ipairs(PHASES) do
      if conf[phase] and #conf[phase] > 0 then
        used[#used + 1] = phase
      end
    end
    return used
  end

  return Functions
end
