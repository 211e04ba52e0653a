-- The sample plugin: greets in a response header, and leaves a line in the log.

local Hello = {
  PRIORITY = 900,
  VERSION = "1.0.0",
}

-- What is kept here is seen by the later phases of the same request, and by nobody else.
function Hello:access(conf)
  kong.ctx.plugin.agent = kong.request.get_header("User-Agent") or "somebody"
end

function Hello:header_filter(conf)
  kong.response.set_header(conf.header_name, conf.greeting)
end

function Hello:log(conf)
  kong.log.info("said ", conf.greeting, " to ", kong.ctx.plugin.agent)
end

return Hello
