-- wrk's side of compare.py: one POST over and over, and the sums as one line of JSON.
-- Arguments: the file with the body.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["apikey"] = "my-key"
  file:close()
end

local SUMS = '{"requests": %d, "seconds": %.6f, "bytes": %d, "not_2xx": %d, '
  .. '"socket_errors": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n'

function done(summary, latency)
  local errors = summary.errors
  io.write(SUMS:format(summary.requests, summary.duration / 1e6, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
