-- Lets others of the worker run, where code may wait.

local _M = {}

local MAY_WAIT = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true,
  ssl_client_hello = true, ssl_certificate = true, ssl_session_fetch = true, preread = true,
}
-- A loop lets others run once in so many rounds.
local ROUNDS = 1000

local left = ROUNDS

function _M.in_yieldable_phase(phase)
  return MAY_WAIT[phase or ngx.get_phase()]
end

function _M.yield(in_loop, phase)
  if not _M.in_yieldable_phase(phase) then
    return
  end
  if in_loop then
    left = left - 1
    if left > 0 then
      return
    end
    left = ROUNDS
  end
  ngx.sleep(0)
end

return _M
