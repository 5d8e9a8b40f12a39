//! The arguments of a call, as far as the source says what they are.

use assay_capability_api::network::place;
use assay_capability_api::{Literal, Need};

/// What an expression is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A string or number.
    Text(String),
    /// A string that goes on with something that only the run knows.
    Prefix(String),
    /// Names and values; what has no name is an item.
    Table(Vec<(Option<String>, Value)>),
    /// `true`, or `false` and `nil`: an option that is switched, or left out.
    Switch(bool),
    /// What the guest has under this path: `http`, `http.get`.
    Builtin(String),
    /// What the guest has not, unless the script makes it: a global, or a field of a library.
    Missing(String),
    Unknown,
}

impl Value {
    /// Whether it is sure to count as true.
    pub(super) fn is_true(&self) -> bool {
        !matches!(self, Value::Switch(_) | Value::Missing(_) | Value::Unknown)
    }

    /// Whether only a run knows what it is.
    fn is_computed(&self) -> bool {
        matches!(self, Value::Missing(_) | Value::Unknown)
    }

    /// `self .. next`.
    pub(super) fn followed_by(self, next: &Value) -> Value {
        match (self, next) {
            (Value::Text(text), Value::Text(next)) => Value::Text(text + next),
            (Value::Text(text), Value::Prefix(next)) => Value::Prefix(text + next),
            (Value::Text(text) | Value::Prefix(text), _) => Value::Prefix(text),
            _ => Value::Unknown,
        }
    }
}

/// What a use of a function needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    Nothing,
    /// The whole capability, whatever the arguments are.
    Whole,
    /// Some grant of it.
    Any,
    Scopes(Vec<String>),
    /// The source does not tell, for this reason.
    Unknown(String),
}

/// What a need comes to with these arguments.
pub(super) fn needed(need: &Need, arguments: &[Value]) -> Needed {
    let argument = arguments.get(need.argument);
    let found = match (need.literal, argument) {
        (Literal::Free, _) => Some(Needed::Nothing),
        (Literal::Whole, _) => Some(Needed::Whole),
        (Literal::Any, _) => Some(Needed::Any),
        (Literal::Nothing, _) => return Needed::Unknown("what it reaches is said elsewhere".into()),
        (Literal::Always(scope), _) => known(Some(scope.to_string())),
        (Literal::Option(name, scope), _) => {
            let mut found = Vec::new();
            arguments.iter().for_each(|value| options(value, name, &mut found));
            let all = found.into_iter().map(|value| optional(value, scope)).fold(Some(Needed::Nothing), and);
            return all.unwrap_or_else(|| Needed::Unknown(format!("its option {name} is computed")));
        }
        (Literal::With(name, scope), Some(value)) => {
            let mut found = Vec::new();
            arguments.iter().for_each(|value| options(value, name, &mut found));
            if found.iter().any(|value| value.is_computed()) {
                return Needed::Unknown(format!("its option {name} is computed"));
            }
            match found.iter().all(|value| **value == Value::Switch(false)) {
                true => Some(Needed::Nothing),
                false => scopes(value, scope),
            }
        }
        (_, None | Some(Value::Switch(_))) => Some(Needed::Nothing),
        (Literal::Unless(_), Some(Value::Table(_))) => Some(Needed::Nothing),
        (Literal::Scope(scope) | Literal::Unless(scope), Some(value)) => scopes(value, scope),
        (Literal::Url(schemes), Some(Value::Text(text))) => known(place(text, schemes)),
        (Literal::Url(schemes), Some(Value::Prefix(text))) => known(url_prefix(text, schemes)),
        (Literal::Pair(scope), Some(Value::Text(text))) => match arguments.get(need.argument + 1) {
            None | Some(Value::Switch(_)) => known(scope(text, None)),
            Some(Value::Text(next)) => known(scope(text, Some(next))),
            Some(_) => None,
        },
        (Literal::Field(name, scope), Some(Value::Table(fields))) => {
            let named = fields.iter().find(|(key, _)| key.as_deref() == Some(name));
            let first = || fields.iter().find(|(key, _)| key.is_none());
            named.or_else(first).and_then(|(_, value)| scopes(value, scope))
        }
        (Literal::Field(_, scope), Some(value)) => scopes(value, scope),
        _ => None,
    };
    found.unwrap_or_else(|| {
        let why = match argument {
            Some(Value::Text(_)) => "tells no scope",
            _ => "is computed",
        };
        Needed::Unknown(format!("its argument {} {why}", need.argument + 1))
    })
}

/// Both of two; none where one is not known.
fn and(one: Option<Needed>, other: Option<Needed>) -> Option<Needed> {
    match (one?, other?) {
        (Needed::Nothing, other) | (other, Needed::Nothing) => Some(other),
        (Needed::Scopes(mut all), Needed::Scopes(more)) => {
            all.extend(more);
            Some(Needed::Scopes(all))
        }
        _ => None,
    }
}

fn known(scope: Option<String>) -> Option<Needed> {
    scope.map(|scope| Needed::Scopes(vec![scope]))
}

/// The scope of a text, or those of each text in a list.
fn scopes(value: &Value, scope: fn(&str) -> Option<String>) -> Option<Needed> {
    match value {
        Value::Text(text) => known(scope(text)),
        Value::Switch(_) => Some(Needed::Nothing),
        Value::Table(items) if !items.is_empty() && items.iter().all(|(key, _)| key.is_none()) => {
            let texts = items.iter().map(|(_, item)| match item {
                Value::Text(text) => known(scope(text)),
                _ => None,
            });
            texts.fold(Some(Needed::Nothing), and)
        }
        _ => None,
    }
}

/// The same of an option: a text that tells no scope is a word that needs nothing, and a table with names is another
/// option's.
fn optional(value: &Value, scope: fn(&str) -> Option<String>) -> Option<Needed> {
    match value {
        Value::Text(text) => Some(scope(text).map_or(Needed::Nothing, |scope| Needed::Scopes(vec![scope]))),
        Value::Table(items) if items.is_empty() || items.iter().any(|(key, _)| key.is_some()) => {
            Some(Needed::Nothing)
        }
        other => scopes(other, scope),
    }
}

/// The fields of this name in a table and in those inside it; `stdin.file` is the field `file` of those named `stdin`.
fn options<'v>(value: &'v Value, path: &str, found: &mut Vec<&'v Value>) {
    let Value::Table(fields) = value else { return };
    let (name, field) = path.split_once('.').map_or((path, None), |(name, field)| (name, Some(field)));
    for (key, value) in fields {
        match (key.as_deref() == Some(name), field, value) {
            (true, None, _) => found.push(value),
            (true, Some(_), value) if value.is_computed() => found.push(value),
            (true, Some(field), Value::Table(inner)) => {
                found.extend(
                    inner.iter().filter(|(key, _)| key.as_deref() == Some(field)).map(|(_, value)| value),
                );
            }
            (true, Some(_), _) => {}
            (false, ..) => options(value, path, found),
        }
    }
}

/// The host of a URL of which only the begin is known: whatever follows its path's first slash changes nothing.
fn url_prefix(text: &str, schemes: &[&str]) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    rest.contains(['/', '?', '#']).then(|| place(text, schemes)).flatten()
}
