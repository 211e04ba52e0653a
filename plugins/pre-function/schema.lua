return require("kong.plugins.pre-function.functions_schema")("pre-function")
