-- The risk score of policies/lua/risk.lua with the configuration of policies/risk.yaml, for the Lua of
-- other gateways: 5.1 (LuaJIT) and later. What differs from gateway to gateway (where the request is read,
-- how a client's rate is counted) is in their own files. No metrics, which costs these peers nothing.
local risk = {}

local agents = { sqlmap = 60, nikto = 60, masscan = 60, curl = 5 }
local paths = { ["^/admin"] = 40, ["^/api/v%d+/export"] = 20, ["%.php$"] = 30, ["/%.git/"] = 50 }
local countries = { DE = 1, US = 1, other = 5 }
local networks = {}
local floor, max = math.floor, math.max

local function number(address)
  local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  return a and ((a * 256 + b) * 256 + c) * 256 + d
end

for range, score in pairs { ["192.0.2.0/24"] = 30, ["10.0.0.0/8"] = -10 } do
  local address, bits = range:match("^(.-)/(%d+)$")
  local size = 2 ^ (32 - bits)
  networks[#networks + 1] = { base = floor(number(address) / size), size = size, score = score }
end

function risk.score(agent, path, address, count, country, method, content_type)
  local score = count > 50 * 10 and 30 or 0
  if not agent or agent == "" then
    score = score + 25
  else
    agent = agent:lower()
    for text, more in pairs(agents) do
      if agent:find(text, 1, true) then score = score + more end
    end
  end
  for pattern, more in pairs(paths) do
    if path:find(pattern) then score = score + more end
  end
  local place = number(address)
  if place then
    for i = 1, #networks do
      local network = networks[i]
      if floor(place / network.size) == network.base then score = score + network.score end
    end
  end
  if country then score = score + (countries[country] or countries.other) end
  if method ~= "GET" and method ~= "HEAD" and not content_type then score = score + 10 end
  return max(0, score)
end

return risk
