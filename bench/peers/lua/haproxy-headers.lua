-- The header policy: reads two things of the request, sets a header on each side.
core.register_action("edge", { "http-req" }, function(txn)
  local headers = txn.http:req_get_headers()
  local agent = headers["user-agent"] and headers["user-agent"][0] or ""
  txn.http:req_set_header("x-edge", agent .. " " .. txn.sf:path())
end)
core.register_action("policy", { "http-res" }, function(txn)
  txn.http:res_set_header("x-policy", "edge")
end)
