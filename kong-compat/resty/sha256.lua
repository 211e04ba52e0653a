return require "silverback.digest" "sha256"
