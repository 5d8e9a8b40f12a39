#!/bin/sh
# run.sh STOCK PREFIXES: tests the patches natively, with gcc. STOCK has the
# sources of Lua as they are released; each directory in PREFIXES, named as a
# patch, has them with that patch and all before it. After each patch Lua must
# behave as stock Lua does, and the tests of these patches must pass.
set -e
here=$(cd "$(dirname "$0")" && pwd)
stock=$(cd "$1" && pwd)
prefixes=$(cd "$2" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$here"

build () {  # build NAME SOURCES FLAGS...
  name=$1; src=$2; shift 2
  mkdir "$tmp/$name.d"
  (cd "$tmp/$name.d" && ls "$src"/*.c | grep -v -e '/lua\.c$' -e '/luac\.c$' |
    xargs -P 2 -n 8 gcc -c -O1 -w -DLUA_USE_POSIX "$@")
  gcc -O1 -I"$src" "$@" "$here/driver.c" "$tmp/$name.d"/*.o -o "$tmp/$name" -lm
  rm -r "$tmp/$name.d"
}

same () {  # same PROGRAM SCRIPT: does it print what stock Lua prints?
  timeout 60 "$tmp/$1" "$2.lua" > "$tmp/out" 2> "$tmp/err" || true
  cmp "$tmp/out" "$tmp/$2.out" || { cat "$tmp/err"; exit 1; }
  echo "$1: $(cat "$tmp/err")"
}

gaps () {  # gaps SOURCES FLAGS...: does every script come to a tick soon?
  src=$1; shift
  build gap "$src" -O2 "$@"
  "$tmp/gap" -gap 150 limits.txt | tee "$tmp/gaps"
  # every script must have been stopped; the limit leaves room for a slow machine
  if grep -v 'stopped$' "$tmp/gaps"; then exit 1; fi
  awk '$3 > 50 { print "too long:", $0; bad = 1 } END { exit bad }' "$tmp/gaps"
}

# C stack: suspensions change how deep it is, so do not let it overflow
deep=-DLUAI_MAXCCALLS=2000
checked="$deep -DLUAI_ASSERT -DLUA_USE_APICHECK"
build stock "$stock" $deep
"$tmp/stock" fuzz.lua > "$tmp/fuzz.out" 2> /dev/null
"$tmp/stock" sched.lua > "$tmp/sched.out" 2> /dev/null
tail -1 "$tmp/sched.out" | grep -q '^ok$'

# each prefix, with all that its patches have brought
has=
tests=
for patched in "$prefixes"/*; do
  name=$(basename "$patched")
  case $name in
    *-functions-with-fields) has="$has -DFIELDS" ;;
    *-budget) has="$has -DBUDGET" ;;
    *-suspension) has="$has -DSUSPENSION" ;;
    *-freeze-and-seed) has="$has -DFREEZE" ;;
  esac
  build "$name" "$patched" $checked $has -DLUAI_TICK=7
  same "$name" fuzz
  same "$name" sched
  if [ -e "own/$name.lua" ]; then tests="$tests own/$name.lua"; fi
  for own in $tests; do
    "$tmp/$name" "$own" 2> /dev/null || { echo "$name: $own failed"; exit 1; }
  done
  case $name in *-budget) gaps "$patched" $has ;; esac
done

# the whole series, with other budgets, without memory, and its times
for tick in 1 100000; do
  build t$tick "$patched" $checked $has -DLUAI_TICK=$tick
  same t$tick fuzz
  [ $tick = 1 ] || same t$tick sched  # (slow)
done
build oom "$patched" $has -DLUAI_ASSERT -DLUA_USE_APICHECK
"$tmp/oom" -oom memory.txt > "$tmp/out" || { tail -1 "$tmp/out"; exit 1; }
gaps "$patched" $has
echo "patches: all tests passed"
