-- Runs the code of a configuration that counts something, such as `request_prompt_count_function`.
--
-- As in Kong each call begins with globals of its own.

local sandbox = require("kong.tools.sandbox").sandbox

local _M = {}

function _M.count(code)
  return sandbox(code, nil, nil, { kong = kong, ngx = ngx })()
end

return _M
