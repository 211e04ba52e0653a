-- The id of a node lives in its configuration, and in no file.

return {
  load_node_id = function() return kong.node.get_id() end,
  store_node_id = function() return true end,
  init_node_id = function() return true end,
}
