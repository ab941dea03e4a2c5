-- Signs requests to an upstream with a shared secret; signature.lua says what is signed. It goes last in the
-- chain, on a route that rewrites nothing: what comes after it is not what was signed.
--
-- Configuration:
--   key_id    names the secret
--   secret    at least 16 bytes

local signature = require "signature"
options { request_body = "buffer" }

local key_id = config.key_id or error("`key_id` is missing", 0)
local secret = config.secret or error("`secret` is missing", 0)
if #secret < 16 then error("`secret` has less than 16 bytes", 0) end

local function sign(req, digest)
  local timestamp = string.format("%d", time.now() // 1)
  local headers = req.headers
  headers["x-key-id"] = key_id
  headers["x-timestamp"] = timestamp
  headers["x-content-sha256"] = digest
  headers["x-signature"] = signature.of(secret, req, timestamp, digest)
end

function on_request(req) sign(req, signature.EMPTY) end

-- The request waits for its body, and is signed anew with it.
function on_request_body(req, body) sign(req, hash.sha256(body)) end
