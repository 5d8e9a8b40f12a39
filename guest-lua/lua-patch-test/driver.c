/*
** Test driver for the patches. Compiled against stock sources, and against
** the sources with each prefix of the series, with -DFIELDS, -DBUDGET,
** -DSUSPENSION and -DFREEZE from the patches of these names on. It runs
** each script given in the command line as a task, as the real host does:
** in a coroutine resumed with 'lua_resume(co, NULL, ...)'. With SUSPENSION,
** every tick asks for a suspension and 'sleep' suspends its task; without
** it 'sleep' just returns. All ways a script has to print the same.
**
**   driver script...            run scripts
**   driver -gap ms file         run each chunk of 'file' (separated by
**                               lines '----') for at most 'ms' and print
**                               the largest time between two ticks
**   driver -oom file            run each chunk of 'file' again and again,
**                               refusing all memory from its first, second,
**                               third... allocation on: it must end in
**                               "not enough memory", or not notice
*/
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"

#define MAXTASKS	100

static lua_State *task[MAXTASKS];
static int ntasks = 0;
static int blocked = 0;  /* calls to 'lua_onblock' */
static int resumes = 0;  /* suspensions that came up to the scheduler */


/* allocations that still succeed; negative is no limit */
static long allowed = -1;

static void *alloc (void *ud, void *ptr, size_t osize, size_t nsize) {
  (void)ud;
  if (nsize == 0) { free(ptr); return NULL; }
  if (ptr == NULL) osize = 0;
  if (nsize > osize && allowed >= 0 && allowed-- == 0) {
    allowed = 0;
    return NULL;
  }
  return realloc(ptr, nsize);
}


#if defined(BUDGET)

static int ask (lua_State *L) { (void)L; return 1; }

#endif


#if defined(SUSPENSION)

static void onblock (lua_State *L) {
  (void)L;
  if (lua_suspending) { printf("FAIL: flag set in onblock\n"); exit(1); }
  blocked++;
}

static int sleepk (lua_State *L, int status, lua_KContext ctx) {
  (void)status; (void)ctx;
  return lua_gettop(L);
}

static int f_sleep (lua_State *L) {
  if (lua_isyieldable(L))
    return lua_suspendk(L, 7, sleepk);
  return lua_gettop(L);
}

#else

static int f_sleep (lua_State *L) { return lua_gettop(L); }

#endif


#if defined(FIELDS)

extern lua_CFunction lua_withfields;

/* fields(): a function with fields, that gives how often it was called */
static int f_fields (lua_State *L) {
  lua_Integer n = lua_tointeger(L, lua_upvalueindex(2)) + 1;
  lua_pushinteger(L, n);
  lua_copy(L, -1, lua_upvalueindex(2));
  return 1;
}

#endif


static void addtask (lua_State *L, lua_State *co) {
  (void)L;
  if (ntasks == MAXTASKS) { printf("FAIL: too many tasks\n"); exit(1); }
  task[ntasks++] = co;
}


/* spawn(f): a new task */
static int f_spawn (lua_State *L) {
  lua_State *co = lua_newthread(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushvalue(L, -1);
  luaL_ref(L, LUA_REGISTRYINDEX);  /* (never collected) */
  addtask(L, co);
  return 1;
}


/* stats(): number of blocks and suspensions */
static int f_stats (lua_State *L) {
  lua_pushinteger(L, blocked);
  lua_pushinteger(L, resumes);
#if defined(SUSPENSION)
  lua_pushboolean(L, 1);
#else
  lua_pushboolean(L, 0);
#endif
  return 3;
}


static int runtasks (lua_State *L) {
  int res = 0;
  while (ntasks > 0) {
    int i;
    for (i = 0; i < ntasks; i++) {
      lua_State *co = task[i];
      int n, st = lua_resume(co, NULL, 0, &n);
      if (st == LUA_YIELD) {
#if defined(SUSPENSION)
        if (!lua_suspending || !lua_issuspended(co) || n != 0) {
          printf("FAIL: task yielded\n"); return 1;
        }
        lua_suspending = 0;
        resumes++;
#else
        (void)L;
        printf("FAIL: task yielded\n"); return 1;
#endif
      }
      else {
        if (st != LUA_OK) {
          printf("task error: %s\n", lua_tostring(co, -1));
          res = 1;
        }
        memmove(task + i, task + i + 1,
                (size_t)(ntasks - i - 1) * sizeof(task[0]));
        ntasks--; i--;
      }
    }
  }
  return res;
}


static lua_State *newstate (void) {
  lua_State *L = lua_newstate(alloc, NULL, 42);  /* same hashes in all runs */
  luaL_openlibs(L);
  lua_register(L, "sleep", f_sleep);
  lua_register(L, "spawn", f_spawn);
  lua_register(L, "stats", f_stats);
#if defined(FIELDS)
  lua_withfields = f_fields;
  lua_newtable(L);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, f_fields, 2);
  lua_setglobal(L, "fields");
#endif
  lua_gc(L, LUA_GCCOLLECT);
#if defined(FREEZE)
  if (!lua_freeze(L)) exit(1);
  lua_reseed(L, 42);  /* (another seed would mean another order of tables) */
#endif
  return L;
}


