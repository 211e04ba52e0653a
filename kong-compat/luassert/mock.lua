require "luassert"
return require("luassert.spies").mock
