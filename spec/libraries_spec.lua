-- Lua libraries that Kong ships and its plugins require.

describe("ffi-zlib", function()
  local zlib = require "ffi-zlib"
  local text = ("silverback "):rep(1000)

  -- A function that gives a text in pieces, and one that collects.
  local function pieces(whole)
    local from = 1
    return function(size)
      local piece = whole:sub(from, from + size - 1)
      from = from + size
      return piece ~= "" and piece or nil
    end
  end

  local function through(f, whole, ...)
    local parts = {}
    local ok, err = f(pieces(whole), function(part)
      parts[#parts + 1] = part
      return true
    end, ...)
    return ok and table.concat(parts), err
  end

  it("packs and unpacks a piece at a time", function()
    for _, size in ipairs { 16, 1024, 65535 } do
      local packed, told = through(zlib.deflateGzip, text, size)
      assert.equal("\31\139", packed:sub(1, 2))
      assert.is_true(#packed < 200)
      assert.equal("stream end", told)
      assert.equal(text, (through(zlib.inflateGzip, packed, size)))
    end
  end)

  it("knows zlib's heads and none by the window", function()
    for _, bits in ipairs { 15, -15, 15 + 16 } do
      local packed = through(zlib.deflateGzip, text, 4096, { windowBits = bits, level = 9 })
      assert.equal(text, (through(zlib.inflateGzip, packed, 4096, bits)))
    end
    local packed = through(zlib.deflateGzip, text, 4096, { windowBits = 15 })
    assert.equal(text, (through(zlib.inflateGzip, packed)))
  end)

  it("says what is wrong with the data", function()
    assert.same({ false, "INFLATE: data error" }, { through(zlib.inflateGzip, "no gzip at all") })
    local packed = through(zlib.deflateGzip, text)
    assert.same({ false, "INFLATE: Data error, no input bytes" },
      { through(zlib.inflateGzip, packed:sub(1, 20)) })
    local ok, err = zlib.inflateGzip(pieces(packed), function() return nil, "full" end)
    assert.same({ false, "INFLATE: full" }, { ok, err })
  end)

  it("sums", function()
    assert.equal(0xcbf43926, zlib.crc("123456789"))
    assert.equal(0x11e60398, zlib.adler("Wikipedia", 1))
  end)

  it("is behind kong.tools.gzip", function()
    local gzip = require "kong.tools.gzip"
    assert.equal(text, gzip.inflate_gzip(gzip.deflate_gzip(text)))
    assert.equal("", gzip.inflate_gzip(gzip.deflate_gzip("")))
    assert.is_nil((gzip.inflate_gzip("x")))
  end)
end)

describe("lua_pack", function()
  local pack = require "lua_pack"

  it("writes and reads numbers and texts", function()
    assert.equal("\0\0\0\1\2\0", pack.pack(">I<S", 1, 2))
    assert.equal("\3abcdz\0", pack.pack("pAz", "abc", "d", "z"))
    assert.same({ 6, 1, 258 }, { pack.unpack("\1\0\0\1\2", "C>I") })
    assert.same({ 5, "abc" }, { pack.unpack("\3abc", "p") })
    assert.same({ 3, "ab" }, { pack.unpack("abc", "A2") })
    assert.same({ 2, -1 }, { pack.unpack("\255", "c") })
    local at, value = pack.unpack(pack.pack(">d", 1.5), ">d")
    assert.same({ 9, 1.5 }, { at, value })
  end)

  it("stops where the text does", function()
    assert.same({ 2, 1 }, { pack.unpack("\1\2", "C>I") })
    assert.same({ 1 }, { pack.unpack("\9abc", "p") })
  end)

  it("knows bits and hexadecimal digits", function()
    assert.equal("\160\255", pack.pack("BX", "101", "FF"))
    assert.same({ 2, "10100000" }, { pack.unpack("\160", "B") })
    assert.same({ 3, "A0FF" }, { pack.unpack("\160\255", "X2") })
  end)
end)

describe("luatz and date", function()
  local luatz, date = require "luatz", require "date"

  it("know the calendar", function()
    local time = luatz.timetable.new_from_timestamp(1234567890.5)
    assert.equal("2009-02-13T23:31:30.500", time:rfc_3339())
    assert.equal(1234567890.5, time:timestamp())
    assert.equal("Fri Feb 13 2009", time:strftime("%a %b %d %Y"))
    assert.same({ 2017, 11, 30, 0, 0, 0 }, { luatz.timetable.normalise(2017, 12, 0, 0, 0, 0) })
    local parsed, offset = luatz.parse.rfc_3339("2009-02-13T23:31:30+02:00")
    assert.same({ 1234567890, 7200 }, { parsed:timestamp(), offset })
  end)

  it("read what people write", function()
    local day = date(2006, 7, 27)
    for _, text in ipairs {
      "2006-07-27", "20060727", "2006-208", "2006-W30-4", "Jul 27 2006", "27 july 2006",
      "Thu Jul 27 2006 00:00:00 GMT", "2006-07-27T02:00:00+02:00", "07/27/2006",
    } do
      assert.is_true(date(text) == day)
    end
    assert.has_error(function() return date("no date") end)
  end)

  it("reckon and format", function()
    local day = date(1234567890)
    assert.equal("2009-02-13T23:31:30", day:fmt("${iso}"))
    assert.equal("Fri, 13 Feb 2009 23:31:30 GMT", day:fmt("${http}"))
    assert.equal("2009-03-01", day:copy():adddays(16):fmt("%F"))
    assert.equal(1234567890, date.diff(day, date.epoch()):spanseconds())
    assert.is_true(date(2000, 1, 31):addmonths(1) == date(2000, 3, 2))
  end)
end)

describe("binaryheap", function()
  local heaps = require "binaryheap"

  it("gives the least first", function()
    local heap = heaps.minHeap()
    for _, value in ipairs { 5, 1, 4, 2, 3 } do
      heap:insert(value)
    end
    local order = {}
    while heap:size() > 0 do
      order[#order + 1] = heap:pop()
    end
    assert.same({ 1, 2, 3, 4, 5 }, order)
    assert.is_nil(heap:pop())
  end)

  it("finds values by their payload", function()
    local heap = heaps.maxUnique()
    heap:insert(1, "a")
    heap:insert(3, "b")
    heap:update("a", 5)
    assert.same({ "a", 5 }, { heap:peek() })
    assert.same({ 5, "a" }, { heap:remove("a") })
    assert.same({ "b", 3 }, { heap:pop() })
    assert.has_error(function()
      heap:insert(1, "x")
      heap:insert(2, "x")
    end)
  end)
end)

describe("lfs and lua_system_constants", function()
  it("look at files", function()
    local lfs = require "lfs"
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("12345")
    file:close()
    assert.equal(5, lfs.attributes(path, "size"))
    assert.equal("file", lfs.attributes(path).mode)
    os.remove(path)
    assert.is_true(lfs.mkdir(path))
    local names = {}
    for name in lfs.dir(path) do
      names[#names + 1] = name
    end
    assert.same({ ".", ".." }, names)
    assert.is_true(lfs.rmdir(path))
    local none, err = lfs.attributes(path)
    assert.is_nil(none)
    assert.matches("cannot obtain information from file '.+': No such file or directory", err)
  end)

  it("declare the functions that write files", function()
    local flags, ffi = require "lua_system_constants", require "ffi"
    local path = os.tmpname()
    local fd = ffi.C.open(path, flags.O_WRONLY(), 0)
    assert.equal(3, ffi.C.write(fd, "abc", 3))
    ffi.C.close(fd)
    assert.equal("abc", require("pl.file").read(path))
    os.remove(path)
  end)
end)
