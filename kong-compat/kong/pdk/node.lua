-- `kong.node`, as Kong's plugins get it before there is a `kong`.

return { new = function() return kong.node end }
