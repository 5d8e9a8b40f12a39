//! The part of Lua 5.5's C API that the guest uses (reference manual, sections 4 and 5), and the
//! entry points that the patches add. What runs code of the script is in `lua.rs`.

#![allow(non_camel_case_types, reason = "the names are Lua's")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null;

pub enum lua_State {}

/// What `lua_getinfo` fills in, as far as it is looked at.
#[repr(C)]
pub struct lua_Debug {
    pub event: c_int,
    pub name: *const c_char,
    pub namewhat: *const c_char,
    rest: [usize; 64],
}

impl Default for lua_Debug {
    fn default() -> lua_Debug {
        lua_Debug { event: 0, name: null(), namewhat: null(), rest: [0; 64] }
    }
}

pub type lua_CFunction = unsafe extern "C" fn(*mut lua_State) -> c_int;
pub type lua_KContext = isize;
pub type lua_KFunction = unsafe extern "C" fn(*mut lua_State, c_int, lua_KContext) -> c_int;
pub type lua_Alloc = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize) -> *mut c_void;
pub type lua_Protected = unsafe extern "C" fn(*mut lua_State, *mut c_void);
pub type lua_WarnFunction = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

pub const LUA_OK: c_int = 0;
pub const LUA_YIELD: c_int = 1;
pub const LUA_ERRMEM: c_int = 4;
pub const LUA_REGISTRYINDEX: c_int = -(c_int::MAX / 2 + 1000);
pub const LUA_RIDX_GLOBALS: i64 = 2;
/// What `lua_frame` gives the sum of, beside 1 for every frame.
pub const FRAME_TAIL: c_int = 2;
pub const FRAME_C: c_int = 4;
pub const FRAME_NAMED: c_int = 8;
pub const LUA_OPEQ: c_int = 0;
pub const LUA_OPLT: c_int = 1;

pub const LUA_TNIL: c_int = 0;
pub const LUA_TBOOLEAN: c_int = 1;
pub const LUA_TLIGHTUSERDATA: c_int = 2;
pub const LUA_TNUMBER: c_int = 3;
pub const LUA_TSTRING: c_int = 4;
pub const LUA_TTABLE: c_int = 5;
pub const LUA_TFUNCTION: c_int = 6;
pub const LUA_TUSERDATA: c_int = 7;

pub const fn lua_upvalueindex(i: c_int) -> c_int {
    LUA_REGISTRYINDEX - i
}

