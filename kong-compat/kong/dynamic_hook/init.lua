-- Kong's hooks into its own functions, which its plugins ask about and which nobody sets here.

local function nothing() end

return {
  hook = nothing, hook_function = nothing, run_hook = nothing,
  enable_on_this_request = nothing, enable_by_default = nothing, disable_by_default = nothing,
  is_group_enabled = function() return false end,
}
