-- Templates whose functions return nil and an error: `resty.template.safe`.

return require "resty.template".new(true)