unsafe extern "C" {
    pub fn lua_newstate(f: lua_Alloc, ud: *mut c_void, seed: c_uint) -> *mut lua_State;
    pub fn lua_newthread(l: *mut lua_State) -> *mut lua_State;
    pub fn lua_closethread(l: *mut lua_State, from: *mut lua_State) -> c_int;

    pub fn lua_absindex(l: *mut lua_State, idx: c_int) -> c_int;
    pub fn lua_gettop(l: *mut lua_State) -> c_int;
    pub fn lua_getstack(l: *mut lua_State, level: c_int, about: *mut lua_Debug) -> c_int;
    pub fn lua_getinfo(l: *mut lua_State, what: *const c_char, about: *mut lua_Debug) -> c_int;
    pub fn lua_settop(l: *mut lua_State, idx: c_int);
    pub fn lua_pushvalue(l: *mut lua_State, idx: c_int);
    pub fn lua_rotate(l: *mut lua_State, idx: c_int, n: c_int);
    pub fn lua_copy(l: *mut lua_State, from: c_int, to: c_int);
    pub fn lua_checkstack(l: *mut lua_State, n: c_int) -> c_int;
    pub fn lua_xmove(from: *mut lua_State, to: *mut lua_State, n: c_int);

    pub fn lua_isinteger(l: *mut lua_State, idx: c_int) -> c_int;
    pub fn lua_type(l: *mut lua_State, idx: c_int) -> c_int;
    pub fn lua_tonumberx(l: *mut lua_State, idx: c_int, isnum: *mut c_int) -> f64;
    pub fn lua_tointegerx(l: *mut lua_State, idx: c_int, isnum: *mut c_int) -> i64;
    pub fn lua_toboolean(l: *mut lua_State, idx: c_int) -> c_int;
    pub fn lua_tolstring(l: *mut lua_State, idx: c_int, len: *mut usize) -> *const c_char;
    pub fn lua_rawlen(l: *mut lua_State, idx: c_int) -> u64;
    pub fn lua_touserdata(l: *mut lua_State, idx: c_int) -> *mut c_void;
    pub fn lua_tocfunction(l: *mut lua_State, idx: c_int) -> Option<lua_CFunction>;
    pub fn lua_getupvalue(l: *mut lua_State, funcindex: c_int, n: c_int) -> *const c_char;
    pub fn lua_upvaluejoin(l: *mut lua_State, func1: c_int, n1: c_int, func2: c_int, n2: c_int);
    pub fn lua_rawequal(l: *mut lua_State, a: c_int, b: c_int) -> c_int;

    pub fn lua_pushnil(l: *mut lua_State);
    pub fn lua_pushnumber(l: *mut lua_State, n: f64);
    pub fn lua_pushinteger(l: *mut lua_State, n: i64);
    pub fn lua_pushlstring(l: *mut lua_State, s: *const c_char, len: usize) -> *const c_char;
    pub fn lua_pushcclosure(l: *mut lua_State, f: lua_CFunction, n: c_int);
    pub fn lua_pushboolean(l: *mut lua_State, b: c_int);

    pub fn lua_rawget(l: *mut lua_State, idx: c_int) -> c_int;
    pub fn lua_rawgeti(l: *mut lua_State, idx: c_int, n: i64) -> c_int;
    pub fn lua_rawgetp(l: *mut lua_State, idx: c_int, p: *const c_void) -> c_int;
    pub fn lua_createtable(l: *mut lua_State, narr: c_int, nrec: c_int);
    pub fn lua_newuserdatauv(l: *mut lua_State, size: usize, nuvalue: c_int) -> *mut c_void;
    pub fn lua_getmetatable(l: *mut lua_State, idx: c_int) -> c_int;

    pub fn lua_rawset(l: *mut lua_State, idx: c_int);
    pub fn lua_rawseti(l: *mut lua_State, idx: c_int, n: i64);
    pub fn lua_rawsetp(l: *mut lua_State, idx: c_int, p: *const c_void);
    pub fn lua_setmetatable(l: *mut lua_State, idx: c_int) -> c_int;

    pub fn lua_pcallk(
        l: *mut lua_State,
        nargs: c_int,
        nresults: c_int,
        msgh: c_int,
        ctx: lua_KContext,
        k: Option<lua_KFunction>,
    ) -> c_int;
    pub fn lua_resume(l: *mut lua_State, from: *mut lua_State, nargs: c_int, nres: *mut c_int) -> c_int;
    pub fn lua_status(l: *mut lua_State) -> c_int;
    pub fn lua_isyieldable(l: *mut lua_State) -> c_int;

    pub fn lua_setwarnf(l: *mut lua_State, f: Option<lua_WarnFunction>, ud: *mut c_void);
    pub fn lua_gc(l: *mut lua_State, what: c_int, ...) -> c_int;
    pub fn lua_next(l: *mut lua_State, idx: c_int) -> c_int;

    pub fn luaL_argerror(l: *mut lua_State, arg: c_int, message: *const c_char) -> c_int;
    pub fn luaL_typeerror(l: *mut lua_State, arg: c_int, expected: *const c_char) -> c_int;
    pub fn luaL_ref(l: *mut lua_State, t: c_int) -> c_int;
    pub fn luaL_unref(l: *mut lua_State, t: c_int, r: c_int);
    pub fn luaL_where(l: *mut lua_State, level: c_int);
    pub fn luaL_loadbufferx(
        l: *mut lua_State,
        buffer: *const c_char,
        len: usize,
        name: *const c_char,
        mode: *const c_char,
    ) -> c_int;
    pub fn luaL_requiref(l: *mut lua_State, name: *const c_char, open: lua_CFunction, global: c_int);

    pub fn luaopen_base(l: *mut lua_State) -> c_int;
    pub fn luaopen_coroutine(l: *mut lua_State) -> c_int;
    pub fn luaopen_debug(l: *mut lua_State) -> c_int;
    pub fn luaopen_math(l: *mut lua_State) -> c_int;
    pub fn luaopen_string(l: *mut lua_State) -> c_int;
    pub fn luaopen_table(l: *mut lua_State) -> c_int;
    pub fn luaopen_utf8(l: *mut lua_State) -> c_int;

    // From the patches.
    pub static mut lua_ontick: Option<unsafe extern "C" fn(*mut lua_State) -> c_int>;
    pub static mut lua_onblock: Option<unsafe extern "C" fn(*mut lua_State)>;
    pub static mut lua_suspending: c_int;
    pub static mut lua_withfields: Option<lua_CFunction>;
    pub fn lua_freeze(l: *mut lua_State) -> c_int;
    pub fn lua_reseed(l: *mut lua_State, seed: c_uint);
    pub fn lua_softerror(l: *mut lua_State) -> c_int;
    pub fn lua_suspendk(l: *mut lua_State, ctx: lua_KContext, k: lua_KFunction) -> c_int;

    // From csrc/onelua.c.
    pub fn lua_protect(l: *mut lua_State, f: lua_Protected, ud: *mut c_void) -> c_int;
    pub fn lua_nomemory(l: *mut lua_State) -> !;
    pub fn lua_reclaim(l: *mut lua_State) -> c_int;
    pub fn lua_finalize(l: *mut lua_State);
    pub fn lua_inner(l: *mut lua_State) -> *mut lua_State;
    pub fn lua_frame(l: *mut lua_State, of: *mut lua_State, level: c_int) -> c_int;
    pub fn lua_lastlevel(l: *mut lua_State) -> c_int;
    pub fn lua_lastlocal(l: *mut lua_State, n: c_int) -> c_int;
}
