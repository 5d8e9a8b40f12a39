//! `apt`: packages of Debian and its descendants.

use super::process::{set_written, unbounded};
use crate::call::{Call, Error, Fields, library};
use crate::host::apt::{self, Action, Choices, Package, Source};
use crate::lua::Lua;
use crate::task::{Pending, wait};
use crate::value;
use crate::waiting;

pub fn register(lua: Lua) {
    library(
        lua,
        "apt",
        &[
            ("query", waiting!(query, 2)),
            ("list_installed", waiting!(list_installed, 1)),
            ("list_upgradable", waiting!(list_upgradable, 1)),
            ("add_source", waiting!(add_source, 1)),
            ("update", waiting!(update, 1)),
            ("install", waiting!(install, 1)),
            ("remove", waiting!(remove, 1)),
        ],
    );
}

fn set_texts(lua: Lua, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        lua.push_str(value);
        lua.raw_set(-2, name);
    }
}

fn set_package(lua: Lua, package: &Package) {
    set_texts(lua, &[("version", &package.version), ("architecture", &package.architecture)]);
}

fn root(options: Option<Fields>) -> Result<Option<String>, Error> {
    options.map_or(Ok(None), |options| options.string("root"))
}

fn query(call: Call) -> Result<Pending, Error> {
    let (name, root) = (call.string(1)?, root(call.opt_options(2, &["root"])?)?);
    wait(async move {
        let package = apt::query(name, root).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            lua.new_table(0, 3);
            lua.push_bool(package.is_some());
            lua.raw_set(-2, "installed");
            if let Some(package) = &package {
                set_package(lua, package);
            }
            Ok(1)
        })
    })
}

fn list_installed(call: Call) -> Result<Pending, Error> {
    let root = root(call.opt_options(1, &["root"])?)?;
    wait(async move {
        let packages = apt::installed(root).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, packages.iter(), |package| {
                lua.new_table(0, 3);
                set_texts(lua, &[("name", &package.name)]);
                set_package(lua, package);
            });
            Ok(1)
        })
    })
}

fn list_upgradable(call: Call) -> Result<Pending, Error> {
    let root = root(call.opt_options(1, &["root"])?)?;
    wait(async move {
        let upgrades = apt::upgradable(root).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            value::push_list(lua, upgrades.iter(), |upgrade| {
                lua.new_table(0, 5);
                set_texts(
                    lua,
                    &[
                        ("name", &upgrade.name),
                        ("current", &upgrade.current),
                        ("candidate", &upgrade.candidate),
                        ("architecture", &upgrade.architecture),
                    ],
                );
                if let Some(suite) = &upgrade.suite {
                    set_texts(lua, &[("suite", suite)]);
                }
            });
            Ok(1)
        })
    })
}

fn required(options: Fields, name: &str) -> Result<String, Error> {
    options.string(name)?.ok_or_else(|| options.invalid(name, "string expected, got nil"))
}

fn add_source(call: Call) -> Result<Pending, Error> {
    let options = call.options(1, &["id", "source_list", "key_path", "root"])?;
    let source = Source {
        id: required(options, "id")?,
        text: required(options, "source_list")?,
        key: options.string("key_path")?,
        root: options.string("root")?,
    };
    wait(async move {
        let added = apt::add_source(source).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            lua.new_table(0, 3);
            lua.push_bool(added.changed);
            lua.raw_set(-2, "changed");
            set_texts(lua, &[("list_path", &added.list_path)]);
            if let Some(path) = &added.key_path {
                set_texts(lua, &[("key_path", path)]);
            }
            Ok(1)
        })
    })
}

/// The options of everything that changes the system.
const CHANGE_OPTIONS: [&str; 3] = ["root", "timeout", "lock_timeout"];

fn change(action: Action, options: Option<Fields>) -> Result<Pending, Error> {
    let mut choices = Choices::empty();
    let (mut names, mut root, mut timeout, mut lock_timeout) = (Vec::new(), None, None, None);
    if let Some(options) = options {
        for (name, choice) in [
            ("only_upgrade", Choices::ONLY_UPGRADE),
            ("allow_downgrades", Choices::ALLOW_DOWNGRADES),
            ("purge", Choices::PURGE),
            ("autoremove", Choices::AUTOREMOVE),
        ] {
            if options.boolean(name)?.unwrap_or(false) {
                choices = choices | choice;
            }
        }
        if !options.boolean("recommends")?.unwrap_or(true) {
            choices = choices | Choices::NO_RECOMMENDS;
        }
        if action != Action::Update {
            let wanted = "list of strings expected, got nil";
            names = options.strings("names")?.ok_or_else(|| options.invalid("names", wanted))?;
        }
        root = options.string("root")?;
        timeout = unbounded(options.number("timeout")?);
        lock_timeout = unbounded(options.number("lock_timeout")?);
        for name in ["timeout", "lock_timeout"] {
            options.seconds(name).map_err(super::compress::as_failure("apt"))?;
        }
    }
    wait(async move {
        let mut output = apt::change(action, names, choices, root, timeout, lock_timeout).await?;
        Ok(move |call: Call| {
            let lua = call.lua();
            lua.new_table(0, 4);
            lua.push_integer(output.status.into());
            lua.raw_set(-2, "status");
            lua.push_bool(output.timed_out);
            lua.raw_set(-2, "timed_out");
            set_written(lua, &mut output.stdout, &mut output.stderr)?;
            Ok(1)
        })
    })
}

fn update(call: Call) -> Result<Pending, Error> {
    change(Action::Update, call.opt_options(1, &CHANGE_OPTIONS)?)
}

fn install(call: Call) -> Result<Pending, Error> {
    let own = ["only_upgrade", "recommends", "allow_downgrades"];
    change(Action::Install, Some(call.options(1, &[&["names"], &own[..], &CHANGE_OPTIONS].concat())?))
}

fn remove(call: Call) -> Result<Pending, Error> {
    let own = ["names", "purge", "autoremove"];
    change(Action::Remove, Some(call.options(1, &[&own[..], &CHANGE_OPTIONS].concat())?))
}
