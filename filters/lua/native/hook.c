/* The end of a script's CPU time, told as a Lua error with the line it happened at.
 *
 * The gateway counts what a callback costs and ends it, instance and all, when its budget is spent. When
 * three quarters are, it calls `tollgate_on_budget_low`, from wherever the guest is: any loop of Lua's or
 * ours. That installs a hook, as a signal handler would (Lua allows it), and the next instruction of the
 * script raises an error. A script that stays within its budget pays nothing for this. */
#include "noeh.h"

#include "lua.h"
#include "lauxlib.h"

extern struct lua_State *volatile lua_running;

/* Whether the callback that runs has little time left. Cleared by `lua_budget_begin`, also when the script
   was stopped and what follows is ours. */
static volatile int is_low;

void lua_budget_begin(void) { is_low = 0; }
_Bool lua_budget_is_low(void) { return is_low != 0; }

/* Pushes the place in the script: that of the innermost function in Lua. */
static void where(lua_State *L) {
  lua_Debug at;
  for (int level = 0; lua_getstack(L, level, &at); level++) {
    lua_getinfo(L, "Sl", &at);
    if (at.currentline > 0) {
      lua_pushfstring(L, "%s:%d: ", at.short_src, at.currentline);
      return;
    }
  }
  lua_pushliteral(L, "");
}

static void stop(lua_State *L, lua_Debug *event) {
  (void)event;
  if (!is_low) { /* a thread that outlived the callback it was stopped in */
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  where(L);
  lua_pushliteral(L, "the CPU budget is used up");
  lua_concat(L, 2);
  lua_error(L);
}

__attribute__((noinline)) static void install(void) {
  lua_State *L = lua_running;
  is_low = 1;
  if (L != NULL) lua_sethook(L, stop, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

/* A function without calls may keep 128 bytes below the stack's end without saying so, and this is called
   from inside such functions: the array keeps `install` off them. Nothing writes to it. */
__attribute__((export_name("tollgate_on_budget_low"))) void tollgate_on_budget_low(void) {
  volatile char red_zone[128];
  __asm__ volatile("" ::"r"(red_zone) : "memory");
  install();
}
