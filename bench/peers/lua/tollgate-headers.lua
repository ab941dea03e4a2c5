-- The header policy: reads two things of the request, sets a header on each side.
function on_request(req)
  local headers = req.headers
  headers["x-edge"] = (headers["user-agent"] or "") .. " " .. req.path
end
function on_response(resp)
  resp.headers["x-policy"] = "edge"
end
