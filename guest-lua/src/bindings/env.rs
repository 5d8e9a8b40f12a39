//! `env`: the environment variables of the run.

use crate::call::{Call, Returned, library};
use crate::function;
use crate::host::env;
use crate::lua::Lua;
use crate::value;

pub fn register(lua: Lua) {
    library(
        lua,
        "env",
        &[
            ("get", function!(get, 1)),
            ("set", function!(set, 2)),
            ("unset", function!(unset, 1)),
            ("list", function!(list, 0)),
            ("home", function!(home, 0)),
            ("cwd", function!(cwd, 0)),
        ],
    );
}

fn push_variable(call: Call, name: &str) -> Returned {
    match env::get(name)? {
        Some(value) => call.lua().push_bytes(&value),
        None => call.lua().push_nil(),
    }
    Ok(1)
}

/// `env.get(name)`, and `os.getenv(name)`.
pub fn get(call: Call) -> Returned {
    let name = call.bytes(1)?;
    match std::str::from_utf8(name) {
        Ok(name) => push_variable(call, name),
        // No variable that a script can be granted has such a name.
        Err(_) => {
            call.lua().push_nil();
            Ok(1)
        }
    }
}

fn set(call: Call) -> Returned {
    let name = call.str(1)?;
    env::set(name, call.opt_bytes(2)?)?;
    Ok(0)
}

fn unset(call: Call) -> Returned {
    env::set(call.str(1)?, None)?;
    Ok(0)
}

fn list(call: Call) -> Returned {
    let lua = call.lua();
    let variables = env::list()?;
    value::push_list(lua, variables.iter(), |variable| {
        lua.new_table(0, 2);
        lua.push_str(&variable.key);
        lua.raw_set(-2, "key");
        lua.push_bytes(&variable.value);
        lua.raw_set(-2, "value");
    });
    Ok(1)
}

fn home(call: Call) -> Returned {
    push_variable(call, "HOME")
}

fn cwd(call: Call) -> Returned {
    call.lua().push_str(&env::cwd()?);
    Ok(1)
}
