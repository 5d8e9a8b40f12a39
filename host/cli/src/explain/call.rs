//! The arguments of a call, as far as the source says what they are.

use super::lexer::Token;
use assay_capability_api::network::place;
use assay_capability_api::{Literal, Need};
use std::borrow::Cow;

/// The deepest table that is looked into; deeper ones are taken as unknown.
const MAX_DEPTH: usize = 16;
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// What an expression is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A string or number.
    Text(Cow<'a, str>),
    /// A string that goes on with something that only the run knows.
    Prefix(Cow<'a, str>),
    /// Names and values; what has no name is an item.
    Table(Vec<(Option<&'a str>, Value<'a>)>),
    /// `nil`, `true` or `false`: an option that is left out or switched.
    Switch,
    Unknown,
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
    /// The source does not tell.
    Unknown,
}

/// The arguments of a call that begins here; none where nothing is called, such as in `local get = http.get`.
pub(super) fn arguments<'a>(tokens: &[Token<'a>]) -> Option<Vec<Value<'a>>> {
    match tokens.first()? {
        Token::Text(text) => Some(vec![Value::Text(text.clone())]),
        Token::Symbol('{') => Some(vec![table(&tokens[1..], MAX_DEPTH).0]),
        Token::Symbol('(') => {
            let mut values = Vec::new();
            let mut rest = &tokens[1..];
            while !matches!(rest.first(), None | Some(Token::Symbol(')'))) {
                let length = expression(rest);
                values.push(value(&rest[..length], MAX_DEPTH));
                rest = &rest[length..];
                match rest.first() {
                    Some(Token::Symbol(',')) => rest = &rest[1..],
                    _ => break,
                }
            }
            Some(values)
        }
        _ => None,
    }
}

/// How many tokens there are to the end of an expression in a list: to a comma, semicolon or closing bracket outside
/// of brackets and functions.
fn expression(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Symbol('(' | '{' | '[') => depth += 1,
            Token::Symbol(')' | '}' | ']') if depth == 0 => return at,
            Token::Symbol(')' | '}' | ']') => depth -= 1,
            Token::Symbol(',' | ';') if depth == 0 => return at,
            // `while` and `for` have their `do`.
            Token::Name("function" | "if" | "do" | "repeat", _) => depth += 1,
            Token::Name("end" | "until", _) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tokens.len()
}

fn value<'a>(tokens: &[Token<'a>], depth: usize) -> Value<'a> {
    match tokens {
        [Token::Text(text)] => Value::Text(text.clone()),
        [Token::Number(text)] => Value::Text(Cow::Borrowed(text)),
        [Token::Name("nil" | "true" | "false", _)] => Value::Switch,
        // `..` binds weaker than everything that may follow but comparisons and logic, which give no path or URL.
        [Token::Text(text), Token::Symbol('~'), ..] => Value::Prefix(text.clone()),
        [Token::Symbol('{'), rest @ ..] if depth > 0 => match table(rest, depth - 1) {
            (table, 0) => table,
            _ => Value::Unknown,
        },
        _ => Value::Unknown,
    }
}

/// A table of which the brace was taken, and how many tokens are left behind it.
fn table<'a>(tokens: &[Token<'a>], depth: usize) -> (Value<'a>, usize) {
    let mut fields = Vec::new();
    let mut rest = tokens;
    loop {
        let (key, skipped) = match rest {
            [] => return (Value::Unknown, 0),
            [Token::Symbol('}'), ..] => return (Value::Table(fields), rest.len() - 1),
            [Token::Symbol(',' | ';'), ..] => {
                rest = &rest[1..];
                continue;
            }
            [Token::Name(name, _), Token::Symbol('='), next, ..] if *next != Token::Symbol('=') => {
                (Some(*name), 2)
            }
            [
                Token::Symbol('['),
                Token::Text(Cow::Borrowed(name)),
                Token::Symbol(']'),
                Token::Symbol('='),
                ..,
            ] => (Some(*name), 4),
            _ => (None, 0),
        };
        rest = &rest[skipped..];
        let length = expression(rest);
        // A stray closing bracket: this is no Lua.
        if length == 0 && !matches!(rest.first(), Some(Token::Symbol('}' | ',' | ';'))) {
            return (Value::Unknown, 0);
        }
        fields.push((key, value(&rest[..length], depth)));
        rest = &rest[length..];
    }
}

