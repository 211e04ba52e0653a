return require "luassert"
