local PROTO = [[
syntax = "proto3"; // a comment
package shop;
import "google/protobuf/timestamp.proto";
import "google/api/annotations.proto";
/* another */
enum Size { SMALL = 0; LARGE = 7; }
message Item {
  string name = 1;
  int32 count = 2;
  sint64 delta = 3;
  double price = 4;
  Size size = 5;
  repeated int32 codes = 6;
  map<string, Part> parts = 7;
  oneof choice { string colour = 8; bool plain = 9; }
  optional uint64 stock = 10;
  bytes raw = 11;
  fixed64 stamp = 12;
  float weight = 13;
  repeated Part list = 14;
  google.protobuf.Timestamp at = 15;
  message Part { int64 id = 1; }
  reserved 100 to 200, 300;
}
service Shop {
  rpc Find (Item) returns (stream Item.Part) {
    option (google.api.http) = { get: "/v1/{name}" additional_bindings { post: "/v1" body: "*" } };
  }
  rpc Buy (Item) returns (.shop.Item);
}
]]

describe("pb and protoc", function()
  local pb, protoc = require "pb", require "protoc"
  local instance

  before_each(function()
    pb.state(nil)
    instance = protoc.new()
    assert(instance:load(PROTO, "shop.proto"))
  end)

  local function trip(value)
    return pb.decode("shop.Item", pb.encode(".shop.Item", value))
  end

  it("gives back every kind of field", function()
    local item = trip {
      name = "nail", count = -3, delta = -2 ^ 40, price = 0.25, size = "LARGE",
      codes = { 1, 300, -1 }, parts = { a = { id = 5 }, b = { id = 6 } }, colour = "",
      stock = 0, raw = "\0\255", stamp = 1.7e18, weight = 1.5, list = { { id = 1 }, {} },
      at = { seconds = 1700000000, nanos = 5 },
    }
    assert.equal("nail", item.name)
    assert.equal(-3, item.count)
    assert.equal(-2 ^ 40, item.delta)
    assert.equal(0.25, item.price)
    assert.equal("LARGE", item.size)
    assert.same({ 1, 300, -1 }, item.codes)
    assert.equal(6, item.parts.b.id)
    assert.equal("", item.colour)
    assert.equal("colour", item.choice)
    assert.equal(0, item.stock)
    assert.equal("\0\255", item.raw)
    assert.equal(1.7e18, item.stamp)
    assert.equal(1.5, item.weight)
    assert.equal(0, item.list[2].id)
    assert.equal(1700000000, item.at.seconds)
  end)

  it("writes the bytes that protobuf says", function()
    assert.equal("0A 02 68 69 10 96 01 32 02 01 02",
      pb.tohex(pb.encode("shop.Item", { name = "hi", count = 150, codes = { 1, 2 } })))
    assert.equal("", pb.encode("shop.Item", { name = "", count = 0, size = 0 }))
    assert.equal("10 FF FF FF FF FF FF FF FF FF 01",
      pb.tohex(pb.encode("shop.Item", { count = -1 })))
  end)

  it("gives what is not there its default in proto3, and lists that are arrays of JSON", function()
    local item = pb.decode("shop.Item", "")
    assert.equal(0, item.count)
    assert.equal("SMALL", item.size)
    assert.is_nil(item.stock)
    assert.is_nil(item.colour)
    assert.is_nil(item.at)
    assert.equal("[]", require("cjson").encode(item.codes))
  end)

  it("takes numbers as texts, and says what does not fit", function()
    assert.equal(12, trip({ count = "12" }).count)
    assert.equal(true, trip({ plain = true }).plain)
    local ok, err = pcall(pb.encode, "shop.Item", { name = 5 })
    assert.is_false(ok)
    assert.matches("string expected for field 'name', got number", err)
    ok, err = pcall(pb.encode, "shop.Item", { count = "x" })
    assert.is_false(ok)
    assert.matches("expected for field 'count', got string", err)
    ok = pcall(pb.encode, "shop.Nothing", {})
    assert.is_false(ok)
  end)

  it("passes over fields that it does not know, and refuses what is cut off", function()
    assert.equal("a", pb.decode("shop.Item", "\218\62\3abc\10\1a").name)
    local long = "\16" .. ("\255"):rep(10) .. "\1"
    for _, data in ipairs { "\10\5a", "\16", "\97\1", "\12", long } do
      assert.is_false((pcall(pb.decode, "shop.Item", data)))
    end
  end)

  it("tells of types, fields, enums and services", function()
    assert.equal(".shop.Item", (pb.type "shop.Item"))
    local name, number, type, _, label = pb.field("shop.Item", "list")
    assert.same({ "list", 14, ".shop.Item.Part", "repeated" }, { name, number, type, label })
    assert.equal("int32", (select(3, pb.field("shop.Item", "count"))))
    assert.equal(7, pb.enum("shop.Size", "LARGE"))
    assert.equal("LARGE", pb.enum("shop.Size", 7))
    local file = instance:parsefile "shop.proto"
    local find = file.service[1].method[1]
    assert.equal(".shop.Item", find.input_type)
    assert.equal(".shop.Item.Part", find.output_type)
    assert.is_true(find.server_streaming)
    assert.equal("/v1/{name}", find.options["google.api.http"].get)
    assert.equal("*", find.options["google.api.http"].additional_bindings.body)
  end)

  it("loads what it has compiled", function()
    local data = instance:compile(PROTO, "again.proto")
    instance.include_imports = true
    local whole = instance:compile(PROTO, "again.proto")
    assert.is_true(#whole > #data)
    pb.state(nil)
    assert.is_true((pb.load(whole)))
    assert.equal(9, trip({ count = 9 }).count)
    assert.same({ a = { id = 1 } }, trip({ parts = { a = { id = 1 } } }).parts)
    assert.is_false((pb.load "\10\200"))
  end)

  it("calls hooks once they are enabled", function()
    assert.is_nil(pb.hook "google.protobuf.Timestamp")
    pb.hook("google.protobuf.Timestamp", function(time) return "t" .. time.seconds end)
    pb.encode_hook("google.protobuf.Timestamp", function(text)
      return { seconds = tonumber(text) }
    end)
    local data = pb.encode("shop.Item", { at = { seconds = 7 } })
    assert.equal(7, pb.decode("shop.Item", data).at.seconds)
    pb.option "enable_hooks"
    pb.option "enable_enchooks"
    assert.equal("t8", trip({ at = "8" }).at)
    assert.is_false((pcall(pb.hook, "no.Such")))
  end)

  it("names the line of a mistake", function()
    local ok, err = pcall(protoc.load, protoc, "message M {\n  int32 a 1;\n}", "m.proto")
    assert.is_false(ok)
    assert.matches("m.proto:2: '=' expected", err)
    ok, err = pcall(protoc.load, protoc, "message M { Other a = 1; }", "m.proto")
    assert.is_false(ok)
    assert.matches("unknown type 'Other'", err)
    ok, err = pcall(instance.parsefile, instance, "no/such.proto")
    assert.is_false(ok)
    assert.matches("module load error: no/such.proto", err)
  end)
end)
