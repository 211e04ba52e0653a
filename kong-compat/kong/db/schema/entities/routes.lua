-- A Route: which requests go to a Service.

local host = require "silverback.host"
local typedefs = require "kong.db.schema.typedefs"

local null = ngx.null

local function flag(default)
  return { type = "boolean", required = true, default = default }
end

-- Demands one of the fields when the route has a protocol; `otherwise` when it has only the other.
local function must_match(protocol, fields, otherwise, otherwise_fields)
  local err = "must set one of %%s when 'protocols' is '%s'"
  return { conditional_at_least_one_of = {
    if_field = "protocols",
    if_match = { contains = protocol },
    then_at_least_one_of = fields,
    then_err = err:format(protocol),
    else_match = { contains = otherwise },
    else_then_at_least_one_of = otherwise_fields,
    else_then_err = err:format(otherwise),
  } }
end

local function forbid(field, protocols, forbidden)
  local err = ("cannot set '%s' when 'protocols' is %s"):format(field, protocols)
  return { [field] = (forbidden or typedefs["no_" .. field]) { err = err } }
end

-- In this flavour a route may have an expression, and addresses on any protocol.
local by_expression = kong.configuration.router_flavor == "expressions"
-- The old router knows no wildcards in them.
local is_old = kong.configuration.router_flavor == "traditional"
local sni = is_old and typedefs.sni or typedefs.wildcard_host

-- The criteria, and the expression where there may be one.
local function criteria(...)
  local fields = { ... }
  if by_expression then
    fields[#fields + 1] = "expression"
  end
  return fields
end

-- Fields that only routes of streams have, except in the flavour of expressions.
local function without_addresses(protocols, fields)
  if not by_expression then
    fields[#fields + 1] = forbid("sources", protocols)
    fields[#fields + 1] = forbid("destinations", protocols)
  end
  return fields
end

local http = {
  fields = without_addresses("'http' or 'https'", {}),
  entity_checks = {
    must_match("https", criteria("methods", "hosts", "headers", "paths", "snis"),
      "http", criteria("methods", "hosts", "headers", "paths")),
  },
}

local grpc = {
  fields = without_addresses("'grpc' or 'grpcs'", {
    { strip_path = { type = "boolean", required = true, default = false, ne = true,
      err = "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'" } },
    forbid("methods", "'grpc' or 'grpcs'"),
  }),
  entity_checks = {
    must_match("grpcs", criteria("hosts", "headers", "paths", "snis"),
      "grpc", criteria("hosts", "headers", "paths")),
  },
}

local stream_protocols = "'tcp', 'tls', 'tls_passthrough' or 'udp'"
local stream = {
  fields = {
    forbid("methods", stream_protocols),
    forbid("hosts", stream_protocols),
    forbid("paths", stream_protocols),
    forbid("headers", stream_protocols),
  },
  entity_checks = {
    { conditional_at_least_one_of = {
      if_field = "protocols",
      if_match = { elements = { type = "string", one_of = { "tcp", "tls", "udp" } } },
      then_at_least_one_of = { "sources", "destinations", "snis" },
      then_err = "must set one of %s when 'protocols' is 'tcp', 'tls' or 'udp'",
    } },
    { conditional_at_least_one_of = {
      if_field = "protocols",
      if_match = { elements = { type = "string", one_of = { "tls_passthrough" } } },
      then_at_least_one_of = { "snis" },
      then_err = "must set snis when 'protocols' is 'tls_passthrough'",
    } },
  },
}

local with_tls = { "grpcs", "https", "tls", "tls_passthrough" }

-- An expression stands alone: Kong takes no criteria and no regex_priority beside it, and no
-- priority without it.
local function check_expression(route)
  local function is_set(field)
    local value = route[field]
    return value ~= nil and value ~= null and value ~= 0 and
      not (type(value) == "table" and next(value) == nil)
  end
  local function failed(reason)
    return nil, "Router Expression failed validation: " .. reason
  end
  local others = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations'"
  local has_others = is_set "methods" or is_set "hosts" or is_set "paths" or is_set "headers" or
    is_set "snis" or is_set "sources" or is_set "destinations"

  if is_set "expression" then
    if has_others then
      return failed("cannot set 'expression' with " .. others .. " simultaneously")
    elseif is_set "regex_priority" then
      return failed("cannot set 'regex_priority' with 'expression' simultaneously")
    end
    local err = host.expression_error(route.expression)
    if err then
      return failed(err)
    end
  elseif has_others and is_set "priority" then
    return failed("cannot set 'priority' with " .. others .. " simultaneously")
  end
  return true
end

local routes = {
  name = "routes",
  primary_key = { "id" },
  endpoint_key = "name",

  -- The first known protocol of the set decides which further rules hold.
  subschema_key = "protocols",
  subschemas = {
    http = http, https = http,
    grpc = grpc, grpcs = grpc,
    tcp = stream, tls = stream, tls_passthrough = stream, udp = stream,
  },

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { name = typedefs.utf8_name },
    { protocols = {
      type = "set",
      required = true,
      len_min = 1,
      default = { "http", "https" },
      elements = typedefs.protocol,
      mutually_exclusive_subsets = {
        { "http", "https" },
        { "tcp", "tls", "udp" },
        { "tls_passthrough" },
        { "grpc", "grpcs" },
      },
    } },
    { https_redirect_status_code = { type = "integer", required = true, default = 426,
      one_of = { 426, 301, 302, 307, 308 },
      description = "What a request gets that matches in all but the protocol." } },
    { strip_path = flag(true) },
    { preserve_host = flag(false) },
    { request_buffering = flag(true) },
    { response_buffering = flag(true) },
    { tags = typedefs.tags },
    { service = { type = "foreign", reference = "services" } },
    { snis = { type = "set", elements = sni } },
    { sources = typedefs.sources },
    { destinations = typedefs.destinations },
    { methods = typedefs.methods },
    { hosts = typedefs.hosts },
    { paths = typedefs.router_paths },
    { headers = typedefs.headers {
      keys = typedefs.header_name {
        match_none = { {
          pattern = "^[Hh][Oo][Ss][Tt]$",
          err = "cannot contain 'host' header, which must be specified in the 'hosts' attribute",
        } },
      },
    } },
    { regex_priority = { type = "integer", default = 0 } },
    { path_handling = { type = "string", default = "v0", one_of = { "v0", "v1" } } },
  },

  entity_checks = {
    { conditional = {
      if_field = "protocols",
      if_match = { elements = { type = "string", not_one_of = with_tls } },
      then_field = "snis",
      then_match = { len_eq = 0 },
      then_err = "'snis' can only be set when 'protocols' is "
        .. "'grpcs', 'https', 'tls' or 'tls_passthrough'",
    } },
  },
}

if by_expression then
  table.insert(routes.fields, { expression = { type = "string",
    description = "Which requests match, in Kong's expression language." } })
  table.insert(routes.fields, { priority = { type = "integer", required = true, default = 0,
    between = { 0, 2 ^ 46 - 1 },
    description = "Decides between expressions; the greater one goes first." } })
  table.insert(routes.entity_checks, { custom_entity_check = {
    field_sources = { "protocols", "snis", "sources", "destinations", "methods", "hosts", "paths",
      "headers", "expression", "regex_priority", "priority" },
    run_with_missing_fields = true,
    fn = check_expression,
  } })
end

return routes
