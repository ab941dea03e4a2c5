-- Lets in requests that carry a known API key, and tells the upstream whose it is.
--
-- Configuration:
--   keys       by the SHA-256 of the key, in hexadecimal, so that the policy holds no secret
--              (`printf %s KEY | sha256sum`), what its owner may do:
--                name        who it is; the upstream gets it as `x-consumer`
--                methods     [GET, HEAD]; all if left out
--                paths       prefixes, which end at a `/`; all if left out
--                per_minute  requests; no limit if left out
--   header     where the key is; x-api-key. In `authorization` it stands after `Bearer `
--   open       prefixes of paths that need no key

local header = config.header or "x-api-key"
local minute = 60

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

-- Made once, while the script loads, where a mistake refuses the policy.
local owners = {}
for digest, owner in pairs(config.keys or error("`keys` is missing", 0)) do
  if #digest ~= 64 or digest:find("[^0-9a-f]") then
    error("`" .. digest .. "` is no SHA-256 in hexadecimal and lower case", 0)
  end
  owners[digest] = {
    name = owner.name or error("the key " .. digest:sub(1, 8) .. "… has no `name`", 0),
    methods = set_of(owner.methods),
    paths = owner.paths,
    per_minute = owner.per_minute,
  }
end

local refused = { [401] = counter("api_keys_unknown"), [403] = counter("api_keys_forbidden"), [429] = counter("api_keys_limited") }

local function refuse(status, text, headers)
  refused[status]:add()
  respond(status, headers, text .. "\n")
end

local function begins_with(path, prefixes)
  for _, prefix in ipairs(prefixes or {}) do
    local rest = path:sub(#prefix + 1, #prefix + 1)
    if path:sub(1, #prefix) == prefix and (rest == "" or rest == "/" or prefix:sub(-1) == "/") then return true end
  end
  return false
end

-- What an upstream may read as another path than the prefix says.
local function is_ambiguous(path)
  return path:find("%%2[eEfF]") or path:find("%%5[cC]") or path:find("\\", 1, true) or path:find("//", 1, true)
end

local function key_of(headers)
  local value = headers[header]
  if value and header == "authorization" then return value:match("^[Bb]earer +(%S+)$") end
  return value
end

function on_request(req)
  local headers, path = req.headers, req.path
  -- Whoever sends it is not believed, key or not.
  headers["x-consumer"] = nil
  local is_plain = not is_ambiguous(path)
  if is_plain and begins_with(path, config.open) then return end

  local key = key_of(headers)
  -- A table that is asked by digest tells nothing by the time it takes.
  local owner = key and owners[hash.sha256(key)]
  if not owner then refuse(401, "A valid API key is needed.", { ["www-authenticate"] = "Bearer" }) end
  if owner.methods and not owner.methods[req.method] then refuse(403, "This key may not use this method.") end
  if owner.paths and not (is_plain and begins_with(path, owner.paths)) then
    refuse(403, "This key may not see this path.")
  end
  if owner.per_minute then
    local count = shared.incr("requests " .. owner.name, 1, minute)
    if count > owner.per_minute then
      refuse(429, "This key has no requests left in this minute.", { ["retry-after"] = tostring(minute) })
    end
  end

  headers[header] = nil
  headers["x-consumer"] = owner.name
  metadata["consumer"] = owner.name
end
