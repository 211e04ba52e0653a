-- The `.proto` files that everybody imports, reduced to what goes over the wire.

local _M = {}

local function message(name, fields)
  local parts = {}
  for number, field in ipairs(fields) do
    parts[number] = ("  %s = %d;"):format(field, number)
  end
  return ("message %s {\n%s\n}\n"):format(name, table.concat(parts, "\n"))
end

local function file(name, ...)
  local head = 'syntax = "proto3";\npackage google.protobuf;\n'
  _M["google/protobuf/" .. name .. ".proto"] = head .. table.concat({ ... })
end

file("any", message("Any", { "string type_url", "bytes value" }))
file("duration", message("Duration", { "int64 seconds", "int32 nanos" }))
file("timestamp", message("Timestamp", { "int64 seconds", "int32 nanos" }))
file("empty", message("Empty", {}))
file("field_mask", message("FieldMask", { "repeated string paths" }))
file("struct",
  message("Struct", { "map<string, Value> fields" }),
  message("ListValue", { "repeated Value values" }), [[
message Value {
  oneof kind {
    NullValue null_value = 1;
    double number_value = 2;
    string string_value = 3;
    bool bool_value = 4;
    Struct struct_value = 5;
    ListValue list_value = 6;
  }
}
enum NullValue { NULL_VALUE = 0; }
]])
file("wrappers",
  message("DoubleValue", { "double value" }),
  message("FloatValue", { "float value" }),
  message("Int64Value", { "int64 value" }),
  message("UInt64Value", { "uint64 value" }),
  message("Int32Value", { "int32 value" }),
  message("UInt32Value", { "uint32 value" }),
  message("BoolValue", { "bool value" }),
  message("StringValue", { "string value" }),
  message("BytesValue", { "bytes value" }))

_M["google/api/http.proto"] = [[
syntax = "proto3";
package google.api;
message Http { repeated HttpRule rules = 1; bool fully_decode_reserved_expansion = 2; }
message HttpRule {
  string selector = 1;
  oneof pattern {
    string get = 2;
    string put = 3;
    string post = 4;
    string delete = 5;
    string patch = 6;
    CustomHttpPattern custom = 8;
  }
  string body = 7;
  repeated HttpRule additional_bindings = 11;
  string response_body = 12;
}
message CustomHttpPattern { string kind = 1; string path = 2; }
]]

_M["google/api/annotations.proto"] = [[
syntax = "proto3";
package google.api;
import "google/api/http.proto";
import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { HttpRule http = 72295728; }
]]

-- Descriptors, without what only compilers ask for.
_M["google/protobuf/descriptor.proto"] = [[
syntax = "proto2";
package google.protobuf;
message FileDescriptorSet { repeated FileDescriptorProto file = 1; }
message FileDescriptorProto {
  optional string name = 1;
  optional string package = 2;
  repeated string dependency = 3;
  repeated DescriptorProto message_type = 4;
  repeated EnumDescriptorProto enum_type = 5;
  repeated ServiceDescriptorProto service = 6;
  repeated FieldDescriptorProto extension = 7;
  optional FileOptions options = 8;
  repeated int32 public_dependency = 10;
  repeated int32 weak_dependency = 11;
  optional string syntax = 12;
}
message DescriptorProto {
  optional string name = 1;
  repeated FieldDescriptorProto field = 2;
  repeated DescriptorProto nested_type = 3;
  repeated EnumDescriptorProto enum_type = 4;
  repeated FieldDescriptorProto extension = 6;
  optional MessageOptions options = 7;
  repeated OneofDescriptorProto oneof_decl = 8;
}
message FieldDescriptorProto {
  enum Type {
    TYPE_DOUBLE = 1; TYPE_FLOAT = 2; TYPE_INT64 = 3; TYPE_UINT64 = 4; TYPE_INT32 = 5;
    TYPE_FIXED64 = 6; TYPE_FIXED32 = 7; TYPE_BOOL = 8; TYPE_STRING = 9; TYPE_GROUP = 10;
    TYPE_MESSAGE = 11; TYPE_BYTES = 12; TYPE_UINT32 = 13; TYPE_ENUM = 14; TYPE_SFIXED32 = 15;
    TYPE_SFIXED64 = 16; TYPE_SINT32 = 17; TYPE_SINT64 = 18;
  }
  enum Label { LABEL_OPTIONAL = 1; LABEL_REQUIRED = 2; LABEL_REPEATED = 3; }
  optional string name = 1;
  optional string extendee = 2;
  optional int32 number = 3;
  optional Label label = 4;
  optional Type type = 5;
  optional string type_name = 6;
  optional string default_value = 7;
  optional FieldOptions options = 8;
  optional int32 oneof_index = 9;
  optional string json_name = 10;
  optional bool proto3_optional = 17;
}
message OneofDescriptorProto { optional string name = 1; }
message EnumDescriptorProto {
  optional string name = 1;
  repeated EnumValueDescriptorProto value = 2;
}
message EnumValueDescriptorProto { optional string name = 1; optional int32 number = 2; }
message ServiceDescriptorProto {
  optional string name = 1;
  repeated MethodDescriptorProto method = 2;
}
message MethodDescriptorProto {
  optional string name = 1;
  optional string input_type = 2;
  optional string output_type = 3;
  optional MethodOptions options = 4;
  optional bool client_streaming = 5;
  optional bool server_streaming = 6;
}
message FileOptions { optional string java_package = 1; optional string go_package = 11; }
message MessageOptions { optional bool deprecated = 3; optional bool map_entry = 7; }
message FieldOptions { optional bool packed = 2; optional bool deprecated = 3; }
message MethodOptions { optional bool deprecated = 33; }
]]

return _M
