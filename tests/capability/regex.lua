--- # regex
--- Regular expressions in the syntax of Rust's crate `regex`, without back-references and look-around. Always
--- available.
---
--- One search takes time linear in the text, whatever the pattern; the larger the pattern, the more for each
--- byte. `find_all`, `replace` and `split` search again after each match: a pattern that must read to the end of
--- the text to know a short match, as `.*;|[a-z]` does where there is no `;`, makes them quadratic. A call has 268,435,456
--- steps and 512 for each byte of the text; what takes more is an error with the code `limit`. That is some 3 seconds for
--- a text of 1 MB. The limits of the run are looked at meanwhile, but no other task runs: bound the size of texts that
--- others send.
---
--- Strings may hold any bytes; `.` and classes match whole characters of valid UTF-8, and `(?-u)`
--- switches to bytes. `(?i)` ignores case, `(?m)` makes `^` and `$` match at lines, `(?s)` makes `.`
--- match newlines, `(?x)` ignores blanks. `\d`, `\w`, `\s`, `\b` and `\p{L}` know Unicode; the classes
--- of scripts and of word segmentation are left out. A pattern may have 64 KiB, and take 2 MiB when compiled; the 16
--- used last are kept. An empty match is found between characters, not within one. A wrong pattern raises an argument error that shows the place.
---
--- ## regex.match(pattern, s) -> boolean
--- Whether `s` matches somewhere (`^...$` for all of it).
---
--- ## regex.find(pattern, s) -> string|nil
--- The first match.
---
--- ## regex.find_all(pattern, s) -> {string}
--- All matches that do not overlap.
---
--- ## regex.replace(pattern, s, replacement, limit?) -> string
--- `s` with all matches, or the first `limit`, replaced. `$1` or `${1}` and `$name` or `${name}` stand
--- for groups, `$0` for the match, `$$` for a dollar. The longest name counts: write `${1}a`, not `$1a`.
---
--- ## regex.captures(pattern, s) -> table|nil
--- The first match: `[0]` is all of it, `[1]`, `[2]`... its groups, and named groups `(?<name>...)` are
--- fields too. A group that took no part is nil.
---
--- ## regex.split(pattern, s, limit?) -> {string}
--- The parts of `s` between the matches, at most `limit` parts.
---
--- ## regex.escape(s) -> string
--- A pattern that matches `s` literally.

--# example: find and replace
assert.eq(regex.match([[^\d{4}-\d{2}$]], "2024-05"), true)
assert.eq(regex.find([[\d+]], "a 12 b 3"), "12")
assert.eq(regex.find_all([[\d+]], "a 12 b 3"), { "12", "3" })
assert.eq(regex.replace([[(\w+)@(\w+)]], "me@home", "$2 of ${1}"), "home of me")

--# example: groups
local m = regex.captures([[(?<key>\w+)=(\w+)]], "x: size=10")
assert.eq(m[0], "size=10")
assert.eq(m.key, "size")
assert.eq(m[1], "size")
assert.eq(m[2], "10")

--# case: no match
assert.eq(regex.match("x", "abc"), false)
assert.eq(regex.find("x", "abc"), nil)
assert.eq(regex.find_all("x", "abc"), {})
assert.eq(json.encode(regex.find_all("x", "abc")), "[]")
assert.eq(regex.captures("x", "abc"), nil)
assert.eq(regex.replace("x", "abc", "y"), "abc")
assert.eq(regex.split(",", ""), { "" })

--# case: empty patterns and texts
assert.eq(regex.match("", ""), true)
assert.eq(regex.find_all("", "ab"), { "", "", "" })
assert.eq(regex.replace("", "ab", "-"), "-a-b-")
assert.eq(regex.find("a*", ""), "")

--# case: replacement
assert.eq(regex.replace("a(b)?", "ab a", "[$1]"), "[b] []")
assert.eq(regex.replace("a", "aaa", "b", 2), "bba")
assert.eq(regex.replace("a", "a", "$$"), "$")
assert.eq(regex.replace("(?<n>a)", "a", "<$n>"), "<a>")
assert.eq(regex.replace("(a)", "a", "$1x"), "")
assert.eq(regex.replace("(a)", "a", "${1}x"), "ax")

--# case: split and escape
assert.eq(regex.split([[\s*,\s*]], "a , b,c"), { "a", "b", "c" })
assert.eq(regex.split(",", "a,b,c", 2), { "a", "b,c" })
assert.eq(regex.escape("a.b*c"), [[a\.b\*c]])
assert(regex.match("^" .. regex.escape("[x](y)$") .. "$", "[x](y)$"))

--# case: unicode and bytes
assert.eq(regex.find([[\w+]], "über alles"), "über")
assert(regex.match("(?i)É", "é"))
assert(regex.match([[^\p{L}+$]], "日本語"))
assert.eq(regex.find("a.c", "aéc"), "aéc")
assert.eq(regex.find([[(?-u)\xff.]], "x\xff\0y"), "\xff\0")
assert.eq(regex.replace("a", "a\0\xffa", "b"), "b\0\xffb")
assert.eq(regex.find_all([[\d]], "1\xff2\0003"), { "1", "2", "3" })

--# case: errors show the pattern
for _, bad in ipairs({ "(", "[a", "a{2,1}", "*", [[\p{Nope}]], "(?<a>x)(?<a>y)", [[(a)\1]], "(?=a)" }) do
  local ok, err = pcall(regex.match, bad, "x")
  assert.eq(ok, false, bad)
  assert.contains(err, "bad argument #1")
  assert.contains(err, bad)
end
assert.raises(function() regex.match([[(\w{100}){1000}]], "x") end, "too large")
assert.raises(function() regex.match(("("):rep(1000) .. (")"):rep(1000), "x") end)
assert.raises(function() regex.match("\xff", "x") end, "UTF-8")
assert.raises(function() regex.match("a") end, "string expected")
assert.raises(function() regex.replace("a", "b") end, "string expected")
assert.raises(function() regex.replace("a", "b", "c", 0) end, "positive")

--# case: time is linear
local text = ("a"):rep(100000)
assert.eq(regex.match("(a*)*b", text), false)
assert.eq(regex.match("(a|aa)+$", text .. "!"), false)

--# case: many patterns
for i = 1, 100 do
  assert.eq(regex.find("x" .. i .. "y", "x" .. i .. "y"), "x" .. i .. "y")
  assert(regex.match("shared", "shared"))
end

--# case: an empty match moves on by whole characters
assert.eq(regex.replace("x*", "é", "-"), "-é-")
assert.eq(regex.replace("", "é日😀", "-"), "-é-日-😀-")
assert.eq(regex.replace("x*", "aéx日", "-"), "-a-é-日-")
assert.eq(regex.replace("x*?", "é", "-"), "-é-")
assert.eq(regex.replace("\\b|\\B", "é日", "-"), "-é-日-")
assert.eq(regex.replace("(?:)", "é", "$0|"), "|é|")
assert.eq(regex.find_all("", "é日"), { "", "", "" })
assert.eq(regex.find_all("x*", "éx"), { "", "x" })
assert.eq(regex.split("", "é日"), { "", "é", "日", "" })
assert.eq(regex.split("x*", "éx日"), { "", "é", "日", "" })
assert.eq(regex.replace("", "é日", "-", 2), "-é-日")
-- Bytes that are no characters are passed one by one.
assert.eq(regex.replace("", "\xff\xc3", "-"), "-\xff-\xc3-")
assert.eq(regex.replace("(?-u:)", "\xe6\x97", "-"), "-\xe6-\x97-")
