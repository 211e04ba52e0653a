return ngx.req
