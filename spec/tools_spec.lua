-- `kong.tools.*` and what else of Kong's own modules plugins require.

describe("kong.tools.queue", function()
  local Queue = require "kong.tools.queue"

  local function conf(name, changes)
    local made = {
      name = name, log_tag = "spec", max_batch_size = 10, max_coalescing_delay = 0.2,
      max_entries = 100, max_retry_time = 60, initial_retry_delay = 0.001, max_retry_delay = 1,
      concurrency_limit = 1,
    }
    for key, value in pairs(changes or {}) do
      made[key] = value
    end
    return made
  end

  -- Waits until a condition holds.
  local function eventually(condition)
    for _ = 1, 1000 do
      if condition() then
        return
      end
      ngx.sleep(0.005)
    end
    error("it never came true", 2)
  end

  it("hands over a full batch at once and the rest in time", function()
    local batches = {}
    local function handler(_, entries)
      batches[#batches + 1] = #entries
      return true
    end
    for i = 1, 5 do
      assert(Queue.enqueue(conf("batches", { max_batch_size = 2 }), handler, nil, "entry " .. i))
    end
    eventually(function() return not Queue.exists("batches") end)
    assert.same({ 2, 2, 1 }, batches)
  end)

  it("uses the handler's latest configuration", function()
    local seen = {}
    local function handler(configuration, entries)
      seen[#seen + 1] = configuration.name .. #entries
      return true
    end
    Queue.enqueue(conf("latest"), handler, { name = "old" }, 1)
    Queue.enqueue(conf("latest"), handler, { name = "new" }, 2)
    eventually(function() return #seen > 0 end)
    assert.same({ "new2" }, seen)
  end)

  it("tries again what the handler refuses or stumbles over", function()
    local tries = 0
    local function handler()
      tries = tries + 1
      if tries == 1 then
        error "not ready"
      end
      return tries > 2, "not yet"
    end
    Queue.enqueue(conf("again", { max_batch_size = 1 }), handler, nil, "x")
    eventually(function() return not Queue.exists("again") end)
    assert.equal(3, tries)
  end)

  it("gives up in the end", function()
    local tries = 0
    local function handler()
      tries = tries + 1
      return false, "never"
    end
    Queue.enqueue(conf("give up", { max_retry_time = -1 }), handler, nil, "x")
    eventually(function() return not Queue.exists("give up") end)
    assert.equal(1, tries)
  end)

  it("drops what is oldest when it is full", function()
    local seen
    local full = conf("full", { max_entries = 2 })
    local function handler(_, entries)
      seen = entries
      return true
    end
    for i = 1, 3 do
      assert.equal(i <= 2, Queue.can_enqueue(full, "x"))
      Queue.enqueue(full, handler, nil, i)
    end
    assert.is_true(Queue.is_full(full))
    eventually(function() return seen end)
    assert.same({ 2, 3 }, seen)
    assert.is_false(Queue.is_full(full))
  end)

  it("counts bytes", function()
    local seen
    local small = conf("bytes", { max_bytes = 10 })
    local function handler(_, entries)
      seen = entries
      return true
    end
    assert.is_true(Queue.enqueue(small, handler, nil, "12345"))
    assert.is_true(Queue.enqueue(small, handler, nil, "67890"))
    assert.is_false(Queue.can_enqueue(small, "x"))
    assert.is_true(Queue.enqueue(small, handler, nil, "abcd"))
    local long = { Queue.enqueue(small, handler, nil, "12345678901") }
    assert.same({ nil, "string to be queued is longer (11 bytes) than the queue's max_bytes "
      .. "(10 bytes)" }, long)
    eventually(function() return seen end)
    assert.same({ "67890", "abcd" }, seen)
  end)

  it("hands over single entries without a limit", function()
    local count = 0
    local function handler(_, entries)
      count = count + #entries
      return #entries == 1
    end
    for i = 1, 3 do
      Queue.enqueue(conf("free", { concurrency_limit = -1 }), handler, nil, i)
    end
    eventually(function() return count == 3 end)
  end)

  it("tells who calls it wrongly", function()
    assert.matches("must include a name", assert.has_error(function()
      Queue.enqueue({}, function() end)
    end))
    assert.matches("max_entries must be a number", assert.has_error(function()
      Queue.enqueue(conf("wrong", { max_entries = "many" }), function() end)
    end))
    assert.same({ nil, "entry must be a non-nil Lua value" },
      { Queue.enqueue(conf("nothing"), function() return true end) })
  end)
end)

describe("kong.tools", function()
  it("know when periods began", function()
    local timestamp = require "kong.tools.timestamp"
    local began = timestamp.get_timestamps(1449155075000)
    assert.same({
      second = 1449155075000, minute = 1449155040000, hour = 1449154800000, day = 1449100800000,
      month = 1448928000000, year = 1420070400000,
    }, began)
    assert.same(began, timestamp.get_timestamps(1449155075))
    assert.equal(0, timestamp.get_utc() % 1000)
  end)

  it("read media types", function()
    local mime = require "kong.tools.mime_type"
    assert.same({ "application", "json", { charset = "utf-8", q = "1" } },
      { mime.parse_mime_type('application/JSON; Charset="utf-8"; q=1') })
    assert.same({ "*", "*", {} }, { mime.parse_mime_type("*") })
    for _, wrong in ipairs { "text", "text/", "text/plain;", "text/plain; a", "te xt/a", "" } do
      assert.is_nil((mime.parse_mime_type(wrong)))
    end
    local function type_of(text)
      local kind, subtype = mime.parse_mime_type(text)
      return { type = kind, subtype = subtype }
    end
    local json = type_of "application/json"
    assert.is_true(mime.includes(json, type_of "application/problem+json"))
    assert.is_false(mime.includes(json, type_of "application/xml"))
    assert.is_true(mime.includes(type_of "text/*", type_of "text/html"))
  end)

  it("split texts", function()
    local strings = require "kong.tools.string"
    assert.same({ { "", "a", "", "b" }, 4 }, { strings.splitn(",a,,b", ",") })
    assert.same({ { "a", "b,c" }, 2 }, { strings.splitn("a,b,c", ",", 2) })
    assert.same({ { "", "a", "b", "" }, 4 }, { strings.splitn("ab", "") })
    assert.same({ {}, 0 }, { strings.splitn(nil, ",") })
    assert.same({ { "a", "b" }, 2 }, { strings.psplitn("a  b", "%s+") })
    assert.same({ "k", "v=w" }, { strings.split_once("k=v=w", "=") })
    local parts = {}
    for part in strings.isplitn("a,b", ",") do
      parts[#parts + 1] = part
    end
    assert.same({ "a", "b" }, parts)
    assert.equal(8192, strings.parse_ngx_size("8k"))
    assert.equal("x", strings.try_decode_base64("eA=="))
  end)

  it("copy tables that lead back to themselves", function()
    local tables = require "kong.tools.table"
    local loop = { a = { 1 } }
    loop.self = loop
    local copy = tables.cycle_aware_deep_copy(loop)
    assert.is_true(copy.self == copy and copy.a ~= loop.a)
    local merged = tables.cycle_aware_deep_merge({ a = { b = 1 } }, { a = { c = 2 } })
    assert.same({ a = { b = 1, c = 2 } }, merged)
    assert.is_true(tables.is_lapis_array({ ["1"] = "a" }))
    assert.is_false(tables.is_array({ 1, nil, 3 }, "strict"))
    assert.same({ a = 1 }, tables.null_aware_table_merge({ a = 1 }, { a = ngx.null }))
  end)

  it("make and read arguments", function()
    local http = require "kong.tools.http"
    assert.equal("a=1&b%5b1%5d=x&c%2ed=%20",
      (http.encode_args({ a = 1, b = { "x" }, c = { d = " " } }):gsub("%%%x%x", string.lower)))
    assert.same({ a = { "x", "y" }, b = true, c = ngx.null },
      http.decode_args({ a = { ["1"] = "x", ["2"] = "y" }, b = "true", c = "" }))
    assert.equal("text/html; charset=utf-8",
      http.get_response_type("text/html;q=0.8, application/xml;q=0.1"))
    assert.equal("application/json; charset=utf-8", http.get_response_type("*/*"))
    assert.same({ message = "Not found" }, http.get_default_exit_body(404))
    assert.same({ public = true, ["max-age"] = 3600 },
      http.parse_directive_header("Public, max-age=3600"))
  end)

  it("spread addresses out", function()
    local ip = require "kong.tools.ip"
    assert.equal("[0000:0000:0000:0000:0000:0000:0000:0001]:80", ip.format_host("::1", 80))
    assert.same({ host = "1.2.3.4", type = "ipv4", port = 8 }, ip.normalize_ip("001.2.3.4:8"))
    assert.is_true(ip.is_valid_cidr_v4("10.0.0.0/8"))
    assert.is_false(ip.is_valid_ipv6("1.2.3.4"))
  end)

  it("find modules or say that there are none", function()
    local load = require("kong.tools.module").load_module_if_exists
    assert.is_true((load("kong.meta")))
    assert.is_false((load("kong.enterprise_edition.feature")))
  end)

  it("frame messages of gRPC", function()
    local grpc = require "kong.tools.grpc"
    local framed = grpc.frame(0, "abc")
    assert.equal("\0\0\0\0\3abc", framed)
    assert.same({ "abc", "x" }, { grpc.unframe(framed .. "x") })
    assert.same({ nil, "\0\0" }, { grpc.unframe("\0\0") })
  end)
end)

describe("kong.concurrency", function()
  local concurrency = require "kong.concurrency"

  it("lets one in at a time", function()
    local inside, most = 0, 0
    local function work()
      return concurrency.with_coroutine_mutex({ name = "one" }, function()
        inside = inside + 1
        most = math.max(most, inside)
        ngx.sleep(0)
        inside = inside - 1
        return "done"
      end)
    end
    local threads = { ngx.thread.spawn(work), ngx.thread.spawn(work) }
    for _, thread in ipairs(threads) do
      assert.same({ true, "done" }, { ngx.thread.wait(thread) })
    end
    assert.equal(1, most)
  end)

  it("lets the next one in when a light thread is ended where it waits", function()
    local stuck = ngx.thread.spawn(function()
      concurrency.with_coroutine_mutex({ name = "left" }, function() ngx.sleep(60) end)
    end)
    ngx.thread.kill(stuck)
    local options = { name = "left", timeout = 5 }
    assert.equal("in", concurrency.with_coroutine_mutex(options, function() return "in" end))
  end)

  it("passes errors on and lets the next one in", function()
    assert.same({ nil, "broken" }, {
      concurrency.with_coroutine_mutex({ name = "c" }, function() error("broken", 0) end) })
    for _ = 1, 2 do
      local result, err = concurrency.with_worker_mutex({ name = "w", timeout = 1 }, function()
        error("broken", 0)
      end)
      assert.same({ nil, "broken" }, { result, err })
    end
  end)
end)

describe("kong.observability.tracing.propagation", function()
  local extract = require "kong.observability.tracing.propagation.extract"
  local to_hex = require("resty.string").to_hex

  local trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

  it("reads the formats", function()
    for format, headers in pairs {
      w3c = { traceparent = "00-" .. trace .. "-" .. span .. "-01" },
      b3 = { b3 = trace .. "-" .. span .. "-1" },
      jaeger = { ["uber-trace-id"] = trace .. ":" .. span .. ":0:1" },
      ot = {
        ["ot-tracer-traceid"] = trace, ["ot-tracer-spanid"] = span, ["ot-tracer-sampled"] = "1" },
      aws = { ["x-amzn-trace-id"] = "Root=1-" .. trace:sub(1, 8) .. "-" .. trace:sub(9)
        .. ";Parent=" .. span .. ";Sampled=1" },
      gcp = { ["x-cloud-trace-context"] = trace .. "/13235353014750950193;o=1" },
      instana = { ["x-instana-t"] = trace, ["x-instana-s"] = span, ["x-instana-l"] = "1" },
    } do
      local found = extract(format, headers)
      assert.same({ format, trace, span, true },
        { format, to_hex(found.trace_id), to_hex(found.span_id), found.should_sample })
    end
    local found = extract("datadog", {
      ["x-datadog-trace-id"] = "255", ["x-datadog-parent-id"] = "256" })
    assert.same({ ("0"):rep(30) .. "ff", ("0"):rep(13) .. "100" },
      { to_hex(found.trace_id), to_hex(found.span_id) })
  end)

  it("passes over what it cannot read", function()
    assert.is_nil(extract("w3c", {}))
    assert.is_nil(extract("w3c", { traceparent = "01-" .. trace .. "-" .. span .. "-01" }))
    assert.is_nil(extract("jaeger", { ["uber-trace-id"] = "x" }))
    assert.is_nil(extract("b3", { b3 = "x" }).trace_id)
  end)
end)
