--- # Work on other threads of the host

--# case: compress.xz
local s = crypto.random(8000000) while true do compress.xz(s, { level = 9 }) end

--# case: compress.bzip2
local s = ('0123456789'):rep(2000000) while true do compress.bzip2(s) end

--# case: compress.bunzip2
local s = compress.bzip2(('ab1 '):rep(1 << 20)) while true do compress.bunzip2(s) end

--# case: compress.unxz
local s = compress.xz(('ab1 '):rep(1 << 20)) while true do compress.unxz(s) end

--# case: crypto.hash_file
local f = fs.tempdir() .. '/f' fs.write(f, ('x'):rep(1 << 20)) while true do crypto.hash_file(f) end

--# case: db.query
--# allow: db=sqlite::memory:
local c = db.connect('sqlite::memory:')
db.query(c, 'with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n')

--# case: db.query again and again
--# allow: db=sqlite::memory:
local c = db.connect('sqlite::memory:') while true do db.query(c,
'with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select sum(i) from n') end

--# case: compress.zstd
local s = crypto.random(8000000) while true do compress.zstd(s, { level = 15 }) end

--# case: compress.unzstd
local s = compress.zstd(('ab1 '):rep(1 << 20)) while true do compress.unzstd(s) end

--# case: compress.gzip
local s = crypto.random(8000000) while true do compress.gzip(s, { level = 9 }) end

--# case: tar.create
local directory = fs.tempdir() local files = {} for i = 1, 1000 do files['f' .. i] = ('x'):rep(1000) end
while true do tar.create(directory .. '/t.tar.gz', files) end

--# case: tar.extract
local directory = fs.tempdir() local files = {} for i = 1, 1000 do files['f' .. i] = ('x'):rep(1000) end
tar.create(directory .. '/t.tar.gz', files) while true do tar.extract(directory .. '/t.tar.gz', directory .. '/x') end

--# case: tar.list
local directory = fs.tempdir() local files = {} for i = 1, 1000 do files['f' .. i] = 'x' end
tar.create(directory .. '/t.tar.xz', files) while true do tar.list(directory .. '/t.tar.xz') end

--# case: fs.readdir
--# allow: fs
while true do pcall(fs.readdir, '/usr', { depth = 8 }) end

--# case: fs.glob
--# allow: fs
while true do pcall(fs.glob, '/usr/**/*.x') end

--# case: fs.copy
local f = fs.tempdir() .. '/f' fs.write(f, ('x'):rep(20 << 20)) while true do fs.copy(f, f .. 2) end

--# case: db.batch
--# allow: db=sqlite::memory:
local c = db.connect('sqlite::memory:') db.execute(c, 'create table t(x)')
local rows = {} for i = 1, 10000 do rows[i] = { i } end
while true do db.batch(c, 'insert into t values (?)', rows) db.execute(c, 'delete from t') end

--# case: db sort
--# allow: db=sqlite::memory:
local c = db.connect('sqlite::memory:') while true do db.query(c, 'with recursive n(i) as (select 1 union all select i + 1 from n limit 100000) select count(*) from (select hex(randomblob(20)) h from n order by h)') end
