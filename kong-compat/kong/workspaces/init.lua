-- The one workspace, for plugins that ask which.

local workspaces = {}

function workspaces.get_workspace()
  return kong.db.workspaces:select({ id = workspaces.get_workspace_id() or kong.default_workspace })
end

function workspaces.get_workspace_name()
  return "default"
end

function workspaces.set_workspace(workspace)
  ngx.ctx.workspace = workspace and workspace.id
end

-- Nil where there is no request, as in Kong.
function workspaces.get_workspace_id(ctx)
  local phase = ngx.get_phase()
  if phase == "timer" or phase == "init_worker" or phase == "init" then
    return nil
  end
  return (ctx or ngx.ctx).workspace or kong.default_workspace
end

return workspaces
