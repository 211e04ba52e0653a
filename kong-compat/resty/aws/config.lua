-- resty.aws.config: what the environment says of AWS. No instance is asked for its region.

local NAMES = {
  "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
  "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_STS",
  "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
}

local global = {}
for _, name in ipairs(NAMES) do
  global[name] = os.getenv(name)
end
global.AWS_REGION = os.getenv "AWS_REGION" or os.getenv "AWS_DEFAULT_REGION"
global.region = global.AWS_REGION

return {
  global = global,
  get_config = function()
    return global
  end,
}
