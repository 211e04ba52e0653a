-- The module `resty.openssl.objects`: the object identifiers that keys and certificates carry,
-- under OpenSSL's numbers and names. One that is not here has the number 0.

local der = require "silverback.openssl.der"

local by_nid, by_name = {}, {}

local function object(nid, id, sn, ln)
  local entry = { id = id, nid = nid, sn = sn, ln = ln or sn }
  by_nid[nid] = entry
  for _, name in ipairs { id, sn, entry.ln } do
    by_name[name] = by_name[name] or entry
  end
end

object(4, "1.2.840.113549.2.5", "MD5", "md5")
object(6, "1.2.840.113549.1.1.1", "rsaEncryption")
object(8, "1.2.840.113549.1.1.4", "RSA-MD5", "md5WithRSAEncryption")
object(13, "2.5.4.3", "CN", "commonName")
object(14, "2.5.4.6", "C", "countryName")
object(15, "2.5.4.7", "L", "localityName")
object(16, "2.5.4.8", "ST", "stateOrProvinceName")
object(17, "2.5.4.10", "O", "organizationName")
object(18, "2.5.4.11", "OU", "organizationalUnitName")
object(48, "1.2.840.113549.1.9.1", "emailAddress")
object(64, "1.3.14.3.2.26", "SHA1", "sha1")
object(65, "1.2.840.113549.1.1.5", "RSA-SHA1", "sha1WithRSAEncryption")
object(82, "2.5.29.14", "subjectKeyIdentifier", "X509v3 Subject Key Identifier")
object(83, "2.5.29.15", "keyUsage", "X509v3 Key Usage")
object(85, "2.5.29.17", "subjectAltName", "X509v3 Subject Alternative Name")
object(86, "2.5.29.18", "issuerAltName", "X509v3 Issuer Alternative Name")
object(87, "2.5.29.19", "basicConstraints", "X509v3 Basic Constraints")
object(89, "2.5.29.32", "certificatePolicies", "X509v3 Certificate Policies")
object(90, "2.5.29.35", "authorityKeyIdentifier", "X509v3 Authority Key Identifier")
object(99, "2.5.4.42", "GN", "givenName")
object(100, "2.5.4.4", "SN", "surname")
object(103, "2.5.29.31", "crlDistributionPoints", "X509v3 CRL Distribution Points")
object(105, "2.5.4.5", "serialNumber")
object(106, "2.5.4.12", "title")
object(126, "2.5.29.37", "extendedKeyUsage", "X509v3 Extended Key Usage")
object(129, "1.3.6.1.5.5.7.3.1", "serverAuth", "TLS Web Server Authentication")
object(130, "1.3.6.1.5.5.7.3.2", "clientAuth", "TLS Web Client Authentication")
object(177, "1.3.6.1.5.5.7.1.1", "authorityInfoAccess", "Authority Information Access")
object(178, "1.3.6.1.5.5.7.48.1", "OCSP")
object(179, "1.3.6.1.5.5.7.48.2", "caIssuers", "CA Issuers")
object(391, "0.9.2342.19200300.100.1.25", "DC", "domainComponent")
object(408, "1.2.840.10045.2.1", "id-ecPublicKey")
object(415, "1.2.840.10045.3.1.7", "prime256v1")
object(416, "1.2.840.10045.4.1", "ecdsa-with-SHA1")
object(458, "0.9.2342.19200300.100.1.1", "UID", "userId")
object(668, "1.2.840.113549.1.1.11", "RSA-SHA256", "sha256WithRSAEncryption")
object(669, "1.2.840.113549.1.1.12", "RSA-SHA384", "sha384WithRSAEncryption")
object(670, "1.2.840.113549.1.1.13", "RSA-SHA512", "sha512WithRSAEncryption")
object(672, "2.16.840.1.101.3.4.2.1", "SHA256", "sha256")
object(673, "2.16.840.1.101.3.4.2.2", "SHA384", "sha384")
object(674, "2.16.840.1.101.3.4.2.3", "SHA512", "sha512")
object(675, "2.16.840.1.101.3.4.2.4", "SHA224", "sha224")
object(715, "1.3.132.0.34", "secp384r1")
object(716, "1.3.132.0.35", "secp521r1")
object(794, "1.2.840.10045.4.3.2", "ecdsa-with-SHA256")
object(795, "1.2.840.10045.4.3.3", "ecdsa-with-SHA384")
object(796, "1.2.840.10045.4.3.4", "ecdsa-with-SHA512")
object(912, "1.2.840.113549.1.1.10", "RSASSA-PSS", "rsassaPss")
object(1034, "1.3.101.110", "X25519")
object(1087, "1.3.101.112", "ED25519")

-- Which digest a signature is over.
local digests = {
  [8] = 4, [65] = 64, [668] = 672, [669] = 673, [670] = 674, [416] = 64, [794] = 672, [795] = 673,
  [796] = 674,
}

local function copy(entry)
  return { id = entry.id, nid = entry.nid, sn = entry.sn, ln = entry.ln }
end

local _M = {}

function _M.nid2table(nid)
  return copy(by_nid[nid] or { id = "", nid = 0, sn = "UNDEF", ln = "undefined" })
end

-- The entry of an identifier as DER holds it.
function _M.obj2table(bytes)
  local id = der.oid_text(bytes)
  return copy(by_name[id] or { id = id, nid = 0, sn = "UNDEF", ln = "undefined" })
end

function _M.txt2nid(text)
  if type(text) ~= "string" then
    return nil, "objects.txt2nid: expect a string at #1"
  end
  local entry = by_name[text]
  if not entry then
    return nil, "objects.txt2nid: invalid NID text " .. text
  end
  return entry.nid
end

function _M.txtnid2nid(text)
  if type(text) == "number" then
    return text
  elseif type(text) ~= "string" then
    return nil, "objects.txtnid2nid: expect string or number at #1"
  end
  local entry = by_name[text]
  if not entry then
    return nil, "objects.txtnid2nid: invalid NID text " .. text
  end
  return entry.nid
end

-- The dotted form of a name, or of an identifier that has none here.
function _M.id_of(text)
  local entry = by_name[text] or by_nid[text]
  return entry and entry.id or (tostring(text):match "^%d[%d.]*%.%d+$")
end

function _M.find_sigid_algs(nid)
  local digest = digests[nid]
  if not digest then
    return 0, "objects.find_sigid_algs: invalid sigid " .. tostring(nid)
  end
  return digest
end

return _M
