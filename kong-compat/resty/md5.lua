return require "silverback.digest" "md5"
