require "luassert"
return require("luassert.spies").stub
