return require("kong.plugins.pre-function.functions")(1000000)
