local function slurp(name)
  local file = assert(io.open("spec/certificates/openssl/" .. name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local pkey = require "resty.openssl.pkey"
local x509 = require "resty.openssl.x509"
local store_lib = require "resty.openssl.x509.store"

describe("resty.openssl.x509", function()
  local leaf, root = assert(x509.new(slurp "leaf.pem")), assert(x509.new(slurp "ca.pem"))

  it("tells what a certificate says", function()
    assert.equal("C=DE/CN=leaf.test/O=Acme", tostring(leaf:get_subject_name()))
    local name, at = leaf:get_issuer_name():find("CN")
    assert.equal("Root", name.blob)
    assert.equal(3, at)
    assert.equal("commonName", leaf:get_subject_name():all().CN.ln)
    assert.equal(3, leaf:get_version())
    local from, till = leaf:get_lifetime()
    assert.equal(36500 * 86400, till - from)
    assert.equal("RSA-SHA256", leaf:get_signature_name())
    assert.equal("SHA256", leaf:get_signature_digest_name())
    assert.equal(slurp "leaf.pem", leaf:to_PEM())
    assert.equal(slurp "leaf.pem", tostring(x509.new(leaf:tostring("DER"), "DER")))
    assert.equal(32, #leaf:digest("sha256"))
    assert.equal(leaf:pubkey_digest("sha1"),
      require("resty.openssl.x509.extension").to_der((leaf:get_extension("subjectKeyIdentifier")))
        :sub(3))
  end)

  it("reads extensions", function()
    local names = {}
    for kind, value in pairs(leaf:get_subject_alt_name()) do
      names[#names + 1] = kind .. "=" .. value
    end
    assert.same({ "DNS=leaf.test", "IP=10.0.0.1", "URI=https://x/y" }, names)
    assert.equal("http://ocsp.test/", leaf:get_ocsp_url())
    assert.same({ "http://crl.test/c" }, leaf:get_crl_url(true))
    assert.is_false(leaf:get_basic_constraints("CA"))
    assert.is_true(leaf:get_basic_constraints_critical())
    assert.is_true(root:get_basic_constraints().ca)
    assert.equal("Digital Signature", tostring((leaf:get_extension("keyUsage"))))
    assert.equal("TLS Web Server Authentication, TLS Web Client Authentication",
      tostring((leaf:get_extension("extendedKeyUsage"))))
    assert.matches("invalid NID text x", select(3, leaf:get_extension("x")))
    assert.is_nil((leaf:get_extension("issuerAltName")))
  end)

  it("knows who has signed it, and whose key it holds", function()
    assert.is_true(leaf:verify(root:get_pubkey()))
    assert.is_false((root:verify(leaf:get_pubkey())))
    assert.is_true(leaf:check_private_key(pkey.new(slurp "leaf.key")))
    assert.is_false((leaf:check_private_key(pkey.new(slurp "rsa.pem"))))
  end)

  it("is none when it is cut, or something else", function()
    local whole = leaf:tostring("DER")
    for length = 0, #whole - 1 do
      assert.is_nil((x509.new(whole:sub(1, length), "DER")))
    end
    assert.matches("^x509.new: error:688010A:", select(2, x509.new("nonsense")))
    assert.equal("x509.new: expect nil or a string at #1", select(2, x509.new(5)))
  end)

  it("is verified through a chain", function()
    local store = store_lib.new()
    assert.equal("unable to get local issuer certificate", select(2, store:verify(leaf)))
    assert.equal("self-signed certificate", select(2, store:verify(root)))
    store:add(root)
    assert.is_true(store:verify(leaf))
    assert.equal(2, #store:verify(leaf, nil, true))
    assert.is_true(store:verify(leaf, nil, nil, nil, "ssl_client"))
    assert.is_true(store:set_purpose("sslserver"))
    assert.is_false((store:set_purpose("nonsense")))
  end)

  -- A certificate for `subject`, signed by the authority `by` with `key`.
  local function issue(subject, own, by, key, change)
    local name = require("resty.openssl.x509.name").new():add("CN", subject)
    local one = x509.new()
    one:set_version(3)
    one:set_serial_number(require("resty.openssl.bn").new(7))
    one:set_subject_name(name)
    one:set_issuer_name(by and by:get_subject_name() or name)
    one:set_pubkey(own)
    one:set_lifetime(ngx.time() - 60, ngx.time() + 3600)
    if change then
      change(one)
    end
    assert.is_true(one:sign(key, require("resty.openssl.digest").new("sha256")))
    return one
  end

  it("is made here, and an authority of its own is held to its limits", function()
    local keys = {}
    for i = 1, 3 do
      keys[i] = pkey.new { type = "EC", curve = "prime256v1" }
    end
    local function authority(length)
      return function(one)
        one:set_basic_constraints { CA = true, pathlen = length }
      end
    end
    local top = issue("top", keys[1], nil, keys[1], authority(0))
    local middle = issue("middle", keys[2], top, keys[1], authority())
    local low = issue("low", keys[3], middle, keys[2])
    local direct = issue("direct", keys[3], top, keys[1])
    local store, chain = store_lib.new(), require("resty.openssl.x509.chain").new()
    store:add(top)
    chain:add(middle)
    assert.is_true(store:verify(direct))
    assert.equal("invalid CA certificate", select(2, store:verify(low, chain)))
    local below = issue("below", keys[3], direct, keys[3])
    chain:add(direct)
    assert.equal("invalid CA certificate", select(2, store:verify(below, chain)))
    local old = issue("old", keys[3], top, keys[1], function(one)
      one:set_not_after(ngx.time() - 30)
    end)
    assert.equal("certificate has expired", select(2, store:verify(old)))
    local forged = issue("forged", keys[3], top, keys[2])
    assert.equal("certificate signature failure", select(2, store:verify(forged)))
    local twins = store_lib.new()
    twins:add(issue("top", keys[2], nil, keys[2], authority(0)))
    twins:add(top)
    assert.is_true(twins:verify(direct))
    twins:set_flags(store_lib.verify_flags.X509_V_FLAG_CRL_CHECK)
    assert.equal("unable to get certificate CRL", select(2, twins:verify(direct)))
    local names = require("resty.openssl.x509.altname").new():add("DNS", "a.test")
    local named = issue("named", keys[3], top, keys[1], function(one)
      one:set_subject_alt_name(names)
    end)
    assert.equal("DNS=a.test", tostring(named:get_subject_alt_name()))
  end)

  it("says of no chain with constraints of names that it holds", function()
    local authority = assert(x509.new(slurp "constrained-ca.pem"))
    local store = store_lib.new()
    store:add(authority)
    local one = assert(x509.new(slurp "constrained-leaf.pem"))
    assert.equal("unhandled critical extension", select(2, store:verify(one)))
  end)
end)
