return ngx.resp
