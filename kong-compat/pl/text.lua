-- Penlight's old name for a part of `stringx`.

return require "pl.stringx"
