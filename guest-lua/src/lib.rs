//! Lua 5.5 as a WebAssembly component: the interpreter, its libraries, and the bindings of the
//! host's capabilities. See ARCHITECTURE.md.

mod alloc;
mod bindings;
mod call;
mod embedding;
mod fault;
mod ffi;
mod lines;
mod lua;
mod options;
mod payload;
mod region;
mod repl;
mod run;
mod scheduler;
mod signals;
mod state;
mod task;
mod userdata;
mod value;
mod work;

#[allow(clippy::too_many_arguments, reason = "the bindings are generated")]
mod wit {
    wit_bindgen::generate!({
        path: "../wit",
        world: "guest",
        generate_all,
    });
}

/// The host's interfaces.
mod host {
    pub(crate) use super::wit::assay::host::*;
}

// Lua's errors leave Rust frames without running their destructors, which is sound because panics end the instance. With
// panics that unwind the two would meet.
#[cfg(panic = "unwind")]
compile_error!("the guest is built with panic = \"abort\" only, as `cargo xtask guest` does");

struct Component;

impl wit::Guest for Component {
    fn init() {
        state::init();
    }

    async fn run(job: host::script::Job) -> Result<host::script::Outcome, host::script::Failure> {
        run::run(job).await
    }
}

wit::export!(Component with_types_in wit);
