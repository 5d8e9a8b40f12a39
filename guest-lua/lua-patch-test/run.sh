#!/bin/sh
# run.sh PATCHED STOCK: tests lua.patch natively, with gcc. PATCHED and STOCK
# are directories with the patched and the stock sources of Lua.
set -e
here=$(cd "$(dirname "$0")" && pwd)
patched=$(cd "$1" && pwd)
stock=$(cd "$2" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

build () {  # build NAME SOURCES FLAGS...
  name=$1; src=$2; shift 2
  mkdir "$tmp/$name.d"
  (cd "$tmp/$name.d" && ls "$src"/*.c | grep -v -e '/lua\.c$' -e '/luac\.c$' |
    xargs -P 2 -n 8 gcc -c -O1 -w -DLUA_USE_POSIX "$@")
  gcc -O1 -I"$src" "$@" "$here/driver.c" "$tmp/$name.d"/*.o -o "$tmp/$name" -lm
}

# C stack: suspensions change how deep it is, so do not let it overflow
build stock "$stock" -DLUAI_MAXCCALLS=2000
cd "$here"
"$tmp/stock" fuzz.lua > "$tmp/fuzz.out" 2> /dev/null
"$tmp/stock" sched.lua > "$tmp/sched.out" 2> /dev/null
tail -1 "$tmp/sched.out" | grep -q '^ok$'

for tick in 1 7 100000; do
  build t$tick "$patched" -DPATCHED -DLUAI_MAXCCALLS=2000 -DLUAI_TICK=$tick \
    -DLUAI_ASSERT -DLUA_USE_APICHECK
  for f in fuzz sched; do
    [ $tick$f = 1sched ] && continue  # (slow)
    timeout 60 "$tmp/t$tick" $f.lua > "$tmp/out" 2> "$tmp/err" || true
    cmp "$tmp/out" "$tmp/$f.out" || { cat "$tmp/err"; exit 1; }
    echo "tick $tick: $(cat "$tmp/err")"
  done
done

build oom "$patched" -DPATCHED -DLUAI_ASSERT -DLUA_USE_APICHECK
"$tmp/oom" -oom memory.txt > "$tmp/out" || { tail -1 "$tmp/out"; exit 1; }

build gap "$patched" -DPATCHED -O2
"$tmp/gap" -gap 150 limits.txt | tee "$tmp/gaps"
# every script must have been stopped; the limit leaves room for a slow machine
if grep -v 'stopped$' "$tmp/gaps"; then exit 1; fi
awk '$3 > 50 { print "too long:", $0; bad = 1 } END { exit bad }' "$tmp/gaps"
echo "lua.patch: all tests passed"
