return require "silverback.digest" "sha224"
