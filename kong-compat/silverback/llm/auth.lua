-- How the gateway proves itself to a model provider.

local function text(description)
  return { type = "string", required = false, referenceable = true, description = description }
end

local function secret(description)
  return {
    type = "string",
    required = false,
    referenceable = true,
    encrypted = true,
    description = description,
  }
end

local function flag(description)
  return { type = "boolean", required = false, default = false, description = description }
end

return {
  type = "record",
  required = false,
  description = "The credential: a header, a parameter, or an identity in a cloud.",
  fields = {
    { header_name = text "The header that carries the key, such as api-key or Authorization." },
    { header_value = secret "The whole value of that header; a bearer token with its `Bearer `." },
    { param_name = text "The query argument or body member that carries the key." },
    { param_value = secret "The key as a parameter." },
    { param_location = {
      type = "string",
      required = false,
      one_of = { "query", "body" },
      description = "Where the parameter goes.",
    } },
    { allow_override = flag(
      "Whether a client may send a credential of its own in the same place.") },

    { azure_use_managed_identity = flag(
      "Whether an Azure identity is used; without it the azure_* fields say nothing.") },
    { azure_client_id = text(
      "The client id of a user-assigned identity or of an app registration.") },
    { azure_client_secret = secret "The secret of the app registration." },
    { azure_tenant_id = text "The tenant of the app registration." },

    -- Not in Kong: what managed identities and networks need beside these.
    { azure_managed_identity_object_id = text(
      "The object id of a user-assigned identity, in place of its client id.") },
    { azure_managed_identity_resource_id = text(
      "The resource id of a user-assigned identity, in place of its client id.") },
    { azure_federated_token_file = text(
      "The file with the token of a workload identity (AZURE_FEDERATED_TOKEN_FILE).") },
    { azure_client_certificate_path = text(
      "The file with certificate and key of the app registration, PEM or PKCS#12.") },
    { azure_client_certificate = secret(
      "The same as text: PEM, or PKCS#12 in base64.") },
    { azure_client_certificate_password = secret "What opens the key of the certificate." },
    { azure_client_send_certificate_chain = {
      type = "boolean",
      required = false,
      description = "Whether the certificates are sent along (subject name and issuer).",
    } },
    { azure_scope = text "The scope of the token; by default the one for the upstream's host." },
    { azure_authority_host = text(
      "Where tokens come from (AZURE_AUTHORITY_HOST); by default the host's cloud.") },
    { azure_imds_endpoint = text(
      "Where managed identities are served, in place of 169.254.169.254.") },

    { aws_access_key_id = secret "The access key, in place of AWS_ACCESS_KEY_ID." },
    { aws_secret_access_key = secret "The secret key, in place of AWS_SECRET_ACCESS_KEY." },

    { gcp_use_service_account = flag "Whether a Google service account is used." },
    { gcp_service_account_json = secret(
      "The JSON of the service account, in place of GCP_SERVICE_ACCOUNT.") },
    { gcp_metadata_url = text "Where Google's metadata is served." },
    { gcp_oauth_token_url = text "Where Google's tokens come from." },
  },
}
