return require "resty.mlcache"
