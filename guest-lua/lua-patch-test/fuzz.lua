-- Generates random programs and runs them. What they print must not depend
-- on where they are suspended.
local first, last = FUZZ_FIRST or 1, FUZZ_LAST or 300

local rnd = math.random
local function pick(t) return t[rnd(#t)] end

local depth, infunc  -- 'infunc': parameters when function is not vararg

local function expr(d)
  d = d or 0
  local r = rnd(d > 2 and 8 or 26)
  if r <= 3 then return pick{'a', 'b', 'c', 'd'}
  elseif r == 4 then return tostring(rnd(-9, 99))
  elseif r == 5 then return ("'%s'"):format(pick{'x', 'y', 'zz', '10', '', ('long'):rep(15)})
  elseif r == 6 then return pick{'nil', 'true', 'false', '2.5', '1e300'}
  elseif r == 7 then return 't.' .. pick{'x', 'y', 'z', 'n'}
  elseif r == 8 then return 't[' .. rnd(4) .. ']'
  elseif r <= 10 then return '(' .. expr(d + 1) .. pick{' + ', ' - ', ' * ', ' // ', ' % ', ' / ', ' & ', ' << '} .. expr(d + 1) .. ')'
  elseif r == 11 then return '(' .. expr(d + 1) .. ' .. ' .. expr(d + 1) .. ')'
  elseif r == 12 then return '(' .. expr(d + 1) .. pick{' == ', ' ~= ', ' < ', ' <= ', ' > ', ' >= '} .. expr(d + 1) .. ')'
  elseif r == 13 then return '(' .. expr(d + 1) .. pick{' and ', ' or '} .. expr(d + 1) .. ')'
  elseif r == 14 then return pick{'not ', '-', '#', '~'} .. expr(d + 1)
  elseif r == 15 then return 'mt(' .. expr(d + 1) .. ')'
  elseif r == 16 then return 'sleep(' .. expr(d + 1) .. ')'
  elseif r == 17 then return '{' .. expr(d + 1) .. ', x = ' .. expr(d + 1) .. ', ' .. expr(d + 1) .. '}'
  elseif r == 18 then return 'f(' .. expr(d + 1) .. ', ' .. expr(d + 1) .. ')'
  elseif r == 19 then if infunc then return 'a' end return '(select(' .. pick{"'#'", '1', '2', '-1'} .. ', ...))'
  elseif r == 20 then return 'tostring(' .. expr(d + 1) .. '):sub(1, 5)'
  elseif r == 21 then return 'm[' .. expr(d + 1) .. ']'
  elseif r == 22 then return '(m ' .. pick{'+', '..', '<', '==', '<=', '*'} .. ' ' .. pick{expr(d + 1), 'm2'} .. ')'
  elseif r == 23 then return pick{'#m', '-m', 'm(' .. expr(d + 1) .. ')', 'm.foo'}
  elseif r == 24 then return 'co_yield(' .. expr(d + 1) .. ')'
  elseif r == 25 then return "(('abcabc'):gsub('%w', function(w) if w == 'b' then return tostring(" .. expr(d + 1) .. "):sub(1, 4) end end))"
  else return 'math.type(' .. expr(d + 1) .. ')' end
end

local block

local function fn(args)
  local sd = infunc
  infunc = args
  local s = 'function(' .. (args or '...') .. ') ' .. (args and '' or 'local a, b = ... ') .. 'burn() ' .. block() ..
            pick{'', ' do return ' .. expr() .. ' end', ' do return ' .. expr() .. ', ' .. expr() .. ' end', ' do return f(' .. expr() .. ') end'} .. ' end'
  infunc = sd
  return s
end

local stats
stats = {
  function() return pick{'a', 'b', 'c', 'd'} .. ' = ' .. expr() end,
  function() return 'local ' .. pick{'a', 'b', 'c', 'd'} .. ' = ' .. expr() end,
  function() return 't.' .. pick{'x', 'y', 'z'} .. ' = ' .. expr() end,
  function() return 't[' .. expr() .. ' or 1] = ' .. expr() end,
  function() return 'm.' .. pick{'x', 'y', 'z'} .. ' = ' .. expr() end,
  function() return 'P(' .. expr() .. ', ' .. expr() .. ')' end,
  function() return 'if ' .. expr() .. ' then ' .. block() .. ' else ' .. block() .. ' end' end,
  function() return 'for i = 1, ' .. rnd(3) .. ' do burn() local a = i ' .. block() .. pick{'', ' if a == b then break end'} .. ' end' end,
  function() return 'for i = 3, 1, -1 do burn() ' .. block() .. ' end' end,
  function() return 'for i = 1.0, 2, 0.5 do burn() c = i ' .. block() .. ' end' end,
  function() return 'while burn() and ' .. expr() .. ' do ' .. block() .. ' if stop() then break end end' end,
  function() return 'repeat burn() local q = ' .. expr() .. ' ' .. block() .. ' until q or stop()' end,
  function() return 'for k, v in ipairs(t) do burn() P(k, v) ' .. block() .. ' end' end,
  function() return 'for v in wrap(' .. fn() .. ') do burn() P(v) ' .. block() .. ' if stop() then break end end' end,
  function() return 'P(pcall(' .. fn() .. ', ' .. expr() .. '))' end,
  function() return 'P(pcall(' .. fn() .. '))' end,
  function() return 'P(xpcall(' .. fn() .. ', ' .. pick{'H', 'H2', 'H3', 'G(' .. fn('e') .. ')'} .. ', ' .. expr() .. '))' end,
  function() return 'P(pcall(error, ' .. expr() .. '))' end,
  function() return 'P(pcall(pcall, error, ' .. expr() .. '))' end,
  function() return 'P(xpcall(error, ' .. pick{'H', 'H2', 'H3'} .. ', ' .. expr() .. '))' end,
  function() return 'P(pcall(' .. pick{'assert', 'sleep', 'coroutine.yield', 'f', 'm', 'tostring', 'select', 'coroutine.resume'} .. ', ' .. expr() .. ', ' .. expr() .. '))' end,
  function() return 'error(' .. expr() .. pick{'', ', 0', ', 2'} .. ')' end,
  function() return 'assert(' .. expr() .. pick{'', ', ' .. expr()} .. ')' end,
  function() return 'do local x <close> = C(' .. expr() .. ') ' .. block() .. ' end' end,
  function() return 'do local x <close> = C(' .. fn('o, e') .. ') ' .. block() .. ' end' end,
  function() return 'do local x <close> = C(' .. expr() .. ') local y <close> = CE(' .. expr() .. ') ' .. block() .. ' end' end,
  function() return 'do local w = wrap(' .. fn() .. ') P(w(' .. expr() .. ')) P(pcall(w)) P(pcall(w, ' .. expr() .. ')) end' end,
  function() return 'do local k = coroutine.create(' .. fn() .. ') P(coroutine.resume(k, ' .. expr() .. ')) P(coroutine.status(k)) P(coroutine.resume(k)) ' ..
                    'P(coroutine.status(k), coroutine.close(k)) end' end,
  function() return 'co_yield(' .. expr() .. ', ' .. expr() .. ')' end,
  function() return 'sleep()' end,
  function() return 'f = ' .. fn() end,
  function() return 'do local t = {3, 1, 2, 5} P(pcall(table.sort, t, function(a, b) burn() ' .. pick{'', 'sleep()', 'P(pcall(error, 1))', 'w1()'} .. ' return a < b end)) P(table.concat(t)) end' end,
  function() return 'do local s = ' .. fn() .. ' H = G(function(e) return s(e) end) end' end,
  function() return 'P(coroutine.isyieldable(), coroutine.running() == main)' end,
  function() return 'goto l' .. depth .. ' do P(1) end ::l' .. depth .. '::' end,
  function() return 'P(load("return " .. ' .. "'" .. expr(2):gsub("['%[%]]", '') .. "'" .. '))' end,
  function() return 'P(select("#", table.unpack({' .. expr() .. ', ' .. expr() .. '}, 1, 3)))' end,
}

function block()
  depth = depth + 1
  local r = {}
  if depth <= 4 then
    for i = 1, rnd(depth < 3 and 4 or 2) do r[i] = 'do ' .. stats[rnd(#stats)]() .. ' end' end
  end
  depth = depth - 1
  return table.concat(r, ' ')
end

local prelude = [[
local a, b, c, d, t, f, H = 1, 2, 'x', nil, {1, 2, 3, x = 1, y = 'y'}, nil, nil
local main = coroutine.running()
local wrap = coroutine.wrap
local fuel = 300
local hk = 0
local function burn() fuel = fuel - 1 if fuel < 0 then error('FUEL', 0) end return true end
local function stop() return fuel < 100 or fuel % 3 == 0 end
local function str(v)
  local y = type(v)
  if y == 'table' or y == 'function' or y == 'thread' then return y end
  v = tostring(v):gsub('0x%x+', 'PTR')
  return #v > 60 and v:sub(1, 60) or v
end
local function P(...)
  local r = table.pack(...)
  for i = 1, r.n do r[i] = str(r[i]) end
  print('  ' .. table.concat(r, ' ', 1, r.n), hk)
  return ...
end
local function co_yield(...)
  if coroutine.running() ~= main and coroutine.isyieldable() then return coroutine.yield(...) end
  return ...
end
local function H(e) P('H', e) return e end
-- a handler that fails is called again until the C stack is full, and how
-- full it is depends on suspensions
local nh = 0
local function G(f) return function(e) nh = nh + 1 if nh % 4 == 0 then return 'deep' end return f(e) end end
local H2 = G(function(e) error(e) end)
local H3 = G(function(e) sleep() return str(e) .. coroutine.wrap(function() sleep() return 'H3' end)() end)
local w1 = function() local w = coroutine.wrap(function() sleep() coroutine.yield(1) sleep() end) w() w() end
local function C(v) return setmetatable({}, {__close = function(o, e) P('close', v, e) sleep() co_yield('c')
  if type(v) == 'function' then v(o, e) end end}) end
local function CE(v) return setmetatable({}, {__close = function(o, e) P('closeE', v, e) error(v) end}) end
local function none() end
local function mt(v) return setmetatable({}, {__index = function(_, k) sleep() return v end,
  __call = function(_, x) co_yield(x) return v end}) end
f = function(x, y) burn() sleep() co_yield(x) return y end
local function bin(op) return function(x, y) P(op) sleep() co_yield(op) P(pcall(error, op)) return op == 'lt' or 7 end end
local meta = {__add = bin 'add', __mul = bin 'mul', __concat = bin 'concat', __lt = bin 'lt', __le = bin 'le',
  __eq = bin 'eq', __len = bin 'len', __unm = bin 'unm', __call = bin 'call', __index = bin 'index',
  __newindex = function(o, k, v) sleep() P('newindex', k, v) co_yield(k) rawset(o, k, v) end}
local m, m2 = setmetatable({}, meta), setmetatable({}, meta)
]]

for seed = first, last do
  math.randomseed(seed)
  depth = 0
  local hook = ''
  if seed % 4 == 0 then
    -- with hooks; all they see goes into 'hk'. (No '__close' and no
    -- count hook: an instruction interrupted in a metamethod can count twice.)
    hook = ("C, CE = none, none debug.sethook(function(e, l) hk = (hk * 31 + #e + (l or 0)) %% 1000003 if hk %% 16 == 0 then w1() end end, '%s') "):
           format(pick{'crl', 'l', 'c', 'r', 'cr', 'cl'})
  end
  local src = prelude .. 'P(...) ' .. hook .. block():gsub(' do ', ' do\n') ..
              pick{'', ' debug.sethook()'} .. ' P("end")'
  print('program ' .. seed)
  if FUZZ_SHOW then print(src) end
  local p, e = load(src, '=p')
  print(p and pcall(function()
    local co = coroutine.wrap(p)
    local n = 0
    repeat n = n + 1 local r = co(n) until r == nil or n > 20
  end), e)
end
