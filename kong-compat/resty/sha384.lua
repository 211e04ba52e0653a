return require "silverback.digest" "sha384"
