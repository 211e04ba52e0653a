-- The records of options that single providers take.

local function text(description)
  return { type = "string", required = false, description = description }
end

local function flag(default)
  return { type = "boolean", required = false, default = default }
end

local function record(fields, entity_checks)
  return { type = "record", required = false, fields = fields, entity_checks = entity_checks }
end

-- Vertex is addressed by all three of them.
local vertex = { mutually_required = { "api_endpoint", "project_id", "location_id" } }

local _M = {}

_M.gemini = record({
  { api_endpoint = text "The host of Vertex in a region." },
  { project_id = text "The project." },
  { location_id = text "The location." },
  { endpoint_id = text "The endpoint in the Model Garden." },
}, { vertex })

_M.embeddings_gemini = record({
  { api_endpoint = text "The host of Vertex in a region." },
  { project_id = text "The project." },
  { location_id = text "The location." },
}, { vertex })

_M.bedrock = record {
  { aws_region = text "The region, in place of AWS_REGION." },
  { aws_assume_role_arn = text "The role to take on." },
  { aws_role_session_name = text "The name of the session in that role." },
  { aws_sts_endpoint_url = text "Where roles are taken on." },
  { embeddings_normalize = flag(false) },
  { performance_config_latency = text "The latency profile of every request." },
  { batch_bucket_prefix = text "Where batches are kept, as s3://." },
  { batch_role_arn = text "The role that runs batches." },
  { video_output_s3_uri = text "Where videos are kept, as s3://." },
}

_M.huggingface = record {
  { use_cache = flag() },
  { wait_for_model = flag() },
}

_M.cohere = record {
  { embedding_input_type = {
    type = "string",
    required = false,
    default = "classification",
    one_of = { "classification", "clustering", "image", "search_document", "search_query" },
  } },
  { wait_for_model = flag() },
}

_M.dashscope = record {
  { international = flag(true) },
}

_M.databricks = record {
  { workspace_instance_id = text "The workspace, as in its host name." },
}

-- Embeddings nest what targets keep flat.
_M.embeddings_azure = record {
  { instance = text "The name of the resource." },
  { deployment_id = text "The name of the deployment." },
  { api_version = { type = "string", required = false, default = "2023-05-15" } },
}

return _M
