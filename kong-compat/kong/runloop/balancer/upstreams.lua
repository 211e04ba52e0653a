return require "kong.runloop.balancer"
