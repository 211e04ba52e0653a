//! Libraries of third parties that are Lua over what is here: lua-resty-jwt.

use super::Way;
use super::tokens::config;

/// Makes a token with each algorithm and reads it again; answers with what did not work.
const JOSE: &str = r#"
local jwt = require "resty.jwt"
local pkey = require "resty.openssl.pkey"

local function pair(name)
  local file = assert(io.open("spec/certificates/openssl/" .. name .. ".pem"))
  local private = file:read "*a"
  file:close()
  return private, pkey.new(private):to_PEM("public")
end

local P = { PRIORITY = 1000, VERSION = '1.0.0' }
function P:access()
  local wrong, tried = {}, 0
  local function try(header, private, public)
    tried = tried + 1
    local claims = { header = header, payload = { sub = "ann" } }
    local made, token = pcall(jwt.sign, jwt, private, claims)
    local name = header.alg .. " " .. tostring(header.enc)
    if not made then
      wrong[name] = type(token) == "table" and token.reason or tostring(token)
      return
    end
    local read = jwt:verify(public, token)
    if not read.verified or read.payload.sub ~= "ann" then
      wrong[name] = tostring(read.reason)
    end
  end
  for _, size in ipairs { 256, 384, 512 } do
    try({ typ = "JWT", alg = "HS" .. size }, "secret", "secret")
    try({ typ = "JWT", alg = "RS" .. size }, pair "rsa")
    try({ typ = "JWT", alg = "PS" .. size }, pair "rsa")
  end
  try({ typ = "JWT", alg = "ES256" }, pair "prime256v1")
  try({ typ = "JWT", alg = "ES384" }, pair "secp384r1")
  try({ typ = "JWT", alg = "ES512" }, pair "secp521r1")
  try({ typ = "JWT", alg = "EdDSA" }, pair "ed")
  for enc, size in pairs { ["A128CBC-HS256"] = 32, ["A192CBC-HS384"] = 48, ["A256CBC-HS512"] = 64,
    A128GCM = 16, A192GCM = 24, A256GCM = 32 } do
    local key = ("k"):rep(size)
    try({ typ = "JWE", alg = "dir", enc = enc }, key, key)
    local private, public = pair "rsa"
    for _, alg in ipairs { "RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512" } do
      try({ typ = "JWE", alg = alg, enc = enc }, public, private)
    end
    for _, bits in ipairs { 128, 192, 256 } do
      local wrap = ("w"):rep(bits / 8)
      try({ typ = "JWE", alg = "A" .. bits .. "KW", enc = enc }, wrap, wrap)
      try({ typ = "JWE", alg = "A" .. bits .. "GCMKW", enc = enc }, wrap, wrap)
    end
    private, public = pair "prime256v1"
    try({ typ = "JWE", alg = "ECDH-ES", enc = enc }, public, private)
    try({ typ = "JWE", alg = "ECDH-ES+A128KW", enc = enc }, public, private)
    try({ typ = "JWE", alg = "PBES2-HS256+A128KW", enc = enc }, "password", "password")
  end
  kong.response.exit(200, { wrong = wrong, tried = tried })
end
return P
"#;

#[tokio::test]
async fn lua_resty_jwt_makes_and_reads_tokens_of_all_algorithms() {
    for way in Way::with_libraries() {
        let scene = way.scene(&[]).plugin("jose", JOSE).set("plugins", "bundled,witness,jose");
        let answer = scene.start(&config("name: jose")).await.get("/a", &[]).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.json()["wrong"], serde_json::json!({}), "{}", answer.text());
        assert!(answer.json()["tried"].as_u64() > Some(80), "{}", answer.text());
    }
}
