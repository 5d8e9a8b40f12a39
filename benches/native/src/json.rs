//! `json.parse(text)` and `json.encode(value)`, without a tree in between.

use mlua::serde::{SerializeOptions, Serializer};
use mlua::{Lua, LuaString, Result, Table, Value};

pub fn library(lua: &Lua) -> Result<Table> {
    let json = lua.create_table()?;
    json.set("parse", lua.create_function(parse)?)?;
    json.set("encode", lua.create_function(encode)?)?;
    Ok(json)
}

fn parse(lua: &Lua, text: LuaString) -> Result<Value> {
    let options = SerializeOptions::new().set_array_metatable(false);
    let text = text.as_bytes();
    let mut parser = serde_json::Deserializer::from_slice(&text);
    let value = serde_transcode::transcode(&mut parser, Serializer::new_with_options(lua, options))?;
    parser.end().map_err(mlua::Error::external)?;
    Ok(value)
}

/// Keys are sorted, as the guest does.
fn encode(_: &Lua, value: Value) -> Result<String> {
    serde_json::to_string(&value.to_serializable().sort_keys(true)).map_err(mlua::Error::external)
}