static int run (const char *fname) {
  lua_State *L = newstate();
  lua_State *co = lua_newthread(L);
  int res;
  luaL_ref(L, LUA_REGISTRYINDEX);
  if (luaL_loadfile(co, fname) != LUA_OK) {
    printf("%s\n", lua_tostring(co, -1));
    return 1;
  }
  addtask(L, co);
  res = runtasks(L);
  lua_close(L);
  return res;
}


#if defined(BUDGET)

static double last, start, gap, limit;
static long ticks;
static jmp_buf stop;

static double now (void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int measure (lua_State *L) {
  double t = now();
  (void)L;
  if (t - last > gap) gap = t - last;
  last = t;
  ticks++;
  if (t - start > limit) longjmp(stop, 1);
  return 0;
}

static int gaps (const char *fname) {
  static char buff[1 << 16];
  FILE *f = fopen(fname, "r");
  char *p = buff;
  if (f == NULL) return 1;
  buff[fread(buff, 1, sizeof(buff) - 1, f)] = '\0';
  fclose(f);
  lua_ontick = measure;
  while (p != NULL && *p != '\0') {
    char name[40];
    char *e = strstr(p, "\n----\n");
    lua_State *L = newstate();
    lua_State *co = lua_newthread(L);
    volatile int st = -1;
    int n;
    if (e) { *e = '\0'; e += 6; }
    sscanf(p, "-- %39s", name);
    if (luaL_loadbuffer(co, p, strlen(p), name) != LUA_OK) {
      printf("%s\n", lua_tostring(co, -1));
      return 1;
    }
    ticks = 0; gap = 0;
    start = last = now();
    if (setjmp(stop) == 0) {
      st = lua_resume(co, NULL, 0, &n);
      measure(L);
    }
    printf("%-14s gap %6.2f ms, mean %6.3f ms, %s\n", name, gap,
           (now() - start) / (double)ticks,
           st < 0 ? "stopped" : st == 0 ? "ended" : lua_tostring(co, -1));
    fflush(stdout);
    if (st >= 0) lua_close(L);  /* (a stopped state is of no more use) */
    p = e;
  }
  return 0;
}

#endif


#if defined(SUSPENSION)

static const char *chunkname;
static long chance;

static int panic (lua_State *L) {
  const char *msg = lua_tostring(L, -1);
  printf("FAIL: %s: unprotected error with allocation %ld refused: %s\n",
         chunkname, chance, msg ? msg : "(no message)");
  exit(1);
}

/* one run of a chunk as the host makes it; whether memory was refused */
static int starved (const char *code, long n) {
  lua_State *L = newstate();
  lua_State *co = lua_newthread(L);
  int st, nres, refused;
  luaL_ref(L, LUA_REGISTRYINDEX);
  lua_atpanic(L, panic);
  if (luaL_loadbuffer(co, code, strlen(code), chunkname) != LUA_OK) {
    printf("FAIL: %s\n", lua_tostring(co, -1));
    exit(1);
  }
  allowed = n;
  do {
    st = lua_resume(co, NULL, 0, &nres);
    lua_suspending = 0;
  } while (st == LUA_YIELD && lua_issuspended(co));
  refused = (allowed == 0);
  allowed = -1;
  if (st != LUA_OK && !(st == LUA_ERRMEM && refused)) {
    const char *msg = lua_tostring(co, -1);
    printf("FAIL: %s: status %d with allocation %ld refused: %s\n", chunkname,
           st, n, msg ? msg : "(no message)");
    exit(1);
  }
  lua_close(L);
  return refused;
}

static int starve (const char *fname) {
  static char buff[1 << 16];
  FILE *f = fopen(fname, "r");
  char *p = buff;
  if (f == NULL) return 1;
  buff[fread(buff, 1, sizeof(buff) - 1, f)] = '\0';
  fclose(f);
  while (p != NULL && *p != '\0') {
    static char name[40];
    char *e = strstr(p, "\n----\n");
    if (e) { *e = '\0'; e += 6; }
    sscanf(p, "-- %39s", name);
    chunkname = name;
    for (chance = 0; starved(p, chance); chance++) ;
    printf("%-14s %ld allocations refused\n", name, chance);
    fflush(stdout);
    p = e;
  }
  return 0;
}

#endif


int main (int argc, char **argv) {
  int i, res = 0;
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
#if defined(BUDGET)
  if (argc == 4 && strcmp(argv[1], "-gap") == 0) {
    limit = atof(argv[2]);
    return gaps(argv[3]);
  }
  lua_ontick = ask;
#endif
#if defined(SUSPENSION)
  if (argc == 3 && strcmp(argv[1], "-oom") == 0) {
    lua_ontick = NULL;
    return starve(argv[2]);
  }
  lua_onblock = onblock;
#endif
  for (i = 1; i < argc; i++)
    res |= run(argv[i]);
  fprintf(stderr, "%s: %d suspensions, %d blocks\n", argv[argc - 1],
          resumes, blocked);
  return res;
}
