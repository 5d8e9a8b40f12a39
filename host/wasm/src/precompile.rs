//! `assay-precompile GUEST.wasm OUT.cwasm`: a step of `cargo xtask guest`.

use wasmtime::error::Context as _;

fn main() -> wasmtime::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(guest), Some(out)) = (args.next(), args.next()) else {
        eprintln!("usage: assay-precompile GUEST.wasm OUT.cwasm");
        std::process::exit(64);
    };
    let component = std::fs::read(&guest).with_context(|| format!("cannot read {guest}"))?;
    let snapshot = tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(assay_wasm::compile::snapshot(&component))?;
    let code = assay_wasm::compile::precompile(&snapshot)?;
    println!("guest {} bytes, snapshot {}, compiled {}", component.len(), snapshot.len(), code.len());
    std::fs::write(&out, code).with_context(|| format!("cannot write {out}"))?;
    Ok(())
}
