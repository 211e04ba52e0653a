describe("spans as OTLP", function()
  it("say what a span says", function()
    local otlp, pb = require "kong.observability.otlp", require "pb"
    local span = otlp.transform_span {
      trace_id = ("t"):rep(16), span_id = ("s"):rep(8), parent_id = "p", name = "kong", kind = 2,
      start_time_ns = 1.7e18, end_time_ns = 1.7e18 + 1e9, status = 2,
      attributes = { ["http.status_code"] = 200, ok = true, list = { "a", 1 }, map = { k = "v" } },
      events = { { name = "exception", time_ns = 5, attributes = { a = "b" } } },
    }
    local data = otlp.encode_traces({ span }, { ["service.name"] = "shop" })
    local name = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"
    local sent = pb.decode(name, data).resource_spans[1]
    local resource = {}
    for _, attribute in ipairs(sent.resource.attributes) do
      resource[attribute.key] = attribute.value.string_value
    end
    assert.equal("shop", resource["service.name"])
    assert.is_string(resource["service.instance.id"])
    local got = sent.scope_spans[1].spans[1]
    assert.equal("kong", got.name)
    assert.equal("SPAN_KIND_SERVER", got.kind)
    assert.equal(("\0"):rep(7) .. "p", got.parent_span_id)
    assert.equal(1.7e18, got.start_time_unix_nano)
    assert.equal("STATUS_CODE_ERROR", got.status.code)
    assert.equal("exception", got.events[1].name)
    local attributes = {}
    for _, attribute in ipairs(got.attributes) do
      attributes[attribute.key] = attribute.value
    end
    assert.equal(200, attributes["http.status_code"].int_value)
    assert.equal("a", attributes.list.array_value.values[1].string_value)
    assert.equal("v", attributes.map.kvlist_value.values[1].value.string_value)
  end)

  it("take log lines, too", function()
    local otlp, pb = require "kong.observability.otlp", require "pb"
    local records = otlp.prepare_logs({ { log_level = ngx.ERR, body = "no", attributes = {} } },
      ("t"):rep(16), 1)
    local name = "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"
    local sent = pb.decode(name, otlp.encode_logs(records)).resource_logs[1]
    local record = sent.scope_logs[1].log_records[1]
    assert.equal("ERR", record.severity_text)
    assert.equal("no", record.body.string_value)
    assert.equal(1, record.flags)
  end)
end)
