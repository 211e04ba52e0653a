local typedefs = require "kong.db.schema.typedefs"

local function text(description, more)
  local field = { type = "string", required = false, referenceable = true,
                  description = description }
  for name, value in pairs(more or {}) do
    field[name] = value
  end
  return field
end

local function flag(default, description)
  return { type = "boolean", required = true, default = default, description = description }
end

return {
  name = "ai-azure-content-safety",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { content_safety_url = typedefs.url {
          required = true, referenceable = true,
          description = "The full address of the analysis, .../contentsafety/text:analyze.",
        } },
        { azure_api_version = {
          type = "string", required = true, default = "2023-10-01", len_min = 1,
          description = "The argument api-version.",
        } },
        { content_safety_key = text("The key of the resource.", { encrypted = true }) },
        { azure_use_managed_identity = {
          type = "boolean", required = false, default = false,
          description = "Whether a token of an Azure identity is sent in the place of a key.",
        } },
        { azure_client_id = text "The client id of that identity." },
        { azure_client_secret = text("Its secret.", { encrypted = true }) },
        { azure_tenant_id = text "Its tenant." },
        { text_source = {
          type = "string", required = false, default = "concatenate_all_content",
          one_of = { "concatenate_all_content", "concatenate_user_content", "last_message" },
          description = "What of a conversation is looked at.",
        } },
        { categories = {
          type = "array", required = false,
          description = "The categories that are looked for, and from where on they are refused.",
          elements = {
            type = "record",
            fields = {
              { name = { type = "string", required = true } },
              { rejection_level = { type = "integer", required = true, between = { 0, 7 } } },
            },
          },
        } },
        { blocklist_names = {
          type = "array", required = false, elements = { type = "string" },
          description = "Blocklists of the resource that a text is held against.",
        } },
        { halt_on_blocklist_hit = flag(true, "Whether a hit ends the analysis.") },
        { output_type = {
          type = "string", required = true, default = "FourSeverityLevels",
          one_of = { "EightSeverityLevels", "FourSeverityLevels" },
          description = "The scale of levels.",
        } },
        { reveal_failure_reason = flag(true, "Whether clients are told what was found.") },
        { guarding_mode = {
          type = "string", required = false, default = "INPUT",
          one_of = { "BOTH", "INPUT", "OUTPUT" },
          description = "Whether requests are looked at, replies, or both.",
        } },
        { stop_on_error = flag(true, "Whether what could not be looked at is refused.") },
        { response_buffer_size = {
          type = "number", required = false, default = 100,
          description = "Bytes of text that a stream gathers before they are looked at; 0 is the "
            .. "whole reply.",
        } },
        { ssl_verify = flag(true, "Whether the certificate of the service is verified.") },
        { log_blocked_content = flag(false, "Whether what was refused is in log records.") },
      },
    } },
  },
}
