-- What @NAME@ does, phase by phase.

local Handler = {
  PRIORITY = 1000, -- plugins with a greater one run earlier: key-auth has 1250, cors 2000
  VERSION = "0.1.0",
}

-- Before the request goes to the upstream.
function Handler:access(conf)
  kong.service.request.set_header(conf.request_header, "@NAME@")
end

-- When the head of the answer is there.
function Handler:header_filter(conf)
  kong.response.set_header(conf.response_header, "@NAME@")
end

return Handler
