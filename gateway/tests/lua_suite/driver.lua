-- Runs one file (the global `FILE`) as `all.lua` does: through binary chunks where that does so, with the results
-- that it expects. Tests that are not portable, by the file's own judgement, are off (`_port`).
_port, _nomsg, T = true, true, nil
function Message() end

_G.debug = nil

-- What WASI does not have. Its C library takes any name of a locale and changes nothing.
local names = 0
function os.tmpname()
  names = names + 1
  return "temporary-" .. names
end
function io.tmpfile() return assert(io.open(os.tmpname(), "w+b")) end
local set_locale, locales = os.setlocale, { C = true, POSIX = true, [""] = true }
function os.setlocale(name, ...) return (name == nil or locales[name]) and set_locale(name, ...) or nil end

local from_text = { ["gc.lua"] = true, ["strings.lua"] = true, ["literals.lua"] = true, ["big.lua"] = true }
local stripped = { ["goto.lua"] = true, ["sort.lua"] = true, ["verybig.lua"] = true }
local results = { ["attrib.lua"] = 27, ["locals.lua"] = 5, ["events.lua"] = 12, ["verybig.lua"] = 10 }

local main = assert(loadfile(FILE))
if not from_text[FILE] then
  main = assert(load(string.dump(main, stripped[FILE])))
end
require"tracegc".start()

if FILE == "big.lua" then
  local step = coroutine.wrap(main)
  assert(step() == "b" and step() == "a")
else
  local result = main()
  assert(results[FILE] == nil or result == results[FILE], "another result")
  assert(FILE ~= "calls.lua" or deep and result == deep, "another result")
end
assert(_G.debug == nil, "the global `debug` was set")
