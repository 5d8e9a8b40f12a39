//! Goes through a chunk and says what its expressions are, as far as the text tells. A builtin that is used in a way that is
//! not followed (passed on, kept in a table, returned) is noted where that happens, so that nothing is missed later.

use super::Findings;
use super::builtins::{Guest, does, has_reaching, reaches};
use super::call::Value;
use super::syntax::{Block, Chunk, Expr, Field, Key, Local, Statement, Suffix};
use assay_capabilities::builtins::Does;

/// A call at the end of a list is taken to return so many values; nothing here looks further.
const MORE: usize = 4;

pub(super) struct Walk<'w> {
    findings: &'w mut Findings,
    guest: &'w Guest,
    /// The chunk's path, for people.
    path: &'w str,
    locals: Vec<Local>,
    /// What each local variable holds for as long as it lives.
    values: Vec<Value>,
}

/// Goes through all of a chunk.
pub(super) fn walk(chunk: Chunk<'_>, path: &str, guest: &Guest, findings: &mut Findings) {
    let values = vec![Value::Unknown; chunk.locals.len()];
    for line in chunk.environments {
        findings.unseen("_ENV", "what the names below it mean", (path, line));
    }
    let mut walk = Walk { findings, guest, path, locals: chunk.locals, values };
    walk.block(&chunk.block);
}

