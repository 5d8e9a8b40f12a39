//! `time()` and `sleep(seconds)`.

use crate::call::{Call, Error, Returned};
use crate::host::time;
use crate::lua::Lua;
use crate::task::{Pending, wait_lasting};
use crate::value::nanoseconds;
use crate::{function, waiting};

pub fn register(lua: Lua) {
    lua.push_globals();
    lua.push_function(function!(now, 0));
    lua.raw_set(-2, "time");
    lua.push_function(waiting!(sleep, 1));
    lua.raw_set(-2, "sleep");
    lua.pop(1);
}

fn now(call: Call) -> Returned {
    call.lua().push_number(time::now() as f64 / 1e9);
    Ok(1)
}

pub fn sleep(call: Call) -> Result<Pending, Error> {
    let seconds = call.number(1)?;
    let Some(nanoseconds) = nanoseconds(seconds) else {
        return Err(Error::Argument(1, format!("{seconds} is not a number of seconds from 0 on")));
    };
    wait_lasting(async move {
        time::sleep(nanoseconds).await;
        Ok(|_: Call| Ok(0))
    })
}
