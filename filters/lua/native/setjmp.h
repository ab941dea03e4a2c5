/* Lua's ldo.c includes this; noeh.h defines what it would use of it. */