impl Walk<'_> {
    fn block(&mut self, block: &Block<'_>) {
        block.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Statement<'_>) {
        match statement {
            Statement::Local(ids, values, line) => {
                let values = self.list(values);
                for (at, value) in values.into_iter().enumerate() {
                    match ids.get(at) {
                        Some(id) if self.locals[*id].is_assigned => {
                            self.escape(&value, *line, "it is kept in a variable that is assigned again");
                        }
                        Some(id) => self.values[*id] = value,
                        None => {}
                    }
                }
            }
            Statement::Assign(targets, values, line) => {
                for value in self.list(values) {
                    self.escape(&value, *line, "it is assigned to a variable or field");
                }
                targets.iter().for_each(|target| self.assign(target, *line));
            }
            Statement::Call(call) | Statement::Test(call) => {
                self.value(call);
            }
            Statement::Each(values, line) => {
                for value in self.list(values) {
                    self.escape(&value, *line, "it is gone through");
                }
            }
            Statement::Return(values, line) => {
                for value in self.list(values) {
                    self.escape(&value, *line, "it is returned");
                }
            }
            Statement::Block(block) => self.block(block),
        }
    }

    /// What a statement assigns to, where that is a builtin.
    fn assign(&mut self, target: &Expr<'_>, line: usize) {
        let path = match target {
            Expr::Global("_ENV") => "_ENV".to_string(),
            Expr::Global(name) => {
                self.findings.assigned.insert((*name).to_string());
                (*name).to_string()
            }
            Expr::Suffixed(base, suffixes) => {
                let Some((last, before)) = suffixes.split_last() else { return };
                let holder = self.suffixed(base, before);
                let name = match last {
                    Suffix::Field(name, _) => Some((*name).to_string()),
                    Suffix::Index(key, line) => self.key(key, *line),
                    _ => None,
                };
                match (holder, name) {
                    (Value::Builtin(library), Some(name)) if library == "_G" => {
                        self.findings.assigned.insert(name.clone());
                        name
                    }
                    (Value::Builtin(library), Some(name)) => format!("{library}.{name}"),
                    (Value::Builtin(library), None) => library,
                    _ => return,
                }
            }
            _ => return,
        };
        let is_place = path.starts_with("package.") || path == "_ENV" || path == "_G";
        let is_known = does(&path).is_some_and(|does| !matches!(does, Does::Reaches(_)));
        if is_place {
            self.findings.unseen(
                &path,
                "the script changes it, so names may mean anything",
                (self.path, line),
            );
        } else if is_known || (self.guest.has(&path) && self.matters(&path)) {
            self.findings.unseen(&path, "the script puts something else in its place", (self.path, line));
        }
    }

    /// The values of a list of expressions. What ends with a call may be any number of values.
    fn list(&mut self, list: &[Expr<'_>]) -> Vec<Value> {
        let mut values: Vec<Value> = list.iter().map(|expression| self.value(expression)).collect();
        let goes_on = match list.last() {
            Some(Expr::Unknown) => true,
            Some(Expr::Suffixed(_, suffixes)) => {
                matches!(suffixes.last(), Some(Suffix::Call(..) | Suffix::Method(..)))
            }
            _ => false,
        };
        values.extend(std::iter::repeat_n(Value::Unknown, if goes_on { MORE } else { 0 }));
        values
    }

    fn value(&mut self, expression: &Expr<'_>) -> Value {
        match expression {
            Expr::Switch(on) => Value::Switch(*on),
            Expr::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Value::Text((*digits).to_string())
            }
            Expr::Number(_) | Expr::Unknown => Value::Unknown,
            Expr::Text(bytes) => String::from_utf8(bytes.clone()).map_or(Value::Unknown, Value::Text),
            Expr::Function(body) => {
                self.block(body);
                Value::Unknown
            }
            Expr::Table(fields) => self.table(fields),
            Expr::Local(id) => match &self.values[*id] {
                // What else it is used for may change what is in it.
                Value::Table(_) if self.locals[*id].uses > 1 => Value::Unknown,
                value => value.clone(),
            },
            Expr::Global(name) => self.global(name),
            Expr::Paren(inner) => self.value(inner),
            Expr::Unary(operand) => {
                self.value(operand);
                Value::Unknown
            }
            Expr::Operation(first, rest, line) => self.operation(first, rest, *line),
            Expr::Suffixed(base, suffixes) => self.suffixed(base, suffixes),
        }
    }

    fn table(&mut self, fields: &[Field<'_>]) -> Value {
        let mut values = Vec::new();
        for Field { key, value, line } in fields {
            let name = match key {
                Key::Item => None,
                Key::Name(name) => Some((*name).to_string()),
                Key::Computed(key) => self.key(key, *line),
            };
            let is_known = name.is_some() || matches!(key, Key::Item);
            let value = self.value(value);
            self.escape(&value, *line, "it is kept in a table");
            let value = if matches!(value, Value::Builtin(_)) { Value::Unknown } else { value };
            if is_known {
                values.push((name, value));
            } else {
                // It may be any field, so none of them is sure.
                return Value::Unknown;
            }
        }
        Value::Table(values)
    }

    fn global(&self, name: &str) -> Value {
        match name {
            "_G" | "_ENV" => Value::Builtin("_G".into()),
            _ if self.guest.has(name) || reaches(name).is_some() => Value::Builtin(name.into()),
            _ => Value::Missing(name.into()),
        }
    }

    /// `a .. b`, `a and b or c`, comparisons and arithmetic, by how they bind.
    fn operation(&mut self, first: &Expr<'_>, rest: &[(&str, Expr<'_>)], line: usize) -> Value {
        let mut choices = vec![vec![vec![("", self.value(first))]]];
        for (operator, operand) in rest {
            let value = self.value(operand);
            let Some(all) = choices.last_mut() else { continue };
            match (*operator, all.last_mut()) {
                ("or", _) => choices.push(vec![vec![("", value)]]),
                ("and", _) | (_, None) => all.push(vec![("", value)]),
                (operator, Some(last)) => last.push((operator, value)),
            }
        }
        let choices: Vec<Value> = choices
            .into_iter()
            .map(|all| {
                // A metatable of the other operand gets both.
                let is_open = |(_, value): &(_, Value)| matches!(value, Value::Unknown | Value::Table(_));
                for operands in
                    all.iter().filter(|operands| operands.len() > 1 && operands.iter().any(is_open))
                {
                    for (_, value) in operands {
                        self.escape(value, line, "it is an operand");
                    }
                }
                let mut values: Vec<Value> = all.into_iter().map(joined).collect();
                let last = values.pop().unwrap_or(Value::Unknown);
                match values.iter().all(Value::is_true) {
                    true => last,
                    false => {
                        self.escape(&last, line, "it is one of several values");
                        Value::Unknown
                    }
                }
            })
            // What is missing counts as false.
            .skip_while(|value| matches!(value, Value::Missing(_)))
            .collect();
        match choices.as_slice() {
            [first, ..] if first.is_true() => first.clone(),
            [only] => only.clone(),
            several => {
                for value in several {
                    self.escape(value, line, "it is one of several values");
                }
                Value::Unknown
            }
        }
    }

    fn suffixed(&mut self, base: &Expr<'_>, suffixes: &[Suffix<'_>]) -> Value {
        let mut value = match (base, suffixes.first()) {
            // Only texts are taken from a variable's table: what else is in it may be changed elsewhere.
            (Expr::Local(id), Some(Suffix::Field(..) | Suffix::Index(..))) => match &self.values[*id] {
                Value::Table(_) if self.locals[*id].uses > 0 => Value::Unknown,
                Value::Table(fields) => {
                    let text = |value: &Value| matches!(value, Value::Text(_) | Value::Prefix(_));
                    Value::Table(fields.iter().filter(|(_, value)| text(value)).cloned().collect())
                }
                value => value.clone(),
            },
            _ => self.value(base),
        };
        for suffix in suffixes {
            value = match suffix {
                Suffix::Field(name, line) => self.member(&value, name, *line),
                Suffix::Index(key, line) => match self.key(key, *line) {
                    Some(name) => self.member(&value, &name, *line),
                    None => {
                        self.escape(&value, *line, "a field of it has a computed name");
                        Value::Unknown
                    }
                },
                Suffix::Call(arguments, line) => {
                    let arguments = self.list(arguments);
                    self.call(&value, &arguments, *line)
                }
                Suffix::Method(name, arguments, line) => {
                    let method = match value {
                        Value::Text(_) | Value::Prefix(_) => Value::Builtin(format!("string.{name}")),
                        _ => self.member(&value, name, *line),
                    };
                    let mut all =
                        vec![if matches!(value, Value::Builtin(_)) { Value::Unknown } else { value }];
                    all.extend(self.list(arguments));
                    self.call(&method, &all, *line)
                }
            };
        }
        value
    }

    /// The name that a key in brackets is. Code that goes through the table, or has its metatable, gets the key.
    fn key(&mut self, key: &Expr<'_>, line: usize) -> Option<String> {
        match self.value(key) {
            Value::Text(name) => Some(name),
            other => {
                self.escape(&other, line, "it is a key");
                None
            }
        }
    }

    /// A field with a name.
    fn member(&mut self, value: &Value, name: &str, line: usize) -> Value {
        match value {
            Value::Builtin(path) if path == "_G" => self.global(name),
            Value::Builtin(path) if path == "package.loaded" => self.module_value(name),
            Value::Builtin(path) if reaches(path).is_some() => {
                self.escape(value, line, "");
                Value::Unknown
            }
            Value::Builtin(path) if self.guest.is_library(path) => {
                let path = format!("{path}.{name}");
                if self.guest.has(&path) { Value::Builtin(path) } else { Value::Missing(path) }
            }
            Value::Table(fields) => {
                let named = fields.iter().rev().find(|(key, _)| key.as_deref() == Some(name));
                named.map_or(Value::Unknown, |(_, value)| value.clone())
            }
            Value::Missing(missing) => {
                self.findings.missing(missing, (self.path, line));
                Value::Unknown
            }
            _ => Value::Unknown,
        }
    }

    /// What `require` gives for a module that is loaded before the script begins.
    fn module_value(&self, name: &str) -> Value {
        match self.guest.loaded(name) {
            Some(global) if !global.is_empty() => Value::Builtin(global.into()),
            _ => Value::Unknown,
        }
    }

    /// What a call gives; what it needs is noted.
    fn call(&mut self, function: &Value, arguments: &[Value], line: usize) -> Value {
        let path = match function {
            Value::Builtin(path) => path.as_str(),
            other => {
                if let Value::Missing(name) = other {
                    self.findings.missing(name, (self.path, line));
                }
                self.pass(arguments, line, "a function of the script");
                return Value::Unknown;
            }
        };
        match does(path) {
            Some(Does::Calls(from)) => {
                if let Some((called, rest)) = arguments.split_first() {
                    let (own, passed) = rest.split_at((from - 1).min(rest.len()));
                    let back = self.call(called, passed, line);
                    self.escape(&back, line, &format!("it comes back from {path}"));
                    // The handler of xpcall.
                    own.iter().for_each(|handler| {
                        self.call(handler, &[Value::Unknown], line);
                    });
                }
                return Value::Unknown;
            }
            Some(Does::Wraps) => return arguments.first().cloned().unwrap_or(Value::Unknown),
            Some(Does::Looks) => return Value::Unknown,
            Some(Does::Gives | Does::Reaches(_)) | None => {}
        }
        match path {
            "rawget" => match arguments {
                [library @ Value::Builtin(_), Value::Text(name), ..] => self.member(library, name, line),
                _ => {
                    self.pass(arguments, line, path);
                    Value::Unknown
                }
            },
            "require" => self.require(arguments, line),
            "string.format" => match arguments {
                [Value::Text(format), ..] => {
                    Value::Prefix(format.split('%').next().unwrap_or_default().to_string())
                }
                _ => Value::Unknown,
            },
            _ => {
                if let Some(why) = reaches(path) {
                    self.findings.unseen(path, why, (self.path, line));
                }
                self.pass(arguments, line, path);
                self.findings.used(path, arguments, (self.path, line));
                Value::Unknown
            }
        }
    }

    fn require(&mut self, arguments: &[Value], line: usize) -> Value {
        match arguments.first() {
            Some(Value::Text(name)) => {
                self.findings.requires(name, self.guest, (self.path, line));
                self.module_value(name)
            }
            _ => {
                self.findings.unseen("require", "the module's name is computed", (self.path, line));
                Value::Unknown
            }
        }
    }

    /// Builtins that are given to a function.
    fn pass(&mut self, arguments: &[Value], line: usize, to: &str) {
        for argument in arguments {
            self.escape(argument, line, &format!("it is passed to {to}"));
        }
    }

    /// A value goes where it is not followed.
    fn escape(&mut self, value: &Value, line: usize, how: &str) {
        let place = (self.path, line);
        match value {
            Value::Builtin(path) => match reaches(path) {
                Some(why) => self.findings.unseen(path, why, place),
                None if self.matters(path) => self.findings.escaped(path, how, place),
                None => {}
            },
            // A global may be anything; what a library has is known.
            Value::Missing(name) if name.contains('.') => self.findings.missing(name, place),
            _ => {}
        }
    }

    /// Whether it matters who gets a builtin.
    fn matters(&self, path: &str) -> bool {
        reaches(path).is_some()
            || has_reaching(path)
            || super::is_needy(path)
            || self.guest.fields(path).any(super::is_needy)
    }
}

/// What operands give that are joined by operators which bind tighter than `and`.
fn joined(operands: Vec<(&str, Value)>) -> Value {
    let weaker = ["<", "<=", ">", ">=", "==", "~=", "&", "|", "~", "<<", ">>"];
    if operands.iter().any(|(operator, _)| weaker.contains(operator)) {
        return Value::Unknown;
    }
    let mut parts: Vec<Value> = Vec::new();
    for (operator, value) in operands {
        match parts.last_mut() {
            // Arithmetic binds tighter, and gives a number.
            Some(last) if operator != ".." => *last = Value::Unknown,
            _ => parts.push(value),
        }
    }
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or(Value::Unknown);
    parts.fold(first, |text, next| text.followed_by(&next))
}
