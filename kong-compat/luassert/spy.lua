require "luassert"
return require("luassert.spies").spy
