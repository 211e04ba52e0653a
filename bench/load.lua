-- wrk's side of compare.py: POSTs over and over, and the sums as one line of JSON.
-- The argument is a Lua file that returns a list of requests (path, headers, body). One is sent
-- again and again, several in turn. With `many`, `@@@@@` in a request stands for a number below it.

local STEP = 7919 -- a prime: neighbours in time are none in the configuration

local function wire(request)
  return wrk.format("POST", request.path, request.headers, request.body)
end

local function in_turn(requests)
  local wires, n = {}, 0
  for i, one in ipairs(requests) do
    wires[i] = wire(one)
  end
  return function()
    n = n % #wires + 1
    return wires[n]
  end
end

local function numbered(one, many)
  local before, after = wire(one):match("^(.-)@@@@@(.*)$")
  local n = 0
  return function()
    n = (n + STEP) % many
    return before .. ("%05d"):format(n) .. after
  end
end

function init(args)
  local requests = dofile(args[1])
  local one = requests[1]
  if requests.many then
    request = numbered(one, requests.many)
  elseif #requests > 1 then
    request = in_turn(requests)
  else
    -- wrk makes this once, and calls no Lua then.
    wrk.method, wrk.path, wrk.body = "POST", one.path, one.body
    for name, value in pairs(one.headers) do
      wrk.headers[name] = value
    end
  end
end

local SUMS = '{"requests": %d, "seconds": %.6f, "bytes": %d, "failed": %d, '
  .. '"socket_errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n'

function done(summary, latency)
  local errors = summary.errors
  io.write(SUMS:format(summary.requests, summary.duration / 1e6, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
