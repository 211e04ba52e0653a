-- ngx.process: workers are threads of one process, and none of them is privileged.

local _M = { version = "0.1.31" }

function _M.type()
  return ngx.get_phase() == "init" and "master" or "worker"
end

-- The process that all workers are in.
function _M.get_master_pid()
  return ngx.worker.pid()
end

function _M.enable_privileged_agent()
  if ngx.get_phase() ~= "init" then
    error("API disabled in the current context", 2)
  end
  return nil, "workers are threads of this gateway: there is no privileged agent"
end

function _M.signal_graceful_exit()
  error("workers are threads of this gateway: none ends without the others", 2)
end

return _M
