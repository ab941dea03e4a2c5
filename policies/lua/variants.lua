-- Gives each client one variant of an experiment and keeps it there; routes choose the upstream by it.
--
-- A client is known by its cookie, else by its address. The upstream, the routes and the client's answer learn the
-- variant by the header `x-variant`.
--
-- Configuration:
--   experiment   a name; another one deals the clients anew
--   variants     shares of a hundred: { b: 20, c: 5 }; the rest is `default`
--   default      a
--   cookie       that keeps the client where it is; `variant`. `false`: by address alone
--   days         that the cookie lasts; 30
--   force        a header by which a tester chooses, such as x-force-variant; nobody may if left out

local experiment = config.experiment or error("`experiment` is missing", 0)
local default = config.default or "a"
local cookie = config.cookie == nil and "variant" or config.cookie
local max_age = (config.days or 30) * 86400

-- In a fixed order, so that all workers, and the next version of this script, deal alike.
local names, known, total = {}, { [default] = true }, 0
for name, share in pairs(config.variants or {}) do
  if not name:find("^[%w_-]+$") then error("`" .. name .. "` is no name of a variant", 0) end
  names[#names + 1], known[name], total = name, true, total + share
end
table.sort(names)
if total > 100 then error("the shares are " .. total .. " of a hundred", 0) end

local function dealt(client)
  local ticket = tonumber(hash.sha256(experiment .. "\n" .. client):sub(1, 8), 16) % 10000
  local edge = 0
  for _, name in ipairs(names) do
    edge = edge + config.variants[name] * 100
    if ticket < edge then return name end
  end
  return default
end

local function cookie_of(headers)
  for _, line in ipairs(headers:get_all("cookie")) do
    for name, value in line:gmatch("([^=;%s]+)=([^;%s]*)") do
      if name == cookie then return value end
    end
  end
end

function on_request(req)
  local headers = req.headers
  local forced = config.force and headers[config.force]
  local kept = cookie and cookie_of(headers)
  local variant
  if forced and known[forced] then
    variant = forced
  elseif kept and known[kept] then
    variant = kept
  else
    variant = dealt(req.client_ip)
    req.ctx.is_new = cookie
  end
  -- In the place of whatever the client sent, which may have chosen this route.
  headers["x-variant"] = variant
  req.ctx.variant = variant
  metadata["variant"] = variant
  reroute()
end

function on_response(resp)
  local variant = resp.ctx.variant
  resp.headers["x-variant"] = variant
  resp.headers:add("vary", "cookie")
  if resp.ctx.is_new then
    local text = cookie .. "=" .. variant .. "; Path=/; Max-Age=" .. max_age .. "; HttpOnly; SameSite=Lax"
    resp.headers:add("set-cookie", text)
  end
end
