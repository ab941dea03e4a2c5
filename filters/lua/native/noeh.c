/* Throw and catch for Lua, without longjmp and without Wasm's exceptions.
 *
 * The pass in `noeh/` rewrites the linked module: `noeh_throw` comes to set a global and return, every
 * call that may throw is followed by "if it is set, return", and `noeh_catch` clears it. What stands here
 * only gives the pass something to find: the assembly lines keep the compiler from seeing through it. */
#include "noeh.h"

__attribute__((noinline, noreturn, export_name("noeh_throw"))) void noeh_throw(void) {
  __asm__ volatile("" ::: "memory");
  __builtin_trap();
}

__attribute__((noinline, export_name("noeh_catch")))
void noeh_catch(void (*f)(struct lua_State *, void *), struct lua_State *L, void *ud) {
  f(L, ud);
  __asm__ volatile("" ::: "memory");
}

/* The thread (coroutine) that runs. Lua enters every one through a catch. */
struct lua_State *volatile lua_running;

__attribute__((noinline))
void noeh_protect(void (*f)(struct lua_State *, void *), struct lua_State *L, void *ud) {
  struct lua_State *outer = lua_running;
  lua_running = L;
  noeh_catch(f, L, ud);
  lua_running = outer;
}
