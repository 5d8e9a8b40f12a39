//! Objects of JSON of which only some members matter: the others may be whatever JSON allows, such as a number that
//! fits no float.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The members of an object, not read yet. Of several of one name the last counts.
#[derive(Debug)]
pub struct Object(BTreeMap<String, Box<RawValue>>);

impl Object {
    /// # Errors
    /// Where the text is no JSON, or no object.
    pub fn parse(json: &[u8]) -> Result<Object, serde_json::Error> {
        serde_json::from_slice(json).map(Object)
    }

    /// The JSON text of a member.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// A member that is a string.
    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(string)
    }

    /// A member that is a list: the JSON texts of its items.
    pub fn list(&self, name: &str) -> Option<Vec<Box<RawValue>>> {
        self.raw(name).and_then(|json| serde_json::from_str(json).ok())
    }

    /// A member that is a number, if a float holds it.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.raw(name).and_then(|json| json.parse().ok()).filter(|number: &f64| number.is_finite())
    }

    /// The JSON text of an object of those of its members that are named here.
    pub fn only(&self, names: &[&str]) -> String {
        let members = names.iter().filter_map(|name| Some(format!("\"{name}\":{}", self.raw(name)?)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// Sets a member to a string.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), serde_json::Error> {
        self.0.insert(name.to_string(), serde_json::value::to_raw_value(text)?);
        Ok(())
    }

    /// The JSON text of all.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.0)
    }
}

/// The string that a JSON text is.
pub fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}
