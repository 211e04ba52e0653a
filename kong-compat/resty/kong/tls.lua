-- `resty.kong.tls`: what Kong's own nginx module gives, by the functions of the kit that stand on
-- it.

local tls = kong.client.tls
local service = kong.service

return {
  request_client_certificate = function(...) return tls.request_client_certificate(...) end,
  disable_session_reuse = function() return tls.disable_session_reuse() end,
  get_full_client_certificate_chain = function() return tls.get_full_client_certificate_chain() end,
  set_upstream_cert_and_key = function(...) return service.set_tls_cert_key(...) end,
  set_upstream_ssl_verify = function(...) return service.set_tls_verify(...) end,
  set_upstream_ssl_verify_depth = function(...) return service.set_tls_verify_depth(...) end,
  set_upstream_ssl_trusted_store = function(...) return service.set_tls_verify_store(...) end,
}
