-- The time: the module `luatz.gettime`.

return { source = "ngx.now()", resolution = 1e-3, gettime = ngx.now }
