-- The risk score of policies/lua/risk.lua. Envoy's Lua has nothing that its workers share: each counts for
-- itself.
package.path = "@PEERS@/lua/?.lua;" .. package.path
local risk = require("risk")
local counts, window = {}, 0
function envoy_on_request(handle)
  local headers = handle:headers()
  local address = handle:streamInfo():downstreamRemoteAddress():match("^[^:]*")
  local now = math.floor(os.time() / 10)
  if now ~= window then counts, window = {}, now end
  counts[address] = (counts[address] or 0) + 1
  local path = headers:get(":path"):match("^[^?]*")
  local score = risk.score(headers:get("user-agent"), path, address, counts[address], headers:get("x-country"),
    headers:get(":method"), headers:get("content-type"))
  headers:replace("x-risk-score", tostring(score))
  if score > 60 then
    handle:respond({ [":status"] = "403", ["x-risk-score"] = tostring(score) }, "Refused.\n")
  end
end
