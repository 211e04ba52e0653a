-- Signatures of certificates and requests: which algorithm an identifier means, and the other way.

local der = require "silverback.openssl.der"
local host = require "silverback.host"
local objects = require "resty.openssl.objects"
local signing = require "silverback.openssl.signing"

local _M = {}

local ED25519, PSS = "1.3.101.112", "1.2.840.113549.1.1.10"

-- RFC 4055: the digest of a signature with PSS, and how long its salt is.
local function pss_parameters(bytes)
  local digest, salt = "sha1", 20
  for _, part in ipairs(der.all(der.take(bytes, 1, der.SEQUENCE) or "") or {}) do
    if part.tag == 0xa0 then
      local id = der.take(der.take(part.content, 1, der.SEQUENCE) or "", 1, der.OID)
      digest = id and objects.obj2table(id).sn or ""
    elseif part.tag == 0xa2 then
      salt = (der.take_integer(part.content, 1) or ""):byte(-1) or 0
    end
  end
  return digest, salt
end

-- Whether `signature` over `text` is one with this key; `algorithm` is the inside of its DER.
function _M.verify(key, algorithm, text, signature)
  local id, after = der.take(algorithm, 1, der.OID)
  local entry = id and objects.obj2table(id)
  if not entry then
    return false
  elseif entry.id == ED25519 then
    return key.kind == "ED25519" and host.ed25519_verify(key.public, text, signature)
  end
  local padding, digest, salt = 1, nil, nil
  if entry.id == PSS then
    if key.kind ~= "RSA" then
      return false
    end
    padding, digest, salt = 6, pss_parameters(algorithm:sub(after))
  else
    local nid = objects.find_sigid_algs(entry.nid)
    digest = nid ~= 0 and objects.nid2table(nid).sn
    local for_curves = entry.sn:find("ecdsa", 1, true) ~= nil
    if for_curves ~= (key.kind == "EC") then
      return false
    end
  end
  local hash = digest and host.digest(digest, text)
  return hash ~= nil and hash ~= false
    and signing.verify(key, signature, hash, digest, padding, { pss_saltlen = salt })
end

local NAMES = {
  RSA = { sha1 = "RSA-SHA1", sha256 = "RSA-SHA256", sha384 = "RSA-SHA384", sha512 = "RSA-SHA512" },
  EC = { sha1 = "ecdsa-with-SHA1", sha256 = "ecdsa-with-SHA256", sha384 = "ecdsa-with-SHA384",
    sha512 = "ecdsa-with-SHA512" },
}

-- The DER of the algorithm that a key signs with, and a function that does; nil for none.
function _M.signer(key, digest)
  if not key.d then
    return nil
  elseif key.kind == "ED25519" then
    return der.sequence(der.write(der.OID, der.oid(ED25519))), function(text)
      return host.ed25519_sign(key.d, text)
    end
  end
  digest = (digest or "sha256"):lower():gsub("%-", "")
  local name = NAMES[key.kind][digest]
  if not name then
    return nil
  end
  local algorithm = der.sequence(der.write(der.OID, der.oid(objects.id_of(name))),
    key.kind == "RSA" and der.write(der.NULL) or "")
  return algorithm, function(text)
    return signing.sign(key, host.digest(digest, text), digest, 1, {})
  end
end

return _M
