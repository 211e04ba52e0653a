local zlib = require "zlib"

describe("zlib", function()
  it("packs and unpacks a piece at a time", function()
    local pack = zlib.deflate()
    local text = ("a line of text\n"):rep(3000)
    local packed = pack(text:sub(1, 1000)) .. pack(text:sub(1001))
    local rest, ended, taken, given = pack("", "finish")
    packed = packed .. rest
    assert.is_true(ended)
    assert.same({ #text, #packed }, { taken, given })
    assert.is_true(#packed < #text / 10)
    local unpack, parts = zlib.inflate(), {}
    for at = 1, #packed, 50 do
      local piece, done = unpack(packed:sub(at, at + 49))
      parts[#parts + 1] = piece
      assert.equal(at + 50 > #packed, done)
    end
    assert.equal(text, table.concat(parts))
  end)

  it("knows gzip by its looks", function()
    local packed = zlib.deflate(9, 15 + 16)("text", "finish")
    assert.equal("\31\139", packed:sub(1, 2))
    assert.equal("text", (zlib.inflate()(packed)))
    assert.has_error(function() zlib.inflate()("no stream at all") end)
  end)

  it("sums", function()
    local sum = zlib.crc32()
    sum("1234")
    assert.equal(0xcbf43926, sum("56789"))
    assert.equal(0x091e01de, zlib.adler32()("123456789"))
  end)
end)
