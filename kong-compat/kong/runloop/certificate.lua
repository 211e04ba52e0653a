-- Certificates of the configuration by the names that clients ask for: what plugins that make
-- certificates (acme) look into.

local _M = {}

-- The names with a wildcard in front and behind that stand for a name.
function _M.produce_wild_snis(sni)
  if type(sni) ~= "string" then
    error("sni must be a string", 2)
  end
  local at = sni:find("*", 1, true)
  local in_front = at == 1 and sni or nil
  local behind = at == #sni and sni or nil
  if not at then
    local rest = sni:match("^[^.]+(%.[^.]+%..+)$")
    in_front = rest and "*" .. rest
    local head = sni:match("^(.+%.)[^.]+$")
    behind = head and head .. "*"
  end
  return in_front, behind
end

-- A certificate and its key in PEM; nil if there is none for the name.
function _M.get_certificate(pk)
  local certificate, err = kong.db.certificates:select(pk)
  if not certificate then
    return nil, err
  end
  return {
    cert = certificate.cert, key = certificate.key, cert_alt = certificate.cert_alt,
    key_alt = certificate.key_alt,
  }
end

function _M.find_certificate(sni)
  if not sni then
    return nil
  end
  local in_front, behind = _M.produce_wild_snis(sni)
  for _, name in ipairs { sni, in_front or "", behind or "", "*" } do
    local found = name ~= "" and kong.db.snis:select_by_name(name)
    if found then
      return _M.get_certificate(found.certificate)
    end
  end
end

function _M.init() end

return _M
