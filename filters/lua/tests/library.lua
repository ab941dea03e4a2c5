-- What scripts are given beside the language. Run by gateway/tests/lua, in a request: answers "ok" or
-- fails. Digests are those of the standards' own test vectors.

local function fails(pattern, f, ...)
  local is_well, message = pcall(f, ...)
  assert(not is_well and string.find(tostring(message), pattern), tostring(message))
end

local function equal(a, b) assert(a == b, tostring(a) .. " is not " .. tostring(b)) end

local function configuration()
  equal(config.threshold, 60)
  equal(math.type(config.threshold), "integer")
  equal(#config.names, 2)
  equal(config.nested.on, true)
  equal(config.nested.off, json.null)
  equal(script_name, "library.lua")
end

local function texts()
  equal(json.encode({ 1, 2.5, "x\n", true, json.null, {}, { 1 }, json.empty_array }), '[1,2.5,"x\\n",true,null,{},[1],[]]')
  equal(json.encode({ a = { b = { 1 } } }), '{"a":{"b":[1]}}')
  equal(json.encode({ [10] = 1 }), '{"10":1}')
  equal(json.encode("\xff"), '"\u{fffd}"')
  local t = json.decode('{"a":[1,-2,3.5,null,"\\u00e4"],"b":{"c":true},"n":9007199254740993}')
  equal(t.a[2], -2); equal(t.a[3], 3.5); equal(t.a[4], json.null); equal(t.a[5], "ä"); equal(#t.a, 5)
  equal(t.b.c, true); equal(t.n, 9007199254740993)
  equal(json.encode(json.decode('{"a":[],"b":{}}').a), "[]"); equal(json.encode(json.decode('[[],{}]')), "[[],{}]")
  local list = json.decode("[]"); list[1] = 1; equal(json.encode(list), "[1]"); list[1] = nil; list.x = 1; equal(json.encode(list), '{"x":1}')
  local value, message = json.decode('{"a":}')
  equal(value, nil); assert(message:find("column 6"), message)
  equal(json.decode(string.rep("[", 1000)), nil)
  fails("functions", json.encode, print)
  fails("NaN", json.encode, 0 / 0)
  local loop = {}; loop[1] = loop
  fails("64 tables", json.encode, loop)
  fails("keys of a JSON object", json.encode, { [true] = 1 })
  equal(base64.encode("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==")
  equal(base64.decode("YW55IGNhcm5hbCBwbGVhcw=="), "any carnal pleas")
  equal(base64.decode("%"), nil)
  equal(base64.encode_url("\xfb\xff"), "-_8"); equal(base64.decode_url("-_8="), "\xfb\xff")
  equal(hex.encode("\0\xff"), "00ff"); equal(hex.decode("00fF"), "\0\xff"); equal(hex.decode("0"), nil); equal(hex.decode("zz"), nil)
  equal(url.escape("a b/ä~"), "a%20b%2F%C3%A4~"); equal(url.unescape("a+b%2f%"), "a b/%")
  list = url.parameters("a=1&b&a=%32")
  equal(#list, 3); equal(list[3][1] .. list[3][2], "a2"); equal(list[2][2], "")
end

local function digests()
  equal(hash.sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  equal(hash.sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d")
  equal(hash.md5("abc"), "900150983cd24fb0d6963f7d28e17f72")
  equal(hash.sha512("abc"):sub(1, 16), "ddaf35a193617aba")
  equal(hash.hmac_sha256("key", "The quick brown fox jumps over the lazy dog"), "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8")
  equal(hash.hmac_sha1("key", "The quick brown fox jumps over the lazy dog"), "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9")
  equal(#hash.sha256("", "raw"), 32)
  fails("hexadecimal", hash.sha256, "", "base64")
  equal(hash.equal("abc", "abc"), true); equal(hash.equal("abc", "abd"), false); equal(hash.equal("abc", "ab"), false)
  equal(#random_bytes(16), 16); assert(random_bytes(16) ~= random_bytes(16))
  fails("4096", random_bytes, 5000)
end

local function patterns()
  equal(regex.test("GET /admin/x", [[^\w+ /admin\b]]), true)
  equal(regex.test("x", "[0-9]"), false)
  local m = regex.match("id=42; name=ada", [[id=(\d+); name=(?P<who>\w+)(!)?]])
  equal(m[0], "id=42; name=ada"); equal(m[1], "42"); equal(m.who, "ada"); equal(m[2], "ada"); equal(m[3], nil)
  equal(regex.match("x", "y"), nil)
  local from, to = regex.find("hello world", "o w")
  equal(from, 5); equal(to, 7)
  equal(regex.gsub("a1b22", [[\d+]], "<$0>"), "a<1>b<22>")
  equal(regex.test("\xff!", "!"), true)
  fails("not a regular expression", regex.test, "", "(")
  for n = 1, 600 do regex.test("x", "x" .. n) end
  -- Linear whatever the pattern: a matcher that tried again and again would not end.
  equal(regex.test(string.rep("a", 2000) .. "b", "^(a+)+$"), false)
end

local function addresses()
  equal(ip.matches("10.1.2.3", "10.0.0.0/8"), true); equal(ip.matches("11.1.2.3", "10.0.0.0/8"), false)
  equal(ip.matches("2001:db8::1", "2001:db8::/32"), true); equal(ip.matches("no address", "10.0.0.0/8"), false)
  equal(ip.matches("::ffff:10.1.1.1", "10.0.0.0/8"), true)
  local set = ip.set { "192.0.2.0/24", "198.51.100.7" }
  equal(set:contains("192.0.2.200"), true); equal(set:contains("198.51.100.7"), true); equal(set:contains("8.8.8.8"), false)
  equal(ip.is_valid("::1"), true); equal(ip.is_valid("::x"), false)
  fails("`10.0.0.0/40` is not a range", ip.set, { "10.0.0.0/40" })
  fails("a set of address ranges was expected", set.contains, {}, "::1")
end

local function times()
  local now = time.now()
  assert(now > 1.7e9 and math.type(now) == "float")
  equal(time.text(0), "1970-01-01T00:00:00Z"); equal(time.utc(951782400).month, 2); equal(time.utc(951782400).weekday, 3)
  fails("9999", time.text, 1e18)
end

local function data()
  shared.set("s", "text\0\xff"); equal(shared.get("s"), "text\0\xff")
  shared.set("f", 1.5); equal(shared.get("f"), 1.5)
  shared.set("b", false); equal(shared.get("b"), false)
  shared.delete("s"); equal(shared.get("s"), nil)
  shared.set("f", nil); equal(shared.get("f"), nil)
  equal(shared.incr("n"), 1); equal(shared.incr("n", 5), 6);
  equal(shared.incr("n", -7), -1); equal(shared.get("n"), -1)
  equal(shared.incr("m", 2, 60), 2); equal(shared.incr("m"), 3)
  equal(shared.add("once", 1, 60), true); equal(shared.add("once", 2), false); equal(shared.get("once"), 1)
  shared.delete("once"); equal(shared.add("once", 3), true)
  shared.set("short", 1, 0.001); shared.set("over", 1, 0.001); shared.set("over", 2)
  local start = time.now()
  while time.now() < start + 0.003 do end
  equal(shared.get("short"), nil); equal(shared.add("short", 2), true); equal(shared.get("over"), 2)
  local space = shared.space("common")
  space.set("s", 1); equal(space.get("s"), 1); equal(shared.get("s"), nil); equal(shared.space("common").get("s"), 1)
  fails("a string, a number or a boolean", shared.set, "t", {})
  fails("positive", shared.set, "t", 1, 0); fails("at most 1024", shared.get, string.rep("k", 2000))
  fails("whole numbers", function() shared.set("x", "text"); shared.incr("x") end)
  shared.set("seven", "1234567"); equal(shared.get("seven"), "1234567"); shared.set("eight", "12345678"); equal(shared.get("eight"), "12345678")
  shared.set("w", 5); equal(shared.incr("w"), 6)
end

local function measures()
  local counted = counter("lua_library_counter")
  counted:add(); counted:add(4)
  assert(counted:get() >= 5)
  local level = gauge("lua_library_level")
  level:set(7); level:add(-2); equal(level:get(), 5)
  histogram("lua_library_sizes"):record(100)
  fails("a metric of this kind", level.record, level, 1); fails("with a colon", counted.add)
end

local function exchange(req)
  metadata["risk.score"] = 42
  equal(metadata["risk.score"], "42"); equal(property("risk.score"), "42"); equal(metadata["risk.none"], nil)
  fails("belongs to the gateway", function() metadata["request.path"] = "/x" end)
  fails("no field `ua`", function() return req.ua end)
  fails("cannot be set", function() req.id = "1" end)
  fails("is not the name of a header", function() req.headers["a b"] = "x" end)
  fails("while the script loads", options, { tick = 1 })
  log("one", 2, nil, { 1 } ~= nil); log.warn("warned"); log.error("failed"); log.debug("quiet"); print("printed")
end

function on_request(req)
  configuration()
  texts()
  digests()
  patterns()
  addresses()
  times()
  data()
  measures()
  exchange(req)
  respond(200, nil, "ok")
end
