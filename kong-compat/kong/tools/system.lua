-- What the machine is. Nothing here starts a process.

local path = require "pl.path"

local _M = {}

local infos

function _M.get_system_infos()
  if not infos then
    local jit = require "jit"
    infos = { cores = ngx.worker.count(), uname = jit.os .. " " .. jit.arch }
  end
  return infos
end

local CERTIFICATES = {
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
}

function _M.get_system_trusted_certs_filepath()
  for _, file in ipairs(CERTIFICATES) do
    if path.exists(file) then
      return file
    end
  end
  return nil, "Could not find trusted certs file in any of the `system`-predefined locations. "
    .. "Please install a certs file there or set `lua_ssl_trusted_certificate` to a "
    .. "specific file path instead of `system`"
end

return _M
