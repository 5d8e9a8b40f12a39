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


/*
** Calls the finalizers of all objects that have one, as 'lua_close' does,
** and frees nothing. From now on no object gets a finalizer.
*/
LUA_API void lua_finalize (lua_State *L) {
  global_State *g = G(L);
  g->gcstp = GCSTPCLS;
  luaC_changemode(L, KGC_INC);
  separatetobefnz(g, 1);
  callallpendingfinalizers(L);
}


/*
** The coroutine that 'L' has resumed and that is suspended for the host,
** as 'L' is itself; NULL where 'L' waits by itself.
*/
LUA_API lua_State *lua_inner (lua_State *L) {
  CallInfo *ci = L->ci;
  const TValue *f = s2v(ci->func.p);
  const TValue *o;
  if (isLua(ci) || ci == &L->base_ci)
    return NULL;
  if (ttisCclosure(f) && clCvalue(f)->nupvalues > 0)
    o = &clCvalue(f)->upvalue[0];  /* of 'coroutine.wrap' */
  else if (ci->func.p + 1 < L->top.p)
    o = s2v(ci->func.p + 1);
  else
    return NULL;
  return (ttisthread(o) && lua_issuspended(thvalue(o))) ? thvalue(o) : NULL;
}


/*
** One frame of a traceback of 'of': pushes its place and the name of its
** function. Gives 0 where there is no such level, else the sum of
** FRAME_... below. */
#define FRAME_THERE	1
#define FRAME_TAIL	2
#define FRAME_C		4
#define FRAME_NAMED	8  /* its chunk has a name ('=name'), and no file */

LUA_API int lua_frame (lua_State *L, lua_State *of, int level) {
  lua_Debug ar;
  int result = FRAME_THERE;
  if (!lua_getstack(of, level, &ar))
    return 0;
  lua_getinfo(of, "Slnt", &ar);
  if (ar.currentline <= 0)
    lua_pushstring(L, ar.short_src);
  else
    lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
  pushfuncname(L, &ar);
  if (ar.istailcall)
    result |= FRAME_TAIL;
  if (*ar.what == 'C')
    result |= FRAME_C;
  else if (*ar.source == '=')
    result |= FRAME_NAMED;
  return result;
}


/*
** The level of the outermost frame of 'L'.
*/
LUA_API int lua_lastlevel (lua_State *L) {
  return lastlevel(L);
}


/*
** Pushes the name of the n-th local variable (from 0) that is in scope
** where the function on top of the stack ends; gives 0 where no such variable exists.
*/
LUA_API int lua_lastlocal (lua_State *L, int n) {
  const TValue *o = s2v(L->top.p - 1);
  const Proto *p;
  int i;
  if (!ttisLclosure(o))
    return 0;
  p = clLvalue(o)->p;
  for (i = 0; i < p->sizelocvars; i++) {
    const LocVar *var = &p->locvars[i];
    if (var->endpc >= p->sizecode && *getstr(var->varname) != '(' && n-- == 0) {
      lua_pushstring(L, getstr(var->varname));
      return 1;
    }
  }
  return 0;
}
