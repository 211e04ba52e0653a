local typedefs = require "kong.db.schema.typedefs"

local function flag(description)
  return { type = "boolean", default = false, description = description }
end

return {
  name = "prometheus",
  fields = {
    { protocols = typedefs.protocols },
    { config = {
      type = "record",
      fields = {
        { per_consumer = flag("Whether requests and bytes are counted for each consumer.") },
        { status_code_metrics = flag("Whether requests are counted by status.") },
        { ai_metrics = flag("Whether requests to models, tokens and costs are counted.") },
        { latency_metrics = flag("Whether latencies are counted.") },
        { bandwidth_metrics = flag("Whether bytes are counted.") },
        { upstream_health_metrics = flag("Whether the health of targets is shown.") },
        { wasm_metrics = flag("There are no WebAssembly filters here: without effect.") },
      },
    } },
  },
}
