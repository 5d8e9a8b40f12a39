/* Lua without its virtual machine as one translation unit: the compiler inlines across its files, which wasm's own
   compiler does not. */
#define LUA_CORE
#define LUA_LIB
#define ltable_c

#include "lprefix.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "luaconf.h"
#include "lzio.c"
#include "lctype.c"
#include "lopcodes.c"
#include "lmem.c"
#include "lundump.c"
#include "ldump.c"
#include "lstate.c"
#include "lgc.c"
#include "llex.c"
#include "lcode.c"
#include "lparser.c"
#include "ldebug.c"
#include "lfunc.c"
#include "lobject.c"
#include "ltm.c"
#include "lstring.c"
#include "ltable.c"
#include "ldo.c"
#include "lapi.c"

#include "lauxlib.c"
#include "lbaselib.c"
#include "lcorolib.c"
#include "ldblib.c"
#include "lmathlib.c"
#include "lstrlib.c"
#include "ltablib.c"
#include "lutf8lib.c"


/*
** What the guest's own code needs of the interpreter's inside.
*/

/*
** Calls 'f' in the stack frame of the running C function. An error ends
** it here and leaves its value on top of the stack as it was before.
*/
LUA_API int lua_protect (lua_State *L, Pfunc f, void *ud) {
  return luaD_pcall(L, f, ud, savestack(L, L->top.p), 0);
}


/*
** Raises "not enough memory".
*/
LUA_API l_noret lua_nomemory (lua_State *L) {
  luaM_error(L);
}


/*
** Frees what is no longer used. As in an allocation that fails, no
** finalizer runs. Gives 0 where it cannot be done now.
*/
LUA_API int lua_reclaim (lua_State *L) {
  global_State *g = G(L);
  if (!completestate(g) || g->gcstopem)
    return 0;
  luaC_fullgc(L, 1);
  return 1;
}
