--- # Builtins that compute
--- They are kept at work in the guest without steps of the VM. Small pieces of work count too.

--# case: regex.match
local s = ('ab'):rep(10000000) while true do regex.match('[^z]*z', s) end

--# case: regex.find
local s = ('éab'):rep(1000000) while true do regex.find([[\b\w{50}\bz]], s) end

--# case: regex.replace
local s = ('a'):rep(1000000) while true do regex.replace('(a)(b)?', s, '$2$1') end

--# case: regex.match 2
while true do pcall(regex.match, ('[\\w--\\d]'):rep(400), 'x') end

--# case: json.parse
local s = '"' .. ('\\u0041'):rep(5000000) .. '"' while true do json.parse(s) end

--# case: json.parse 2
local s = '[' .. ('1.5e300,'):rep(2000000) .. '1]' while true do json.parse(s) end

--# case: json.parse 3
local s = (' '):rep(50000000) while true do pcall(json.parse, s) end

--# case: json.encode
local s = ('\n'):rep(10000000) while true do json.encode(s) end

--# case: json.encode 2
local p, t = ('k'):rep(5000), {} for i = 1, 5000 do t[p .. i] = i end while true do json.encode(t) end

--# case: json.number
local n = json.number(('1'):rep(60000)) while true do local m = n + n end

--# case: base64.encode
local s = ('a'):rep(50000000) while true do base64.encode(s) end

--# case: base64.encode 2
local s = ('a'):rep(1000000) while true do base64.encode(s) end

--# case: base64.decode
local s = (' '):rep(50000000) while true do base64.decode(s) end

--# case: string.split
local s = (' '):rep(50000000) while true do s:split() end

--# case: string.split by a long text
local s, p = ('ab'):rep(25000000), ('a'):rep(1000) .. 'b' while true do s:split(p) end

--# case: yaml.parse of a map
local t = {} for i = 1, 100000 do t[i] = 'k' .. i .. ': v' end local s = table.concat(t, '\n') while true do yaml.parse(s) end

--# case: yaml.parse
local s = 'a: |\n  ' .. ('x'):rep(30000000) while true do yaml.parse(s) end

--# case: yaml.parse 2
local s = '#' .. ('x'):rep(30000000) while true do yaml.parse(s) end

--# case: yaml.encode
local s = ('\1'):rep(10000000) while true do yaml.encode(s) end

--# case: toml.parse of a table
local t = {} for i = 1, 50000 do t[i] = 'k' .. i .. '=1' end local s = table.concat(t, '\n') while true do toml.parse(s) end

--# case: toml.parse
local s = 'a=' .. ('['):rep(500000) while true do pcall(toml.parse, s) end

--# case: markdown.to_html
local s = ('['):rep(500000) while true do markdown.to_html(s) end

--# case: markdown.to_html 2
local s = ('![a](b'):rep(80000) while true do markdown.to_html(s) end

--# case: markdown.to_html 3
local s = ('*a_ '):rep(130000) while true do markdown.to_html(s) end

--# case: regex.match 3
while true do pcall(regex.match, '(?i)' .. ('[a-\\x{10ffff}]'):rep(2000), 'x') end

--# case: template.render_string
local s = ('{{a}}'):rep(300000) while true do template.render_string(s, { a = 1 }) end

--# case: template.render_string 2
local s = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'
while true do pcall(template.render_string, s) end

--# case: template.render_string 3
local t = {} for i = 1, 200000 do t[i] = i end while true do template.render_string('x', { t = t }) end

--# case: toml.encode
local t = {} for i = 1, 50000 do t['k' .. i] = i end while true do toml.encode(t) end

--# case: regex.captures
local s = ('ab'):rep(500000) while true do regex.captures('(a)(b)+(c)?', s) end

--# case: regex.find_all
local s = ('n'):rep(200000) while true do regex.find_all('.*[^A-Z]|[A-Z]', s) end

--# case: regex.split
local s = ('a,'):rep(1000000) while true do regex.split(',', s) end

--# case: base64.encode in lines
local s = ('a'):rep(20000000) while true do pcall(base64.encode, s, { url = true }) end
