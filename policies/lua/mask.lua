-- Masks fields of JSON that an upstream answers with. An answer that says it is JSON and cannot be read is not
-- passed on: what cannot be read cannot be masked.
--
-- Configuration:
--   fields   names, which count wherever they stand (`password`), and paths from the top (`user.cards.*.number`,
--            where `*` is any name or element)
--   mask     what stands in their place; ***
--   keep     so many last characters of a text stay, if it is at least twice as long; 0
--
-- A number beyond 2^63 becomes a float, and the order of an object's names may change.

options { response_body = "buffer" }

local mask, keep = config.mask or "***", config.keep or 0

-- The paths as a tree: `next` leads from a name to what may follow it, `hide` marks the end of a path.
local anywhere, tree = {}, { next = {} }
for _, field in ipairs(config.fields or error("`fields` is missing", 0)) do
  if not field:find(".", 1, true) then
    anywhere[field] = true
  else
    local node = tree
    for part in field:gmatch("[^.]+") do
      node.next[part] = node.next[part] or { next = {} }
      node = node.next[part]
    end
    node.hide = true
  end
end

local masked_fields = counter("masked_fields")

local function masked(value)
  if keep > 0 and type(value) == "string" then
    local length = utf8.len(value)
    if length and length >= 2 * keep then return mask .. value:sub(utf8.offset(value, -keep)) end
  end
  return mask
end

-- The places in the tree that a name leads to from others, and whether one of them is the end of a path.
local function below(nodes, name)
  local found, hide = {}, false
  for _, node in ipairs(nodes) do
    -- An element has a number, which only `*` stands for.
    for _, key in ipairs { "*", type(name) == "string" and name ~= "*" and name or nil } do
      local place = node.next[key]
      if place then
        found[#found + 1] = place
        hide = hide or place.hide
      end
    end
  end
  return found, hide
end

local function walk(value, nodes)
  local count = 0
  for name, item in pairs(value) do
    local next_nodes, hide = below(nodes, name)
    if hide or anywhere[name] then
      -- A field that exists already may be set on the way.
      value[name], count = masked(item), count + 1
    elseif type(item) == "table" then
      count = count + walk(item, next_nodes)
    end
  end
  return count
end

local function is_json(resp)
  local kind = (resp.headers["content-type"] or ""):lower():match("^[^;%s]*")
  return kind == "application/json" or kind:find("%+json$") ~= nil
end

local function refuse(why)
  log.error("not masked:", why)
  respond(502, nil, "The answer was withheld.\n")
end

-- So that the upstream does not compress what has to be read.
function on_request(req) req.headers["accept-encoding"] = nil end

function on_response(resp)
  resp.ctx.is_json = is_json(resp)
  if resp.ctx.is_json then
    local encoding = resp.headers["content-encoding"]
    if encoding and encoding:lower() ~= "identity" then refuse("it is compressed") end
    -- It is the tag of the whole; the masked one is another.
    resp.headers["etag"] = nil
  end
end

function on_response_body(resp, body)
  if not resp.ctx.is_json or body == "" then return end
  local value, why = json.decode(body)
  if value == nil then refuse(why) end
  if type(value) ~= "table" then return end
  local count = walk(value, { tree })
  if count > 0 then
    masked_fields:add(count)
    return json.encode(value)
  end
end
