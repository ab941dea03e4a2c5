-- What sign.lua and verify.lua share: the text that is signed, and how. A signature is the HMAC-SHA-256, in
-- hexadecimal, of these lines, joined by a newline and with none at the end:
--   method, host, path with query, seconds since 1970, SHA-256 of the body in hexadecimal
-- It travels in `x-signature`, beside `x-key-id`, `x-timestamp` and `x-content-sha256`.

local M = {}

-- The digest of no body.
M.EMPTY = hash.sha256("")

M.HEADERS = { "x-signature", "x-key-id", "x-timestamp", "x-content-sha256" }

function M.of(secret, req, timestamp, digest)
  return hash.hmac_sha256(secret, table.concat({ req.method, req.host, req.uri, timestamp, digest }, "\n"))
end

return M
