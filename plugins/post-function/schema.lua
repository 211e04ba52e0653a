return require("kong.plugins.pre-function.functions_schema")("post-function")
