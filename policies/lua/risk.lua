-- A risk score for each request, from its agent, path, country, rate and network. Above a limit the request
-- is refused; below it the upstream and later filters learn the score.
--
-- Configuration (all of it optional):
--   deny_above   refuse beyond this score; 60
--   agents       texts in User-Agent, in lower case, with their scores: { sqlmap: 60 }
--   paths        Lua patterns of the path with their scores: { "^/admin": 40 }
--   countries    scores by the header `country_header`, which the edge before this gateway must set;
--                `other` stands for the rest
--   networks     ranges of addresses with their scores: { 10.0.0.0/8: -10 }
--   rate         { per_second: 20, score: 30 }: a client beyond this rate; the mean over ten seconds

local deny_above = config.deny_above or 60
local agents = config.agents or { sqlmap = 60, nikto = 60, masscan = 60 }
local paths = config.paths or { ["%.php$"] = 30, ["/%.git/"] = 50, ["/%.env$"] = 50 }
local countries = config.countries or {}
local country_header = config.country_header or "x-country"
local rate = config.rate
local window = 10

-- Made once, while the script loads: an invalid range is refused with the policy.
local networks = {}
for range, score in pairs(config.networks or {}) do
  networks[#networks + 1] = { set = ip.set { range }, score = score }
end

local refused = counter("risk_refused")
local scores = histogram("risk_score")

local function of_agent(agent)
  if agent == nil or agent == "" then return 25 end
  agent = agent:lower()
  local score = 0
  for text, more in pairs(agents) do
    if agent:find(text, 1, true) then score = score + more end
  end
  return score
end

local function of_path(path)
  local score = 0
  for pattern, more in pairs(paths) do
    if path:find(pattern) then score = score + more end
  end
  return score
end

local function of_network(address)
  local score = 0
  for i = 1, #networks do
    if networks[i].set:contains(address) then score = score + networks[i].score end
  end
  return score
end

-- Counted for all workers together; the count ends with its window.
local function of_rate(address)
  if not rate then return 0 end
  local count = shared.incr("rate " .. address, 1, window)
  return count > rate.per_second * window and rate.score or 0
end

function on_request(req)
  local headers, address, method = req.headers, req.client_ip, req.method
  local score = of_agent(headers["user-agent"]) + of_path(req.path) + of_network(address) + of_rate(address)
  local country = headers[country_header]
  if country then score = score + (countries[country] or countries.other or 0) end
  if method ~= "GET" and method ~= "HEAD" and not headers["content-type"] then score = score + 10 end
  score = math.max(0, score)

  scores:record(score)
  metadata["risk.score"] = score
  if score > deny_above then
    refused:add()
    log.info("refused", method, req.path, "at", score)
    respond(403, { ["x-risk-score"] = score }, "Refused.\n")
  end
  headers["x-risk-score"] = score
end
