//! From tokens to statements (reference manual, section 9). Lua's own compiler has accepted the text, so there are no
//! error messages here: what does not fit becomes `None`.

use super::lexer::{Kind, Token};
use super::syntax::{Block, Chunk, Expr, Field, Key, Local, Statement, Suffix};

const KEYWORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];
const BINARY: &[&str] = &[
    "+", "-", "*", "/", "//", "%", "^", "&", "|", "~", "<<", ">>", "..", "<", "<=", ">", ">=", "==", "~=",
    "and", "or",
];
/// Deeper than Lua's compiler goes (`LUAI_MAXCCALLS`, with some calls of this parser for each of Lua's).
const MAX_DEPTH: usize = 1000;

/// What a name in a scope stands for.
#[derive(Clone, Copy)]
enum Binding {
    Local(usize),
    /// Declared by `global`.
    Global,
}

struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    depth: usize,
    names: Vec<(&'a str, Binding)>,
    locals: Vec<Local>,
    environments: Vec<usize>,
}

/// Reads a whole chunk; none where it is no Lua.
pub(super) fn chunk<'a>(tokens: &[Token<'a>]) -> Option<Chunk<'a>> {
    let mut parser =
        Parser { tokens, at: 0, depth: 0, names: Vec::new(), locals: Vec::new(), environments: Vec::new() };
    let block = parser.statements()?;
    let Parser { locals, environments, at, .. } = parser;
    (at == tokens.len()).then_some(Chunk { block, locals, environments })
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> Option<&Kind<'a>> {
        self.tokens.get(self.at).map(|(kind, _)| kind)
    }

    /// The line of the token that is next, or of the last one.
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn is(&self, word: &str) -> bool {
        match self.peek() {
            Some(Kind::Symbol(symbol)) => *symbol == word,
            Some(Kind::Name(name)) => *name == word && KEYWORDS.contains(name),
            _ => false,
        }
    }

    /// Takes a symbol or keyword, where it is next.
    fn accept(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        self.accept(word).then_some(())
    }

    fn name(&mut self) -> Option<&'a str> {
        match self.peek() {
            Some(Kind::Name(name)) if !KEYWORDS.contains(name) => {
                let name = *name;
                self.at += 1;
                Some(name)
            }
            _ => None,
        }
    }

    fn declare(&mut self, name: &'a str) -> usize {
        if name == "_ENV" {
            self.environments.push(self.line());
        }
        self.locals.push(Local::default());
        let id = self.locals.len() - 1;
        self.names.push((name, Binding::Local(id)));
        id
    }

    fn binding(&self, name: &str) -> Option<Binding> {
        self.names.iter().rev().find(|(known, _)| *known == name).map(|(_, binding)| *binding)
    }

    /// A name as an expression.
    fn variable(&self, name: &'a str) -> Expr<'a> {
        match self.binding(name) {
            Some(Binding::Local(id)) => Expr::Local(id),
            // A field of what the script calls the environment.
            _ if matches!(self.binding("_ENV"), Some(Binding::Local(_))) => Expr::Unknown,
            _ => Expr::Global(name),
        }
    }

    /// Statements to the end of a block, in a scope of their own.
    fn block(&mut self) -> Option<Block<'a>> {
        let scope = self.names.len();
        let block = self.statements();
        self.names.truncate(scope);
        block
    }

    fn statements(&mut self) -> Option<Block<'a>> {
        self.depth += 1;
        let mut block = Vec::new();
        while self.at < self.tokens.len()
            && !["end", "else", "elseif", "until"].iter().any(|word| self.is(word))
        {
            self.statement(&mut block)?;
        }
        self.depth -= 1;
        Some(block)
    }

    fn statement(&mut self, block: &mut Block<'a>) -> Option<()> {
        if self.depth > MAX_DEPTH {
            return None;
        }
        let line = self.line();
        if self.accept(";") || self.accept("break") {
        } else if self.accept("::") {
            self.name()?;
            self.expect("::")?;
        } else if self.accept("goto") {
            self.name()?;
        } else if self.accept("do") {
            block.push(Statement::Block(self.block()?));
            self.expect("end")?;
        } else if self.accept("while") {
            block.push(Statement::Test(self.expression()?));
            self.expect("do")?;
            block.push(Statement::Block(self.block()?));
            self.expect("end")?;
        } else if self.accept("repeat") {
            // The condition sees the variables of the body.
            let scope = self.names.len();
            let mut body = self.statements()?;
            self.expect("until")?;
            body.push(Statement::Test(self.expression()?));
            self.names.truncate(scope);
            block.push(Statement::Block(body));
        } else if self.accept("if") {
            self.conditions(block)?;
        } else if self.accept("for") {
            self.loop_over(block, line)?;
        } else if self.accept("function") {
            block.push(self.function_statement(line)?);
        } else if self.accept("local") {
            block.push(self.local(line)?);
        } else if self.accept("return") {
            let mut values = Vec::new();
            if self.at < self.tokens.len()
                && ![";", "end", "else", "elseif", "until"].iter().any(|word| self.is(word))
            {
                values = self.expressions()?;
            }
            block.push(Statement::Return(values, line));
        } else if self.is_global_declaration() {
            self.at += 1;
            block.extend(self.global(line)?);
        } else {
            block.push(self.expression_statement(line)?);
        }
        Some(())
    }

    fn conditions(&mut self, block: &mut Block<'a>) -> Option<()> {
        loop {
            block.push(Statement::Test(self.expression()?));
            self.expect("then")?;
            block.push(Statement::Block(self.block()?));
            if self.accept("elseif") {
                continue;
            }
            if self.accept("else") {
                block.push(Statement::Block(self.block()?));
            }
            return self.expect("end");
        }
    }

    fn loop_over(&mut self, block: &mut Block<'a>, line: usize) -> Option<()> {
        let mut names = vec![self.name()?];
        while self.accept(",") {
            names.push(self.name()?);
        }
        if !self.accept("=") {
            self.expect("in")?;
        }
        block.push(Statement::Each(self.expressions()?, line));
        self.expect("do")?;
        let scope = self.names.len();
        for name in names {
            self.declare(name);
        }
        block.push(Statement::Block(self.statements()?));
        self.names.truncate(scope);
        self.expect("end")
    }

    /// `function a.b:c() ... end`: an assignment.
    fn function_statement(&mut self, line: usize) -> Option<Statement<'a>> {
        let first = self.name()?;
        let mut target = self.variable(first);
        let mut suffixes = Vec::new();
        let mut is_method = false;
        while !is_method && (self.is(".") || self.is(":")) {
            is_method = self.is(":");
            self.at += 1;
            suffixes.push(Suffix::Field(self.name()?, line));
        }
        if !suffixes.is_empty() {
            target = Expr::Suffixed(Box::new(target), suffixes);
        }
        self.mark_assigned(&target);
        let body = self.function(is_method)?;
        Some(Statement::Assign(vec![target], vec![body], line))
    }

    fn local(&mut self, line: usize) -> Option<Statement<'a>> {
        if self.accept("function") {
            let name = self.name()?;
            let id = self.declare(name);
            return Some(Statement::Local(vec![id], vec![self.function(false)?], line));
        }
        let names = self.attributed_names()?;
        let values = if self.accept("=") { self.expressions()? } else { Vec::new() };
        let ids = names.into_iter().map(|name| self.declare(name)).collect();
        Some(Statement::Local(ids, values, line))
    }

    /// `global` is a keyword only where a declaration follows.
    fn is_global_declaration(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|(kind, _)| kind);
        self.peek() == Some(&Kind::Name("global"))
            && match next {
                Some(Kind::Name(name)) => !KEYWORDS.contains(name) || *name == "function",
                Some(Kind::Symbol(symbol)) => matches!(*symbol, "*" | "<"),
                _ => false,
            }
    }

    fn global(&mut self, line: usize) -> Option<Option<Statement<'a>>> {
        if self.accept("function") {
            let name = self.name()?;
            self.names.push((name, Binding::Global));
            let body = self.function(false)?;
            return Some(Some(Statement::Assign(vec![self.variable(name)], vec![body], line)));
        }
        let start = self.at;
        self.attribute()?;
        if self.accept("*") {
            return Some(None);
        }
        self.at = start;
        let names = self.attributed_names()?;
        let values = if self.accept("=") { self.expressions()? } else { Vec::new() };
        self.names.extend(names.iter().map(|name| (*name, Binding::Global)));
        let targets = names.into_iter().map(|name| self.variable(name)).collect();
        Some((!values.is_empty()).then_some(Statement::Assign(targets, values, line)))
    }

    fn attribute(&mut self) -> Option<()> {
        if self.accept("<") {
            self.name()?;
            self.expect(">")?;
        }
        Some(())
    }

    fn attributed_names(&mut self) -> Option<Vec<&'a str>> {
        let mut names = Vec::new();
        self.attribute()?;
        loop {
            names.push(self.name()?);
            self.attribute()?;
            if !self.accept(",") {
                return Some(names);
            }
        }
    }

    /// A call or an assignment.
    fn expression_statement(&mut self, line: usize) -> Option<Statement<'a>> {
        let first = self.suffixed()?;
        if !self.is("=") && !self.is(",") {
            return Some(Statement::Call(first));
        }
        let mut targets = vec![first];
        while self.accept(",") {
            targets.push(self.suffixed()?);
        }
        self.expect("=")?;
        let values = self.expressions()?;
        targets.iter().for_each(|target| self.mark_assigned(target));
        Some(Statement::Assign(targets, values, line))
    }

    fn mark_assigned(&mut self, target: &Expr<'a>) {
        match target {
            Expr::Local(id) => self.locals[*id].is_assigned = true,
            Expr::Suffixed(base, _) => {
                if let Expr::Local(id) = **base {
                    self.locals[id].uses += 2;
                }
            }
            _ => {}
        }
    }

    fn expressions(&mut self) -> Option<Vec<Expr<'a>>> {
        let mut all = vec![self.expression()?];
        while self.accept(",") {
            all.push(self.expression()?);
        }
        Some(all)
    }

    fn expression(&mut self) -> Option<Expr<'a>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let line = self.line();
        let first = self.operand()?;
        let mut rest = Vec::new();
        while let Some(operator) = BINARY.iter().find(|operator| self.is(operator)) {
            self.at += 1;
            rest.push((*operator, self.operand()?));
        }
        self.depth -= 1;
        Some(if rest.is_empty() { first } else { Expr::Operation(Box::new(first), rest, line) })
    }

    fn operand(&mut self) -> Option<Expr<'a>> {
        let start = self.at;
        while ["not", "-", "#", "~"].iter().any(|operator| self.is(operator)) {
            self.at += 1;
        }
        let is_unary = self.at > start;
        let operand = self.simple()?;
        Some(if is_unary { Expr::Unary(Box::new(operand)) } else { operand })
    }

    fn simple(&mut self) -> Option<Expr<'a>> {
        let simple = match self.peek()? {
            Kind::Text(text) => Expr::Text(text.clone()),
            Kind::Number(number) => Expr::Number(number),
            Kind::Symbol("...") => Expr::Unknown,
            Kind::Name(name @ ("nil" | "true" | "false")) => Expr::Switch(*name == "true"),
            Kind::Symbol("{") => return self.table(),
            Kind::Name("function") => {
                self.at += 1;
                return self.function(false);
            }
            _ => return self.suffixed(),
        };
        self.at += 1;
        Some(simple)
    }

    fn suffixed(&mut self) -> Option<Expr<'a>> {
        let base = if self.accept("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            Expr::Paren(Box::new(inner))
        } else {
            let name = self.name()?;
            self.variable(name)
        };
        let mut suffixes = Vec::new();
        loop {
            let line = self.line();
            if self.accept(".") {
                suffixes.push(Suffix::Field(self.name()?, line));
            } else if self.accept("[") {
                suffixes.push(Suffix::Index(self.expression()?, line));
                self.expect("]")?;
            } else if self.accept(":") {
                let name = self.name()?;
                suffixes.push(Suffix::Method(name, self.arguments()?, line));
            } else if self.is("(") || self.is("{") || matches!(self.peek(), Some(Kind::Text(_))) {
                suffixes.push(Suffix::Call(self.arguments()?, line));
            } else {
                break;
            }
        }
        if let Expr::Local(id) = base
            && !matches!(suffixes.first(), Some(Suffix::Field(..) | Suffix::Index(Expr::Text(_), _)))
        {
            self.locals[id].uses += 1;
        }
        Some(if suffixes.is_empty() { base } else { Expr::Suffixed(Box::new(base), suffixes) })
    }

    fn arguments(&mut self) -> Option<Vec<Expr<'a>>> {
        match self.peek()? {
            Kind::Text(_) => Some(vec![self.simple()?]),
            Kind::Symbol("{") => Some(vec![self.table()?]),
            _ => {
                self.expect("(")?;
                if self.accept(")") {
                    return Some(Vec::new());
                }
                let arguments = self.expressions()?;
                self.expect(")")?;
                Some(arguments)
            }
        }
    }

    fn table(&mut self) -> Option<Expr<'a>> {
        self.expect("{")?;
        let mut fields = Vec::new();
        while !self.accept("}") {
            let line = self.line();
            let is_named = matches!(
                self.tokens.get(self.at..self.at + 2),
                Some([(Kind::Name(_), _), (Kind::Symbol("="), _)])
            );
            let key = if self.accept("[") {
                let key = self.expression()?;
                self.expect("]")?;
                self.expect("=")?;
                Key::Computed(key)
            } else if is_named {
                let name = self.name()?;
                self.expect("=")?;
                Key::Name(name)
            } else {
                Key::Item
            };
            fields.push(Field { key, value: self.expression()?, line });
            if !self.accept(",") && !self.accept(";") {
                self.expect("}")?;
                break;
            }
        }
        Some(Expr::Table(fields))
    }

    /// A function from its parameters to its `end`.
    fn function(&mut self, is_method: bool) -> Option<Expr<'a>> {
        let scope = self.names.len();
        if is_method {
            self.declare("self");
        }
        self.expect("(")?;
        while !self.accept(")") {
            if self.accept("...") {
                // Lua 5.5 may name the table of what is left.
                if let Some(name) = self.name() {
                    self.declare(name);
                }
            } else {
                let name = self.name()?;
                self.declare(name);
            }
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        let body = self.statements()?;
        self.names.truncate(scope);
        self.expect("end")?;
        Some(Expr::Function(body))
    }
}
