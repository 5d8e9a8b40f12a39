--# case: a pattern that goes through the text again and again ends
-- The attack: each match is found only after the whole rest was read, so n letters cost n * n.
local ok, err = pcall(regex.find_all, ".*[^A-Z]|[A-Z]", ("A"):rep(200000))
assert.eq(ok, false)
assert.eq(err.code, "limit")
assert.contains(err.message, "too many steps")
-- So does one that is wide.
local ok, err = pcall(regex.find_all, [[(?s).{1,900}?Z|\w]], ("ab1é"):rep(20000))
assert.eq(ok, false)
assert.eq(err.code, "limit")
-- The same on a text of a usual size is an answer.
assert.eq(#regex.find_all(".*[^A-Z]|[A-Z]", ("A"):rep(2000)), 2000)

--# case: a search ends at the CPU limit
--# flags: --cpu 200ms
--# exit: 137
--# stderr: cpu limit
local text = ("A"):rep(100000)
while true do
  pcall(regex.split, ".*[^A-Z]|[A-Z]", text)
  pcall(regex.replace, ".*[^A-Z]|[A-Z]", text, "")
end

--# case: a wide counted pattern ends at the CPU limit
--# flags: --cpu 200ms
--# exit: 137
--# stderr: cpu limit
local text = ("ab1é"):rep(200000)
while true do
  pcall(regex.find_all, [[(?s).{1,900}?Z|\w]], text)
end

--# case: compiling ends at the CPU limit
--# flags: --cpu 200ms
--# exit: 137
--# stderr: cpu limit
while true do
  for _, part in ipairs({ [[(?i)[a-\x{10ffff}] ]], "(a|b)?", [[[\w--\d] ]], "a{100}" }) do
    pcall(regex.match, part:rep(2000), "x")
  end
end

--# case: patterns have a size
for _, pattern in ipairs({ [[(\w{100}){1000}]], ([[\w]]):rep(1001), ("a"):rep(70000), ("(a)"):rep(10000) }) do
  local ok, err = pcall(regex.match, pattern, "x")
  assert.eq(ok, false)
  assert.contains(err, "too large")
end
assert(regex.match(("a"):rep(2000), ("a"):rep(2000)))
assert(regex.match([[^\w{100}$]], ("é"):rep(100)))
-- Nothing is lost by what was refused.
for _ = 1, 200 do
  pcall(regex.match, ([[\w]]):rep(900), "x")
end
assert(regex.match("a", "a"))

--# case: nesting is bounded
for _, open in ipairs({ "(", "(?:", "(?i:", "[", "[^[", "(a|", "(?P<a>" }) do
  for _, n in ipairs({ 50, 99, 100, 101, 1000, 20000 }) do
    pcall(regex.match, open:rep(n), "x")
    pcall(regex.match, open:rep(n) .. "a" .. (")"):rep(n), "x")
    pcall(regex.match, open:rep(n) .. "a" .. ("]"):rep(n), "x")
  end
end
assert(regex.match(("("):rep(90) .. "a" .. (")"):rep(90), "a"))

--# case: automata and threads agree
-- Word boundaries beside other characters than ASCII, and patterns with groups, are searched for by threads; the
-- same patterns without are searched for by automata.
local texts = { "", "a", "ab", "abab b", "foo bar  foo", "aaaaab", "\n\nfoo\nbar\n", "x=1, yy=22;z=333", ("ab"):rep(50) }
local patterns = {
  "a", "a*", "a+?", "(?:ab)+", "a|ab", "ab|a", "b$", "^a", "(?m)^.", "(?m).$", [[\b]], [[\bfoo\b]], [[\B]], "", "a{2,3}",
  "[^a]+", ".*?b", "(?:a|b)*b", "o+ ?", [[\d+]], [[(?:\w+)=(?:\d+)]], "x*", "(?:a*)*", "(?i)FOO", "a??", "(?:^|b)a",
}
for _, text in ipairs(texts) do
  for _, pattern in ipairs(patterns) do
    local plain = regex.find_all(pattern, text)
    -- A group makes captures search with threads.
    local first = regex.captures("(" .. pattern .. ")", text)
    assert.eq(first and first[1], plain[1], pattern .. " in " .. text)
    -- A last character that is not ASCII makes automata give up at word boundaries.
    local wide = regex.find_all("(?:" .. pattern .. [[)(?:\b|\B)]], text .. "é")
    local same = regex.find_all("(?:" .. pattern .. ")", text .. "é")
    assert.eq(wide, same, pattern .. " in " .. text .. "é")
    -- What is between the matches and the matches make the text.
    local marked = regex.replace(pattern, text, "<$0>")
    assert.eq((marked:gsub("[<>]", "")), text)
    assert.eq(regex.match(pattern, text), plain[1] ~= nil)
  end
end

--# case: an empty match moves on by whole characters
assert.eq(regex.replace("x*", "é", "-"), "-é-")
assert.eq(regex.replace("", "é€𝄞", "."), ".é.€.𝄞.")
assert.eq(regex.split("", "é€"), { "", "é", "€", "" })
assert.eq(#regex.find_all("x*", "é€𝄞"), 4)
-- Bytes that are no character stand for themselves.
assert.eq(regex.replace("x*", "\xff\x80", "-"), "-\xff-\x80-")
