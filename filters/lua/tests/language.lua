-- What the language must do in the sandbox: errors and coroutines above all, since both unwind by
-- checked returns there. Run by gateway/tests/lua, in a request: answers "ok" or fails.

local function fails(pattern, f, ...)
  local is_well, message = pcall(f, ...)
  assert(not is_well, "no error; expected " .. pattern)
  assert(string.find(tostring(message), pattern), tostring(message))
  return message
end

local function errors()
  assert(select("#", pcall(function() return 1, nil, 3 end)) == 4)
  fails("language.lua:%d+: boom", function() error("boom") end)
  assert(fails("table:", function() error({ code = 7 }) end).code == 7)
  assert(fails("nil", error) == nil)
  fails("attempt to index a nil value %(local 'x'%)", function() local x; return x.y end)
  fails("attempt to call a number value", function() return (1)() end)
  fails("attempt to perform arithmetic on a table", function() return {} + 1 end)
  fails("attempt to compare", function() return {} < {} end)
  fails("number has no integer representation", function() return 1.5 | 1 end)
  fails("bad argument #1 to 'table.insert'", table.insert, 1, 2)
  fails("bad 'for' initial value %(number expected, got string%)", function() for i = "x", 2 do end end)
  fails("invalid conversion '%%y' to 'format'", string.format, "%y", 1)
  fails("malformed pattern", string.find, "a", "[a")
  -- Errors in all places that call back into the script.
  fails("in compare", table.sort, { 3, 1, 2 }, function() error("in compare") end)
  fails("in gsub", string.gsub, "abc", "%w", function() error("in gsub") end)
  local odd = setmetatable({}, {
    __index = function(_, k) error("in index " .. k) end,
    __tostring = function() error("in tostring") end,
    __eq = function() error("in eq") end,
    __concat = function() error("in concat") end,
    __len = function() error("in len") end,
    __call = function(_, n) error("in call " .. n, 0) end,
  })
  fails("in index x", function() return odd.x end)
  fails("in tostring", tostring, odd)
  fails("in eq", function() return odd == setmetatable({}, getmetatable(odd)) end)
  fails("in concat", function() return odd .. "x" end)
  fails("in len", function() return #odd end)
  fails("^in call 5$", odd, 5)
  -- Handlers, errors in handlers, and errors within protected calls within errors.
  local is_well, text = xpcall(function() error("x", 0) end, function(e) return e .. "!" end)
  assert(not is_well and text == "x!")
  assert(not xpcall(error, function() error("again") end))
  assert(not pcall(pcall))
  local depth = 0
  local function nest(n)
    depth = depth + 1
    if n == 0 then error("bottom", 0) end
    local ok, e = pcall(nest, n - 1)
    error(e, 0)
  end
  fails("^bottom$", nest, 100)
  assert(depth == 101)
  for _ = 1, 2000 do pcall(error, "x") end
end

local function stacks()
  local function deep(n) return 1 + deep(n + 1) end
  local message = select(2, pcall(deep, 1))
  assert(string.find(message, "stack overflow") or string.find(message, "not enough memory"), message)
  fails("stack overflow", string.gsub, string.rep("x", 300), "x", function()
    local function again() return (string.gsub("x", "x", again)) end
    return again()
  end)
  fails("C stack overflow", function() error(select(2, load("return " .. string.rep("(", 300)))) end)
  local function tail(n) if n == 0 then return "done" end return tail(n - 1) end
  assert(tail(20000) == "done")
end

local function coroutines()
  local log = {}
  local co = coroutine.create(function(a, b)
    log[#log + 1] = a + b
    local c = coroutine.yield(a * b)
    log[#log + 1] = c
    local ok, e = pcall(function()
      local d = coroutine.yield("in pcall")
      error("after " .. d, 0)
    end)
    log[#log + 1] = e
    return "end"
  end)
  assert(select(2, coroutine.resume(co, 2, 3)) == 6)
  assert(select(2, coroutine.resume(co, "c")) == "in pcall")
  assert(select(2, coroutine.resume(co, "d")) == "end")
  assert(table.concat(log, ",") == "5,c,after d")
  assert(coroutine.status(co) == "dead" and not coroutine.resume(co))
  local bad = coroutine.create(function() coroutine.yield(); error("dies") end)
  assert(coroutine.resume(bad))
  local ok, e = coroutine.resume(bad)
  assert(not ok and e:find("dies"))
  fails("dies too", coroutine.wrap(function() error("dies too") end))
  fails("attempt to yield across a C%-call boundary", function()
    coroutine.wrap(function() table.sort({ 2, 1 }, function() coroutine.yield() end) end)()
  end)
  -- Many at once, each in the middle of something.
  local all = {}
  for i = 1, 200 do
    all[i] = coroutine.wrap(function() for n = 1, 5 do coroutine.yield(i * n) end return "last" end)
  end
  local sum = 0
  for n = 1, 5 do for i = 1, 200 do sum = sum + all[i]() end end
  assert(sum == 15 * 20100 and all[7]() == "last")
  -- A generator in a loop, with a metamethod that yields.
  local lazy = setmetatable({}, { __index = function(_, k) return coroutine.yield(k) end })
  local gen = coroutine.wrap(function() return lazy.first .. lazy.second end)
  assert(gen() == "first" and gen("a") == "second" and gen("b") == "ab")
end

local function closing()
  local closed = {}
  local function closer(name)
    return setmetatable({}, { __close = function(_, e) closed[#closed + 1] = name .. tostring(e) end })
  end
  do local a <close> = closer("a") end
  pcall(function() local b <close> = closer("b"); error("E", 0) end)
  local co = coroutine.create(function() local c <close> = closer("c"); coroutine.yield() end)
  coroutine.resume(co)
  assert(coroutine.close(co))
  assert(table.concat(closed, " ") == "anil bE cnil")
  fails("attempt to assign to const variable", function() error(select(2, load("local x <const> = 1; x = 2"))) end)
end

local function memory()
  fails("not enough memory", string.rep, "x", 1 << 28)
  fails("resulting string too large", string.rep, "x", 1 << 40)
  local parts = {}
  local ok, e = pcall(function() while true do parts[#parts + 1] = string.rep("x", 1 << 16) .. #parts end end)
  parts = nil
  assert(not ok and e == "not enough memory")
  collectgarbage()
  local count = collectgarbage("count")
  local t = {}
  for i = 1, 20000 do t[i] = { i } end
  t = nil
  collectgarbage()
  assert(collectgarbage("count") < count + 200)
  local finalised = 0
  for _ = 1, 10 do setmetatable({}, { __gc = function() finalised = finalised + 1; error("ignored") end }) end
  collectgarbage()
  assert(finalised == 10)
  local weak = setmetatable({}, { __mode = "v" })
  weak[1] = {}
  collectgarbage()
  assert(weak[1] == nil)
end

local function values()
  assert(7 // 2 == 3 and 7.0 // 2 == 3.0 and -7 // 2 == -4 and 7 % -3 == -2 and 2 ^ 10 == 1024.0)
  assert(math.maxinteger + 1 == math.mininteger and 1 << 63 == math.mininteger and ~0 == -1)
  assert(tostring(1e15) == "1e+15" and tostring(0.1) == "0.1" and tostring(3.0) == "3.0" and tostring(-0.0) == "-0.0")
  assert(tonumber("0x1p4") == 16.0 and tonumber("1e1") == 10.0 and tonumber(" 10 ") == 10 and tonumber("z", 36) == 35)
  assert(math.type(1) == "integer" and math.type(1.0) == "float" and math.tointeger("8") == 8)
  assert(string.format("%5.2f|%-5d|%05d|%x|%q|%s|%i", 3.14159, 42, 42, 255, "a\n", nil, 3) == " 3.14|42   |00042|ff|\"a\\\n\"|nil|3")
  assert(("x"):rep(3, "-") == "x-x-x" and ("hello"):sub(-3, -2) == "ll" and ("abc"):byte(1, -1) == 97)
  assert(("key = value"):match("^(%w+)%s*=%s*(%w+)$") == "key" and ("a,b,,c"):gsub(",", ";") == "a;b;;c")
  assert(("THE (quick) fox"):find("%((%a+)%)") == 5 and ("x"):gsub("x", "%0%0") == "xx")
  assert(("  trim  "):match("^%s*(.-)%s*$") == "trim" and ("f(a(b)c)d"):match("%b()") == "(a(b)c)")
  assert(string.unpack("<i4", string.pack("<i4", 100)) == 100)
  assert(utf8.char(228, 8364) == "ä€" and utf8.len("ä€") == 2 and utf8.codepoint("€") == 8364)
  local t = { 5, 2, 8, 1 }
  table.sort(t, function(a, b) return a > b end)
  assert(table.concat(t, " ") == "8 5 2 1" and table.unpack(t, 2, 3) == 5 and select(-1, 1, 2, 3) == 3)
  assert(#table.pack(1, nil, 3) >= 1 and table.pack(1, nil, 3).n == 3)
  table.move(t, 1, 2, 3)
  assert(t[3] == 8 and t[4] == 5 and next({}) == nil and rawlen({ 1, 2 }) == 2)
  local seen = 0
  for k, v in pairs({ a = 1, b = 2, 3 }) do seen = seen + v end
  assert(seen == 6)
  goto done
  error("not reached")
  ::done::
  local big = {}
  for i = 1, 3000 do big[i] = "k" .. i; big["k" .. i] = i end
  for i = 1, 3000 do assert(big[big[i]] == i) end
  assert(math.random(1, 1) == 1 and math.floor(-0.5) == -1 and math.fmod(-5, 3) == -2 and math.ult(1, -1))
end

local function sandbox()
  for _, name in ipairs { "io", "os", "debug", "package", "dofile", "loadfile" } do
    assert(rawget(_G, name) == nil, name)
  end
  assert(string.dump == nil)
  assert(load("return ...", "c", "t", {})(9) == 9 and load("x = 1", "c", "t", {}))
  local env = {}
  load("y = 5", "c", "t", env)()
  assert(env.y == 5 and rawget(_G, "y") == nil)
  local f, e = load("\27Lua")
  assert(f == nil and e:find("attempt to load a binary chunk"))
  f, e = load("x =", "=name")
  assert(f == nil and e:find("^name:1: unexpected symbol near <eof>"))
  fails("bad argument #1 to 'load'", load, function() end)
  fails("no module `other`", require, "other")
  fails("undeclared global `leak`", function() leak = 1 end)
  assert(getmetatable(_G) == false and not pcall(setmetatable, _G, {}))
  assert(getmetatable("").__index == string)
end

function on_request(req)
  errors()
  stacks()
  coroutines()
  closing()
  memory()
  values()
  sandbox()
  respond(200, nil, "ok")
end
