-- The risk score of policies/lua/risk.lua. The rate comes from a stick table (haproxy.cfg).
local risk = require("risk")
core.register_action("risk", { "http-req" }, function(txn)
  local headers = txn.http:req_get_headers()
  local function first(name) return headers[name] and headers[name][0] end
  local score = risk.score(first("user-agent"), txn.sf:path(), txn.sf:src(), txn.f:sc0_http_req_rate() or 0,
    first("x-country"), txn.sf:method(), first("content-type"))
  txn.http:req_set_header("x-risk-score", score)
  if score > 60 then
    local reply = txn:reply { status = 403 }
    reply:add_header("x-risk-score", score)
    reply:set_body("Refused.\n")
    txn:done(reply)
  end
end)
