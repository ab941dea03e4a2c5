/* Lua's own tests need Lua with all its libraries: this runs the file `driver.lua`. It is compiled as the
 * filter is, from the same source with the same `noeh.h`, and goes through the same pass. */
#include <stdio.h>
#include <time.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

/* `os.clock`, which this Lua does not have on WASI. */
static int clock_of_os(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
  return 1;
}

/* Always the same, so that a run can be repeated. */
unsigned lua_seed(void) { return 5489; }

static int traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* Zero if the file ended well; else its error is on standard error. */
__attribute__((export_name("run"))) int run(void) {
  lua_State *L = luaL_newstate();
  if (L == NULL) return 1;
  luaL_openlibs(L);
  lua_getglobal(L, "os");
  lua_pushcfunction(L, clock_of_os);
  lua_setfield(L, -2, "clock");
  lua_pop(L, 1);
  lua_pushcfunction(L, traceback);
  int failed = luaL_loadfile(L, "driver.lua") != LUA_OK || lua_pcall(L, 0, 0, 1) != LUA_OK;
  if (failed) fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  fflush(NULL);
  return failed;
}
