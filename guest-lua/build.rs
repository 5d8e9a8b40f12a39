//! Compiles the patched Lua sources for the component. `cargo xtask guest` sets the environment.

use std::path::Path;

const SETJMP_FLAGS: [&str; 6] =
    ["-mllvm", "-wasm-enable-eh", "-mllvm", "-wasm-use-legacy-eh=false", "-mllvm", "-wasm-enable-sjlj"];

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-env-changed=ASSAY_LUA_DIR");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("wasm32") {
        return;
    }
    let Ok(dir) = std::env::var("ASSAY_LUA_DIR") else {
        println!("cargo:warning=the guest is built by `cargo xtask guest`, which sets ASSAY_LUA_DIR");
        std::process::exit(1);
    };
    println!("cargo:rerun-if-changed={dir}");

    let unit = |inline_threshold: u32| {
        let mut lua = cc::Build::new();
        lua.warnings(false)
            .opt_level(3)
            .include(&dir)
            .define("LUA_USE_JUMPTABLE", "0") // a switch: wasm has no computed goto
            .define("luai_makeseed()", "0") // each instance is seeded by its host, not by the clock
            .define("_WASI_EMULATED_SIGNAL", None)
            .define("_WASI_EMULATED_PROCESS_CLOCKS", None)
            .flag("-fno-sanitize=undefined")
            .flag("-mllvm")
            .flag(format!("-inline-threshold={inline_threshold}"));
        for flag in SETJMP_FLAGS {
            lua.flag(flag);
        }
        lua
    };
    // A call costs more in wasm than natively, so everything is inlined eagerly, except the interpreter's loop:
    // what is inlined there takes the registers of the loop itself (fib and n-body are 4% slower).
    unit(600).file("csrc/onelua.c").compile("lua");
    unit(10).file(Path::new(&dir).join("lvm.c")).compile("luavm");

    // rustup's libc for wasip2 has neither setjmp nor the tag that longjmp throws.
    let mut runtime = cc::Build::new();
    for flag in SETJMP_FLAGS {
        runtime.flag(flag);
    }
    runtime.warnings(false).opt_level(3).file(Path::new("csrc/setjmp.c")).compile("setjmp");
}
