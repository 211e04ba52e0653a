local function unhex(text)
  local function char(byte)
    return string.char(tonumber(byte, 16))
  end
  return (text:gsub("%s+", ""):gsub("%x%x", char))
end

local hex = require("resty.string").to_hex

describe("resty.openssl", function()
  it("makes digests in pieces, under all of OpenSSL's names", function()
    local digest = require "resty.openssl.digest"
    local d = assert(digest.new("SHA256"))
    assert.is_true(d:update("a", "b"))
    -- FIPS 180-2, B.1
    local want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert.equal(want, hex(d:final("c")))
    assert.is_true(d:reset())
    assert.equal(want, hex(d:final("abc")))
    assert.is_true(digest.istype(d))
    local none, err = digest.new("nope")
    assert.is_nil(none)
    assert.matches("^digest.new: invalid digest type \"nope\"", err)
  end)

  it("makes HMACs", function()
    -- RFC 4231, 4.2
    local key = ("\11"):rep(20)
    local want = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    local mac = require "resty.openssl.mac"
    assert.equal(want, hex(mac.new(key, "HMAC", nil, "sha256"):final("Hi There")))
    assert.equal(want, hex(require("resty.openssl.hmac").new(key, "sha256"):final("Hi There")))
    local hmac = require("resty.hmac")
    assert.equal(want, hmac:new(key, hmac.ALGOS.SHA256):final("Hi There", true))
    assert.matches("invalid mac type", select(2, mac.new("k", "CMAC2", nil, "sha256")))
    assert.equal("mac.new: invalid cipher or digest type",
      select(2, mac.new("k", "HMAC", nil, "nope")))
  end)

  it("derives keys", function()
    local kdf = require "resty.openssl.kdf"
    -- RFC 6070
    local old = { type = kdf.PBKDF2, outlen = 20, pass = "password", salt = "salt",
      pbkdf2_iter = 2, md = "sha1" }
    assert.equal("ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957", hex(kdf.derive(old)))
    local pbkdf2 = assert(kdf.new("PBKDF2"))
    local key = pbkdf2:derive(20, { pass = "password", salt = "salt", iter = 1, digest = "sha1" })
    assert.equal("0c60c80f961f0e71f3a9b524af6012062fe037a6", hex(key))
    -- RFC 5869, A.1
    local hkdf = assert(kdf.new("HKDF"))
    local options = { key = ("\11"):rep(22), salt = unhex "000102030405060708090a0b0c",
      info = unhex "f0f1f2f3f4f5f6f7f8f9", digest = "sha256" }
    assert.equal("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
      .. "34007208d5b887185865", hex(hkdf:derive(42, options)))
    -- RFC 7914, 12
    local scrypt = assert(kdf.derive { type = kdf.SCRYPT, outlen = 64, pass = "password",
      salt = "NaCl", scrypt_N = 1024, scrypt_r = 8, scrypt_p = 16 })
    assert.equal("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162",
      hex(scrypt):sub(1, 64))
    assert.equal("kdf.derive: \"type\" must be set", select(2, kdf.derive {}))
    assert.is_nil((kdf.derive { type = kdf.SCRYPT, outlen = 64, pass = "p", salt = "s",
      scrypt_N = 2 ^ 30, scrypt_r = 8, scrypt_p = 1 }))
  end)

  it("encrypts and decrypts", function()
    local cipher = require "resty.openssl.cipher"
    -- NIST SP 800-38A, F.2.1
    local key = unhex "2b7e151628aed2a6abf7158809cf4f3c"
    local iv = unhex "000102030405060708090a0b0c0d0e0f"
    local text = unhex "6bc1bee22e409f96e93d7e117393172a"
    local cbc = assert(cipher.new("aes-128-cbc"))
    assert.equal("7649abac8119b246cee98e9b12e9197d", hex(cbc:encrypt(key, iv, text, true)))
    local sealed = assert(cbc:encrypt(key, iv, "some text that is longer than a block"))
    assert.equal(48, #sealed)
    assert.equal("some text that is longer than a block", cbc:decrypt(key, iv, sealed))
    assert.matches("bad decrypt", select(2, cbc:decrypt(key, iv, sealed:sub(1, 32))))
    -- In pieces.
    assert.is_true(cbc:init(key, iv, { is_encrypt = true }))
    local pieces = cbc:update("some text that ", "is longer") .. cbc:update(" than a block")
    pieces = pieces .. cbc:final()
    assert.equal(hex(sealed), hex(pieces))
    cbc:init(key, iv)
    assert.equal("some text that is longer than a block",
      cbc:update(sealed:sub(1, 20), sealed:sub(21, 32)) .. cbc:final(sealed:sub(33)))
    -- F.5.1
    local ctr = assert(cipher.new("aes-128-ctr"))
    ctr:init(key, unhex "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", { is_encrypt = true })
    assert.equal("874d6191b620e3261bef6864990db6ce", hex(ctr:update(text:sub(1, 5), text:sub(6))))
    assert.equal("3ad77bb40d7a3660a89ecaf32466ef97",
      hex(cipher.new("AES-128-ECB"):encrypt(key, nil, text, true)))
    local err = select(2, cbc:init("short", iv))
    assert.equal("cipher:init: incorrect key size, expect 16", err)
    assert.equal("cipher:init: incorrect iv size, expect 16", select(2, cbc:init(key, "short")))
    assert.matches("^cipher.new: invalid cipher type \"x\"", select(2, cipher.new("x")))
  end)

  it("authenticates what it encrypts", function()
    local cipher = require "resty.openssl.cipher"
    -- The GCM specification, test case 4
    local key, iv = unhex "feffe9928665731c6d6a8f9467308308", unhex "cafebabefacedbaddecaf888"
    local text = unhex [[d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
      1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39]]
    local aad = unhex "feedfacedeadbeeffeedfacedeadbeefabaddad2"
    local gcm = assert(cipher.new("aes-128-gcm"))
    local sealed = assert(gcm:encrypt(key, iv, text, false, aad))
    assert.equal("42831ec2217774244b7221b784d0d49c", hex(sealed):sub(1, 32))
    local tag = gcm:get_aead_tag(16)
    assert.equal("5bc94fbc3221a5db94fae95ae7121a47", hex(tag))
    assert.equal(hex(text), hex(gcm:decrypt(key, iv, sealed, false, aad, tag)))
    assert.is_nil((gcm:decrypt(key, iv, sealed, false, aad, ("x"):rep(16))))
    assert.is_nil((gcm:decrypt(key, iv, sealed, false, "other", tag)))
    gcm:init(key, iv, { is_encrypt = true })
    gcm:update_aead_aad(aad)
    local pieces = gcm:update(text:sub(1, 7)) .. gcm:update(text:sub(8))
    assert.equal(hex(sealed), hex(pieces .. gcm:final()))
    assert.equal(hex(tag), hex(gcm:get_aead_tag(16)))
    local chacha = assert(cipher.new("chacha20-poly1305"))
    local boxed = assert(chacha:encrypt(("k"):rep(32), ("n"):rep(12), "hi", nil, "a"))
    local made = chacha:get_aead_tag(16)
    assert.equal("hi", chacha:decrypt(("k"):rep(32), ("n"):rep(12), boxed, nil, "a", made))
  end)

  it("wraps keys", function()
    -- RFC 3394, 4.6
    local wrap = assert(require("resty.openssl.cipher").new("aes-256-wrap"))
    local kek = unhex "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    local key = unhex "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"
    local iv = ("\166"):rep(8)
    local wrapped = assert(wrap:encrypt(kek, iv, key))
    assert.equal("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43b"
      .. "fb988b9b7a02dd21", hex(wrapped))
    assert.equal(hex(key), hex(wrap:decrypt(kek, iv, wrapped)))
    assert.is_nil((wrap:decrypt(kek, iv, ("x"):rep(40))))
  end)

  it("encrypts as lua-resty-string does", function()
    local aes = require "resty.aes"
    local box = assert(aes:new("secret", "saltsalt", aes.cipher(256, "cbc"), aes.hash.sha256, 5))
    assert.equal("hello", box:decrypt(box:encrypt("hello")))
    -- echo -n hello | openssl enc -aes-128-cbc -md md5 -k secret -nosalt | xxd -p
    local plain = assert(aes:new("secret"))
    assert.equal("7b47a4dbb11e2cddb2f3740c9e3a552b", hex(plain:encrypt("hello")))
    local how = { iv = ("i"):rep(12) }
    local gcm = assert(aes:new(("k"):rep(32), nil, aes.cipher(256, "gcm"), how, 1, 12))
    local sealed = assert(gcm:encrypt("hello"))
    assert.equal("hello", gcm:decrypt(sealed[1], sealed[2]))
  end)

  it("calculates with numbers of any size", function()
    local bn = require "resty.openssl.bn"
    local a = assert(bn.new("123456789012345678901234567890"))
    assert.equal("246913578024691357802469135780", tostring(a + a))
    assert.equal("123456789012345678901234567889", tostring(a - 1))
    assert.equal("0F", bn.new(15):to_hex())
    assert.equal("-15", (-bn.new(15)):to_dec())
    assert.equal("2", tostring(bn.new(17) % 5))
    assert.equal("445", tostring(bn.mod_exp(4, 13, 497)))
    assert.equal("\1\0", bn.from_hex("0100"):to_binary())
    assert.equal("\0\0\1\0", bn.from_binary("\1\0"):to_binary(4))
    assert.equal(256, bn.from_binary("\1\0"):to_number())
    assert.is_true(bn.new(3) < bn.new(4))
    assert.is_true(bn.new(2 ^ 31 - 1):is_prime())
    assert.is_false(bn.new(561):is_prime())
    assert.is_true(bn.generate_prime(64):is_prime())
    assert.equal("bn.new: set_dec failed", select(2, bn.new("x")))
    assert.is_false((pcall(bn.exp, 10, 10 ^ 9)))
    local huge = bn.new(1):lshift(20000)
    assert.is_false((pcall(bn.mod_exp, huge, huge, huge)))
    assert.is_nil(bn.generate_prime(4096, true))
  end)

  it("gives random bytes", function()
    local rand = require "resty.openssl.rand"
    assert.equal(16, #rand.bytes(16))
    assert.equal("rand.bytes: expect a number at #1", select(2, rand.bytes("x")))
  end)
end)
