return require "silverback.digest" "sha512"
