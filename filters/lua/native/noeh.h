/* Errors without longjmp, put in front of every file of Lua: see noeh.c. The rest is what Lua leaves to
   its embedder to define. */
#ifndef NOEH_H
#define NOEH_H

#include <stddef.h>

struct lua_State;

void noeh_throw(void) __attribute__((noreturn));
void noeh_catch(void (*f)(struct lua_State *, void *), struct lua_State *L, void *ud);

#define luai_jmpbuf int
#define LUAI_THROW(L, c) noeh_throw()
#define LUAI_TRY(L, c, a) noeh_protect(f, L, ud);
void noeh_protect(void (*f)(struct lua_State *, void *), struct lua_State *L, void *ud);

/* Seeds the hashes of strings, which decide where a client's strings go in tables: not to be guessed. */
unsigned int lua_seed(void);
#define luai_makeseed(L) ((void)(L), lua_seed())

/* There are no signals, and the decimal point is a point. */
#define l_signalT int
#define lua_getlocaledecpoint() '.'

/* The glue has its own `print`; nothing else writes. */
#define lua_writestring(s, l) ((void)0)
#define lua_writeline() ((void)0)
#define lua_writestringerror(s, p) ((void)0)

#endif
