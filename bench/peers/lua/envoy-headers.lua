-- The header policy: reads two things of the request, sets a header on each side.
function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path"):match("^[^?]*")
  headers:replace("x-edge", (headers:get("user-agent") or "") .. " " .. path)
end
function envoy_on_response(handle)
  handle:headers():replace("x-policy", "edge")
end
