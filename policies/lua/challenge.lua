-- Asks clients that come too often for a proof of work, which a browser gives by itself within a moment and a
-- script that knows nothing of it does not. Who has given it has a pass for a while.
--
-- Requests are counted by address, for all workers together. The pass and the task are signed with `secret`, so
-- that nothing else has to be remembered, and are good for the address that they were made for. A solution
-- counts once. The page needs `crypto.subtle`, which browsers have on HTTPS and on localhost.
--
-- Configuration:
--   secret       at least 16 bytes
--   requests     per `window` before the first challenge; 50
--   window       seconds; 10
--   bits         of the hash that must be zero; 16, some 65 000 tries
--   pass         seconds that a pass is good for; 3600
--   always       prefixes of paths where a pass is needed from the first request on, such as [/login]
--   except       prefixes of paths that need none, such as [/.well-known/]

local secret = config.secret or error("`secret` is missing", 0)
if #secret < 16 then error("`secret` has less than 16 bytes", 0) end
local requests, window = config.requests or 50, config.window or 10
local bits, pass_seconds = config.bits or 16, config.pass or 3600
if math.type(bits) ~= "integer" or bits < 1 or bits > 32 then error("`bits` is 1 to 32", 0) end
local task_seconds = 60
local cookie, answer = "tollgate_pass", "x-challenge-answer"

local asked, solved, failed = counter("challenges_asked"), counter("challenges_solved"), counter("challenges_failed")

local function signed(kind, client, expiry)
  return expiry .. "." .. hash.hmac_sha256(secret, kind .. "\n" .. client .. "\n" .. expiry)
end

local function is_good(text, kind, client)
  local expiry = text and text:match("^(%d+)%.%x+$")
  if not expiry or #expiry > 12 or tonumber(expiry) < time.now() then return false end
  return hash.equal(text, signed(kind, client, expiry))
end

local function cookie_of(headers)
  for _, line in ipairs(headers:get_all("cookie")) do
    local value = ("; " .. line):match(";%s*" .. cookie .. "=([^;%s]*)")
    if value then return value end
  end
end

local function begins_with(path, prefixes)
  for _, prefix in ipairs(prefixes or {}) do
    if path:sub(1, #prefix) == prefix then return true end
  end
  return false
end

-- With `//` and escapes a path is another text, and to some upstreams the same path: so it counts where a pass is
-- asked for, and does not where none is needed.
local function is_guarded(path) return begins_with(url.unescape(path):gsub("/+", "/"), config.always) end
local function is_free(path) return not path:find("[%%\\]") and begins_with(path, config.except) end

-- Whether the hash of task and number begins with as many bits of zero as are asked for.
local function is_solved(task, number)
  local digest = hash.sha256(task .. "." .. number)
  return tonumber(digest:sub(1, 8), 16) >> (32 - bits) == 0
end

local function check_answer(client, text)
  local task, number = text:match("^(%d+%.%x+)%.(%d+)$")
  local is_well = task and #number <= 16 and is_good(task, "task", client) and is_solved(task, number)
    and shared.add("solved " .. task, true, task_seconds)
  if not is_well then
    failed:add()
    respond(403, { ["cache-control"] = "no-store" }, "The challenge was not met.\n")
  end
  solved:add()
  local pass = signed("pass", client, string.format("%d", time.now() // 1 + pass_seconds))
  local set = cookie .. "=" .. pass .. "; Path=/; Max-Age=" .. pass_seconds .. "; HttpOnly; SameSite=Lax"
  respond(204, { ["set-cookie"] = set, ["cache-control"] = "no-store" })
end

local page = [[<!doctype html>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<title>One moment</title>
<p id="text">Your browser is being checked. This takes a moment.</p>
<noscript>This page needs JavaScript.</noscript>
<script>
(async () => {
  const task = "TASK", bits = BITS, bytes = new TextEncoder();
  for (let number = 0; ; number++) {
    const digest = await crypto.subtle.digest("SHA-256", bytes.encode(task + "." + number));
    if (new DataView(digest).getUint32(0) >>> (32 - bits) === 0) {
      const answer = await fetch(location.href, { method: "GET", headers: { "ANSWER": task + "." + number } });
      if (answer.status === 204) location.reload();
      else document.getElementById("text").textContent = "That did not work. Load the page again.";
      return;
    }
  }
})();
</script>
]]

local function ask(client)
  asked:add()
  local task = signed("task", client, string.format("%d", time.now() // 1 + task_seconds))
  local filled = page:gsub("%u%u%u+", { TASK = task, BITS = bits, ANSWER = answer })
  respond(429, { ["content-type"] = "text/html; charset=utf-8", ["cache-control"] = "no-store",
    ["x-challenge"] = task, ["retry-after"] = tostring(window) }, filled)
end

function on_request(req)
  local headers, client, path = req.headers, req.client_ip, req.path
  if is_free(path) or is_good(cookie_of(headers), "pass", client) then return end
  local text = headers[answer]
  if text then check_answer(client, text) end
  if is_guarded(path) then ask(client) end
  if shared.incr("requests " .. client, 1, window) > requests then ask(client) end
end
