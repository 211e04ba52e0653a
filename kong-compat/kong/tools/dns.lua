-- Kong's DNS client, which is set up already.

return function()
  return require "kong.resty.dns.client"
end
