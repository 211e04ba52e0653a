-- What the cases `lua` and `lua10` run: five calls of the PDK in three phases.

local kong = kong

local Plugin = { PRIORITY = 1000, VERSION = "1.0.0" }

function Plugin:access()
  local agent = kong.request.get_header("user-agent")
  kong.service.request.set_header("x-agent", agent or "none")
  kong.ctx.plugin.path = kong.request.get_path()
end

function Plugin:header_filter(conf)
  kong.response.set_header("x-lua", conf.text)
end

function Plugin:log()
  self.last = kong.response.get_status()
end

return Plugin
