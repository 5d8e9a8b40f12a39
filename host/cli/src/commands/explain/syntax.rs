//! The parts of a chunk, as far as `explain` needs them. What may be nested without end in Lua (operators, calls of
//! calls) is a list here, so that nothing is nested deeper than Lua's own compiler allows.

/// A local variable, by the order of declaration.
pub(super) type Id = usize;

#[derive(Debug)]
pub(super) enum Expr<'a> {
    /// `nil`, `true` or `false`.
    Switch(bool),
    Number(&'a str),
    Text(Vec<u8>),
    /// What only the run knows: `...`, and globals below a local `_ENV`.
    Unknown,
    Function(Block<'a>),
    Table(Vec<Field<'a>>),
    Local(Id),
    Global(&'a str),
    Paren(Box<Expr<'a>>),
    Unary(Box<Expr<'a>>),
    /// `a + b .. c or d`, as it is written, and its line.
    Operation(Box<Expr<'a>>, Vec<(&'static str, Expr<'a>)>, usize),
    /// `a.b[c](d):e(f)`.
    Suffixed(Box<Expr<'a>>, Vec<Suffix<'a>>),
}

#[derive(Debug)]
pub(super) enum Key<'a> {
    Item,
    Name(&'a str),
    Computed(Expr<'a>),
}

#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) key: Key<'a>,
    pub(super) value: Expr<'a>,
    pub(super) line: usize,
}

#[derive(Debug)]
pub(super) enum Suffix<'a> {
    Field(&'a str, usize),
    Index(Expr<'a>, usize),
    Call(Vec<Expr<'a>>, usize),
    Method(&'a str, Vec<Expr<'a>>, usize),
}

pub(super) type Block<'a> = Vec<Statement<'a>>;

#[derive(Debug)]
pub(super) enum Statement<'a> {
    Local(Vec<Id>, Vec<Expr<'a>>, usize),
    Assign(Vec<Expr<'a>>, Vec<Expr<'a>>, usize),
    Call(Expr<'a>),
    /// A condition of `if`, `while` or `repeat`.
    Test(Expr<'a>),
    /// What `for` goes through.
    Each(Vec<Expr<'a>>, usize),
    Return(Vec<Expr<'a>>, usize),
    Block(Block<'a>),
}

/// What is known about a local variable.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// Whether it is assigned to after its declaration.
    pub(super) is_assigned: bool,
    /// How often it is used other than by reading a field with a name; what it holds may be changed there.
    pub(super) uses: usize,
}

/// A whole chunk.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) block: Block<'a>,
    pub(super) locals: Vec<Local>,
    /// The lines where a local `_ENV` is declared.
    pub(super) environments: Vec<usize>,
}
