//! `cargo xtask new capability NAME`.

use crate::codegen;
use crate::shell::{Result, root, write};

pub fn capability(name: &str) -> Result<u8> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !plain {
        return Err(format!("'{name}' is not a capability's name: lower-case letters and '_'"));
    }
    if codegen::capabilities()?.contains(name) {
        return Err(format!("there is a capability {name} already"));
    }
    let kind = codegen::type_name(name);
    for (path, text) in [
        (format!("wit/{name}.wit"), WIT),
        (format!("capabilities/{name}/Cargo.toml"), MANIFEST),
        (format!("capabilities/{name}/src/lib.rs"), HOST),
        (format!("guest-lua/src/bindings/{name}.rs"), BINDING),
        (format!("tests/capability/{name}.lua"), PAGE),
    ] {
        let text = text.replace("NAME", name).replace("KIND", &kind);
        let path = root().join(path);
        write(&path, text.as_bytes())?;
        eprintln!("xtask: wrote {}", path.display());
    }
    codegen::generate()
}

const WIT: &str = "package assay:host@0.1.0;

/// What the capability is for.
interface NAME {
  use types.{error};

  /// Gives back what it gets.
  echo: async func(text: string) -> result<string, error>;
}
";

const MANIFEST: &str = "[package]
name = \"assay-capability-NAME\"
description = \"What the capability is for\"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true

[lib]
doctest = false

[dependencies]
assay-capability-api.workspace = true
wasmtime.workspace = true

[lints]
workspace = true
";

const HOST: &str = "//! What the capability is for.

use assay_capability_api::{Capability, Ctx, HostResult, Linker, Literal, Need, Request};
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf};

mod bindings {
    wasmtime::component::bindgen!({
        inline: \"package assay:capability; world capability { import assay:host/NAME@0.1.0; }\",
        path: \"../../wit\",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { \"assay:host/types.error\" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: { \"assay:host/types@0.1.0\": assay_capability_api::types },
    });
}

use bindings::assay::host::NAME;

/// The capability `NAME`.
pub struct KIND;

impl Capability for KIND {
    fn name(&self) -> &'static str {
        \"NAME\"
    }

    fn summary(&self) -> &'static str {
        \"what the capability is for\"
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[Need::new(\"NAME.*\", Literal::Whole)];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        NAME::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

impl NAME::Host for Ctx {}

impl NAME::HostWithStore<Ctx> for HasSelf<Ctx> {
    async fn echo(accessor: &Accessor<Ctx, Self>, text: String) -> HostResult<String> {
        let run = accessor.with(|mut access| access.get().run.clone());
        run.check(\"NAME\", &Request::Whole)?;
        Ok(text)
    }
}
";

const BINDING: &str = "//! `NAME`: what the capability is for.

use crate::call::{Call, Error, library};
use crate::host::NAME;
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::waiting;

pub fn register(lua: Lua) {
    library(lua, \"NAME\", &[(\"echo\", waiting!(echo))]);
}

fn echo(call: Call) -> Result<Pending, Error> {
    let text = call.str(1)?.to_string();
    wait(async move {
        let text = NAME::echo(text).await?;
        Ok(move |call: Call| {
            call.lua().push_str(&text);
            Ok(1)
        })
    })
}
";

const PAGE: &str = "--- # NAME
--- What the capability is for.
---
--- ## NAME.echo(text) -> string
--- Gives back what it gets.

--# example: it gives back what it gets
--# allow: NAME
assert.eq(NAME.echo(\"x\"), \"x\")

--# case: denied without a grant
local ok, err = pcall(NAME.echo, \"x\")
assert.eq(ok, false)
assert.eq(err.code, \"denied\")
assert.contains(err.message, \"--allow NAME\")
";
