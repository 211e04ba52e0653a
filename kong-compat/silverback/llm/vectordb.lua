-- The store of vectors for the semantic balancer.

local redis = require "silverback.llm.redis"
local words = require "silverback.llm.words"

local text, referenceable, secret = words.text, words.referenceable, words.secret
local flag, record = words.flag, words.record

local pgvector = record {
  { host = text "127.0.0.1" },
  { port = { type = "integer", required = false, default = 5432 } },
  { user = referenceable "postgres" },
  { password = secret() },
  { database = text "kong-pgvector" },
  { timeout = { type = "number", required = false, default = 5000 } },
  { ssl = flag(false) },
  { ssl_required = flag(false) },
  { ssl_verify = flag(true) },
  { ssl_version = text("tlsv1_2", { one_of = { "tlsv1_2", "tlsv1_3", "any" } }) },
  { ssl_cert = text() },
  { ssl_cert_key = text() },
}

return {
  type = "record",
  required = false,
  description = "The vector store.",
  fields = {
    { strategy = { type = "string", required = true, one_of = { "pgvector", "redis" } } },
    { dimensions = { type = "integer", required = true } },
    { distance_metric = { type = "string", required = true, one_of = { "cosine", "euclidean" } } },
    { threshold = { type = "number", required = false } },
    { redis = redis },
    { pgvector = pgvector },
  },
}
