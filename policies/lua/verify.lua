-- Lets in requests that are signed with a shared secret, whole, recent, and for the first time.
-- signature.lua says what is signed.
--
-- Configuration:
--   secrets   by key id, at least 16 bytes each
--   max_age   seconds that a signature is good for, before and after its time; 300

local signature = require "signature"
options { request_body = "buffer" }

local max_age = config.max_age or 300
local secrets = config.secrets or error("`secrets` is missing", 0)
for id, secret in pairs(secrets) do
  if #secret < 16 then error("the secret of `" .. id .. "` has less than 16 bytes", 0) end
end

local refused = counter("signatures_refused")

-- The sender learns that it is refused, the log learns why.
local function refuse(why)
  refused:add()
  log.info("signature refused:", why)
  respond(401, { ["www-authenticate"] = "Signature" }, "A valid signature is needed.\n")
end

local function is_recent(timestamp)
  return timestamp:find("^%d+$") and #timestamp <= 12 and math.abs(time.now() - tonumber(timestamp)) <= max_age
end

local function has_body(headers)
  return headers["transfer-encoding"] or (headers["content-length"] or "0") ~= "0"
end

function on_request(req)
  local headers = req.headers
  local given, id, timestamp = headers["x-signature"], headers["x-key-id"], headers["x-timestamp"]
  local digest = headers["x-content-sha256"] or signature.EMPTY
  if not (given and id and timestamp) then refuse("there is none") end
  -- An unknown key takes as long as a known one.
  local secret = secrets[id]
  local expected = signature.of(secret or "", req, timestamp, digest)
  if not hash.equal(given, expected) or not secret then refuse("it is wrong") end
  if not is_recent(timestamp) then refuse("it is of another time") end
  if digest ~= signature.EMPTY and not has_body(headers) then refuse("the body is gone") end
  -- One step for all workers: whoever comes second was overheard.
  if not shared.add("seen " .. given, true, 2 * max_age) then refuse("it was used before") end

  req.ctx.digest = digest
  for _, name in ipairs(signature.HEADERS) do headers[name] = nil end
  headers["x-consumer"] = id
  metadata["consumer"] = id
end

function on_request_body(req, body)
  if hash.sha256(body) ~= req.ctx.digest then refuse("the body is another") end
end