/// What a need comes to with these arguments.
pub(super) fn needed(need: &Need, arguments: Option<&[Value<'_>]>) -> Needed {
    let fixed = match need.literal {
        Literal::Free => Some(Needed::Nothing),
        Literal::Whole => Some(Needed::Whole),
        Literal::Any => Some(Needed::Any),
        Literal::Nothing => Some(Needed::Unknown),
        Literal::Always(scope) => Some(Needed::Scopes(vec![scope.to_string()])),
        _ => None,
    };
    if let Some(fixed) = fixed {
        return fixed;
    }
    // The function itself, which is called elsewhere; its options are too little to ask for everything.
    let Some(arguments) = arguments else {
        return if matches!(need.literal, Literal::Option(..)) { Needed::Nothing } else { Needed::Unknown };
    };
    let argument = arguments.get(need.argument);
    match (need.literal, argument) {
        (Literal::Option(name, scope), _) => {
            let mut found = Vec::new();
            arguments.iter().for_each(|value| options(value, name, &mut found));
            found.into_iter().map(|value| scopes(value, scope)).fold(Needed::Nothing, Needed::and)
        }
        (_, None | Some(Value::Switch)) => Needed::Nothing,
        (Literal::Scope(scope), Some(value)) => scopes(value, scope),
        (Literal::Unless(_), Some(Value::Table(_))) => Needed::Nothing,
        (Literal::Unless(scope), Some(value)) => scopes(value, scope),
        (Literal::Url, Some(Value::Text(text))) => known(place(text, &SCHEMES)),
        (Literal::Url, Some(Value::Prefix(text))) => known(url_prefix(text)),
        (Literal::Pair(scope), Some(Value::Text(text))) => match arguments.get(need.argument + 1) {
            None | Some(Value::Switch) => known(scope(text, None)),
            Some(Value::Text(next)) => known(scope(text, Some(next))),
            Some(_) => Needed::Unknown,
        },
        (Literal::Field(name, scope), Some(Value::Table(fields))) => {
            let named = fields.iter().find(|(key, _)| *key == Some(name));
            let first = || fields.iter().find(|(key, _)| key.is_none());
            named.or_else(first).map_or(Needed::Unknown, |(_, value)| scopes(value, scope))
        }
        (Literal::Field(_, scope), Some(value)) => scopes(value, scope),
        _ => Needed::Unknown,
    }
}

impl Needed {
    fn and(self, other: Needed) -> Needed {
        match (self, other) {
            (Needed::Nothing, other) | (other, Needed::Nothing) => other,
            (Needed::Scopes(mut all), Needed::Scopes(more)) => {
                all.extend(more);
                Needed::Scopes(all)
            }
            _ => Needed::Unknown,
        }
    }
}

fn known(scope: Option<String>) -> Needed {
    scope.map_or(Needed::Unknown, |scope| Needed::Scopes(vec![scope]))
}

/// The scope of a text, or those of each text in a list.
fn scopes(value: &Value<'_>, scope: fn(&str) -> Option<String>) -> Needed {
    match value {
        Value::Text(text) => known(scope(text)),
        Value::Switch => Needed::Nothing,
        Value::Table(items) if !items.is_empty() && items.iter().all(|(key, _)| key.is_none()) => {
            let texts = items.iter().map(|(_, item)| match item {
                Value::Text(text) => known(scope(text)),
                _ => Needed::Unknown,
            });
            texts.fold(Needed::Nothing, Needed::and)
        }
        _ => Needed::Unknown,
    }
}

/// The fields of this name in a table and in those inside it.
fn options<'v, 'a>(value: &'v Value<'a>, name: &str, found: &mut Vec<&'v Value<'a>>) {
    let Value::Table(fields) = value else { return };
    for (key, value) in fields {
        if *key == Some(name) {
            found.push(value);
        } else {
            options(value, name, found);
        }
    }
}

/// The host of a URL of which only the begin is known: whatever follows its path's first slash changes nothing.
fn url_prefix(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    rest.contains(['/', '?', '#']).then(|| place(text, &SCHEMES)).flatten()
}
