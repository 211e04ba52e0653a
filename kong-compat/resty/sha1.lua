return require "silverback.digest" "sha1"
