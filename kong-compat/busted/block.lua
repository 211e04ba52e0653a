-- Runs what `describe` and `it` have noted, in the order that busted has: the body of a block when
-- its turn comes, then its children one by one.

local util = require "luassert.util"

local block = {}

-- What is noted of a block, and how often its setups run.
local LISTS = {
  "before_each", "after_each", "lazy_setup", "lazy_teardown", "strict_setup", "strict_teardown",
}

function block.new(kind, name, body, parent, place)
  local made = { kind = kind, name = name, body = body, parent = parent, place = place }
  made.children = {}
  for _, list in ipairs(LISTS) do
    made[list] = {}
  end
  return made
end

-- The names of the blocks around it and its own.
function block.name_of(element)
  local names = {}
  while element do
    if element.name then
      table.insert(names, 1, tostring(element.name))
    end
    element = element.parent
  end
  return table.concat(names, " ")
end

-- Code of ours, which says nothing of where a spec fails.
local function is_ours(source)
  return source:find("kong-compat/busted", 1, true) or source:find("kong-compat/luassert", 1, true)
end

-- What was raised, as a text. A table is shown with what is in it.
local function text_of(err)
  if err == nil then
    return "Nil error"
  elseif type(err) == "table" and not util.hastostring(err) then
    return require("pl.pretty").write(err)
  end
  return tostring(err)
end

-- The place where an error was raised, for one that does not say it.
local function raised_at()
  local level = 3
  local info = debug.getinfo(level, "Sl")
  while info and (info.what == "C" or is_ours(info.source)) do
    level = level + 1
    info = debug.getinfo(level, "Sl")
  end
  return info and info.currentline > 0 and info.short_src .. ":" .. info.currentline .. ": " or ""
end

-- An error as the operator reads it. A table with `pending` ends a case without a failure.
local function trouble(err)
  if type(err) == "table" and err.is_pending then
    return err
  end
  local trace = {}
  for line in debug.traceback("", 2):gmatch("[^\n]+") do
    if not is_ours(line) and not line:find("^%s*%[C%]") then
      trace[#trace + 1] = line
    end
  end
  local message = text_of(err)
  if not message:find("^[^\n]-:%d+: ") then
    message = raised_at() .. message
  end
  return { message = message, trace = #trace > 1 and table.concat(trace, "\n") or nil,
    is_failure = err ~= nil and rawequal(err, util.failed) }
end

local runner = {}
runner.__index = runner

-- Runs a function with a limit of time; gives what went wrong.
function runner:safe(f, what)
  local problem
  local in_time, err = self.host.limit(self.options.timeout, function()
    local ok, caught = xpcall(f, trouble)
    problem = not ok and caught or nil
  end, what)
  if not in_time then
    return { message = err, trace = "" }
  end
  return problem
end

local function is_chosen(options, name)
  local function any(patterns, found_in)
    for _, pattern in ipairs(patterns or {}) do
      if found_in:find(pattern) then
        return true
      end
    end
    return false
  end
  local function tagged(tags)
    for _, tag in ipairs(tags or {}) do
      -- As in `[#off]`, too: a tag ends where a word does.
      local from, to = name:find("#" .. tag, 1, true)
      while to do
        if not name:find("^[%w_]", to + 1) then
          return true
        end
        from, to = name:find("#" .. tag, from + 1, true)
      end
    end
    return false
  end
  if options.filter and #options.filter > 0 and not any(options.filter, name) then
    return false
  elseif options.tags and #options.tags > 0 and not tagged(options.tags) then
    return false
  end
  return not any(options.filter_out, name) and not tagged(options.exclude_tags)
end

-- The blocks from the outermost to this one.
local function lineage(element)
  local blocks = {}
  while element do
    table.insert(blocks, 1, element)
    element = element.parent
  end
  return blocks
end

function runner:tell(element, outcome, problem, took)
  self.host.tell {
    name = block.name_of(element), place = element.place, outcome = outcome,
    message = problem and tostring(problem.message), trace = problem and problem.trace,
    seconds = took,
  }
end

-- Runs functions of a block; tells of the first that fails and says so.
function runner:all(list, element, what)
  for _, f in ipairs(element[list]) do
    local problem = self:safe(f, what or list)
    if problem then
      return problem
    end
  end
end

-- The lazy setups of the blocks around a case; they run once, before the first case in them.
function runner:prepare(element)
  for _, one in ipairs(lineage(element)) do
    if one.prepared == nil then
      local problem = self:all("lazy_setup", one)
      one.prepared = not problem
      if problem then
        self:tell(one, problem.is_pending and "pending" or "error", problem, 0)
      end
    end
    if not one.prepared then
      return false
    end
  end
  return true
end

-- before_each from outside inwards; gives the innermost block that was reached.
function runner:before(element)
  local reached
  for _, one in ipairs(lineage(element)) do
    reached = one
    local problem = self:all("before_each", one)
    if problem then
      return problem, reached
    end
  end
  return nil, reached
end

function runner:after(reached)
  local first
  while reached do
    local problem = self:all("after_each", reached)
    first, reached = first or problem, reached.parent
  end
  return first
end

-- An assertion of the case itself that does not hold is its failure; all else is an error (busted).
local function outcome_of(problem, of_case)
  if problem.is_pending then
    return "pending"
  end
  return of_case and problem.is_failure and "failure" or "error"
end

function runner:case(element)
  if not is_chosen(self.options, block.name_of(element)) then
    return
  elseif not element.body then
    return self:tell(element, "pending", { message = element.why or "" }, 0)
  elseif not self:prepare(element.parent) then
    self.host.tell { outcome = "skipped", name = block.name_of(element), place = element.place }
    return
  end
  self.host.begin(block.name_of(element), element.place)
  local began = self.host.now()
  local problem, reached = self:before(element.parent)
  local of_case = not problem
  if not problem then
    local finally
    self.case_running = { finally = function(f) finally = f end }
    util.failed = nil
    problem = self:safe(element.body, "it")
    self.case_running = nil
    local late = finally and self:safe(finally, "finally")
    if late and not problem then
      problem, of_case = late, false
    end
  end
  local late = self:after(reached)
  if late and not problem then
    problem, of_case = late, false
  end
  local took = self.host.now() - began
  if problem then
    self:tell(element, outcome_of(problem, of_case), problem, took)
  else
    self:tell(element, "success", nil, took)
  end
end

local function snapshot_of(t)
  local copy = {}
  for key, value in next, t do
    copy[key] = value
  end
  return copy
end

local function restore(t, copy)
  for key in next, t do
    if copy[key] == nil then
      t[key] = nil
    end
  end
  for key, value in next, copy do
    t[key] = value
  end
end

function runner:block(element)
  local loaded, globals
  if element.kind == "insulate" then
    loaded, globals = snapshot_of(package.loaded), snapshot_of(_G)
  end
  self.current = element
  local problem = self:safe(element.body, "describe")
  self.current = element.parent
  problem = problem or self:all("strict_setup", element)
  if problem then
    self:tell(element, problem.is_pending and "pending" or "error", problem, 0)
  else
    for _, child in ipairs(element.children) do
      if self.host.stops() then
        break
      end
      if child.kind == "it" then
        self:case(child)
      else
        self:block(child)
      end
    end
  end
  problem = element.prepared and self:all("lazy_teardown", element)
  problem = self:all("strict_teardown", element) or problem
  if problem and not problem.is_pending then
    self:tell(element, "error", problem, 0)
  end
  if loaded then
    restore(package.loaded, loaded)
    restore(_G, globals)
  end
end

function block.runner(options, host)
  return setmetatable({ options = options, host = host }, runner)
end

return block
