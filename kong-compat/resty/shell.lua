-- `resty.shell` for specs. Plugins have none: nginx' pipes to processes are not here.

local ok, host = pcall(require, "silverback.spec")
if not ok then
  error("resty.shell is there for specs alone", 0)
end

local _M = {}

-- `run(command or words, input, timeout in ms)`: whether it went well, its outputs, how it ended,
-- and its status.
function _M.run(command, input, timeout)
  if type(command) == "table" then
    local words = {}
    for i, word in ipairs(command) do
      words[i] = "'" .. tostring(word):gsub("'", "'\\''") .. "'"
    end
    command = table.concat(words, " ")
  end
  local seconds = timeout and timeout > 0 and timeout / 1000 or 120
  local code, out, err = host.run(command, input, seconds)
  return code == 0, out, err, "exit", code
end

return _M
