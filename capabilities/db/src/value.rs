//! Rows and parameters as they cross to the guest; the format is in `assay_wire::values`.

use assay_capability_api::types::{Error, ErrorCode, Payload};
use assay_capability_api::{Ctx, Run, error};
use assay_wire::Bad;
use assay_wire::values::{self, Value};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;

/// Bytes of rows that cross at a time.
const BATCH: usize = 128 << 10;

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// Text, or bytes that are not UTF-8.
    Text(Vec<u8>),
    /// Bytes, whatever they are.
    Bytes(Vec<u8>),
    /// A table of Lua.
    Json(String),
}

/// Reads lists of parameters.
pub struct Reader<'a>(values::Reader<'a>);

fn refused(bad: Bad) -> Error {
    error(ErrorCode::InvalidArgument, format!("db: the parameters cannot be read: {bad}"))
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(values::Reader::new(bytes))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One list.
    ///
    /// # Errors
    /// `invalid_argument` where the bytes are not such a list, `limit` where `held` cannot hold them.
    pub fn list(&mut self, held: &mut assay_capability_api::Held) -> Result<Vec<Param>, Error> {
        let count = self.0.count().map_err(refused)?;
        let mut list = Vec::new();
        for _ in 0..count {
            let value = self.0.value().map_err(refused)?;
            // The list may have room for as many again.
            held.grow(2 * size_of::<Param>())?;
            list.push(match value {
                Value::Null => Param::Null,
                Value::Boolean(value) => Param::Bool(value),
                Value::Integer(value) => Param::Integer(value),
                Value::Float(value) => Param::Float(value),
                Value::Text(bytes) => Param::Text(bytes.to_vec()),
                Value::Json(bytes) => Param::Json(String::from_utf8(bytes.to_vec()).map_err(|_| {
                    error(ErrorCode::InvalidArgument, "db: a table has text that is not UTF-8")
                })?),
                Value::Bytes(bytes) => Param::Bytes(bytes.to_vec()),
                Value::List(_) => {
                    return Err(error(ErrorCode::InvalidArgument, "db: a parameter is a list"));
                }
            });
        }
        Ok(list)
    }
}

/// Rows on their way to the script, and what they take of the run's budget.
#[derive(Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    held: Option<assay_capability_api::Held>,
}

impl Batch {
    /// The batch as a result.
    ///
    /// # Errors
    /// As [`Ctx::payload`].
    pub fn payload(self, ctx: &mut Ctx) -> wasmtime::Result<Payload> {
        ctx.payload(self.bytes, self.held.map(Arc::new))
    }
}

/// Where drivers put rows: bounded, counted, and handed on in batches.
pub struct Sink {
    buffer: Vec<u8>,
    /// The names of the columns, which begin every batch.
    header: Vec<u8>,
    /// Whether a batch with them was begun.
    told: bool,
    out: mpsc::Sender<Batch>,
    run: Arc<Run>,
    limits: Bounds,
    rows: u64,
    bytes: u64,
    /// What the buffer takes of the run's budget.
    memory: assay_capability_api::Held,
    /// Why a value of the row at hand was left out: it found no memory.
    refused: Option<Error>,
    /// Where the row at hand begins.
    row: usize,
    /// Since when the statement has a connection; none while it waits for one.
    pub held: Held,
}

/// Since when a statement has a connection.
pub type Held = Arc<Mutex<Option<Instant>>>;

/// What bounds a result.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// None: rows are read as they come, or not at all.
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub row_bytes: u64,
    /// Rows are thrown away.
    pub discard: bool,
}

impl Sink {
    pub fn new(run: Arc<Run>, out: mpsc::Sender<Batch>, limits: Bounds) -> Sink {
        Sink {
            buffer: Vec::new(),
            header: Vec::new(),
            told: false,
            out,
            memory: run.budget.nothing(),
            refused: None,
            run,
            limits,
            rows: 0,
            bytes: 0,
            row: 0,
            held: Held::default(),
        }
    }

    /// Whether rows are wanted at all.
    pub fn wants_rows(&self) -> bool {
        !self.limits.discard
    }

    /// Whether rows have left already, so that the statement cannot be tried again unnoticed.
    pub fn is_untouched(&self) -> bool {
        self.rows == 0
    }

    /// Starts the rows of a statement, or of its next result. Rows of other columns must have been handed on before.
    pub fn columns<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) {
        self.told = false;
        self.header.clear();
        values::count(&mut self.header, names.len());
        for name in names {
            values::text(&mut self.header, name.as_bytes());
        }
    }

    /// Starts a row. After it come its values, and [`Sink::end_row`].
    pub fn start_row(&mut self) {
        if self.buffer.is_empty() {
            self.begin();
        }
        self.row = self.buffer.len();
    }

    fn begin(&mut self) {
        self.told = true;
        self.buffer.extend_from_slice(&self.header);
    }

    /// Whether there are rows that have not been handed on.
    pub fn has_rows(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Takes back what there is of the row that was started.
    pub fn drop_row(&mut self) {
        self.buffer.truncate(self.row);
        self.refused = None;
    }

    /// Counts the row.
    ///
    /// # Errors
    /// `limit` where it is one too many, or too large.
    pub fn end_row(&mut self) -> Result<(), Error> {
        self.reserve(0);
        if let Some(refused) = self.refused.take() {
            return Err(refused);
        }
        let size = (self.buffer.len() - self.row) as u64;
        self.rows += 1;
        self.bytes += size;
        if size > self.limits.row_bytes {
            return Err(error(
                ErrorCode::Limit,
                format!(
                    "db: a row has more than {} bytes; raise max_bytes of db.connect, which --host-memory bounds",
                    self.limits.row_bytes
                ),
            ));
        }
        let advice = "read it with db.rows, ask for less, or raise";
        if self.limits.rows.is_some_and(|most| self.rows > most) {
            let most = self.limits.rows.unwrap_or_default();
            return Err(error(
                ErrorCode::Limit,
                format!("db: the result has more than {most} rows; {advice} max_rows of db.connect"),
            ));
        }
        if self.limits.bytes.is_some_and(|most| self.bytes > most) {
            let most = self.limits.bytes.unwrap_or_default();
            return Err(error(
                ErrorCode::Limit,
                format!("db: the result has more than {most} bytes; {advice} max_bytes of db.connect"),
            ));
        }
        Ok(())
    }

    /// Whether a batch should be handed on before the next row.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BATCH
    }

    /// Hands on what there is, and waits until it is wanted.
    ///
    /// # Errors
    /// `limit` where the run has no bytes left.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let batch = self.take()?;
        // Where nobody reads any more, the statement is about to be dropped as well.
        let _ = self.out.send(batch).await;
        Ok(())
    }

    /// What has not been handed on.
    ///
    /// # Errors
    /// As for `flush`.
    pub fn take(&mut self) -> Result<Batch, Error> {
        // A result without rows has columns too.
        if self.buffer.is_empty() && !self.told && !self.limits.discard {
            self.begin();
        }
        self.run.count_bytes(self.buffer.len())?;
        let held = self.memory.split(usize::MAX);
        Ok(Batch { bytes: std::mem::take(&mut self.buffer), held: Some(held) })
    }

    pub fn null(&mut self) {
        Value::Null.write(&mut self.buffer);
    }

    pub fn boolean(&mut self, value: bool) {
        Value::Boolean(value).write(&mut self.buffer);
    }

    pub fn integer(&mut self, value: i64) {
        Value::Integer(value).write(&mut self.buffer);
    }

    /// As an integer where Lua has it, else as its digits.
    pub fn unsigned(&mut self, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.integer(value),
            Err(_) => self.text(value.to_string().as_bytes()),
        }
    }

    pub fn float(&mut self, value: f64) {
        Value::Float(value).write(&mut self.buffer);
    }

    /// A float of 32 bits as the number that its shortest text says: 1.1, not 1.10000002384.
    pub fn short_float(&mut self, value: f32) {
        self.float(value.to_string().parse().unwrap_or(f64::from(value)));
    }

    pub fn text(&mut self, value: &[u8]) {
        self.sized(Value::Text(value), value.len());
    }

    pub fn json(&mut self, value: &[u8]) {
        self.sized(Value::Json(value), value.len());
    }

    /// Takes memory for so many bytes more; false, and an error of the row, where the run has none left.
    fn reserve(&mut self, more: usize) -> bool {
        let need = self.buffer.len() + more;
        if need > self.memory.bytes() {
            // Room to grow, so that small values cost nothing.
            if let Err(refused) = self.memory.resize(need + (need / 2).max(BATCH)) {
                self.refused.get_or_insert(refused);
                return false;
            }
            self.buffer.reserve_exact(self.memory.bytes() - self.buffer.len());
        }
        true
    }

    fn sized(&mut self, value: Value<'_>, length: usize) {
        if self.reserve(length + Value::SIZE) {
            value.write(&mut self.buffer);
        }
    }

    /// A list; its `count` values follow.
    pub fn list(&mut self, count: u32) {
        Value::List(count).write(&mut self.buffer);
    }

    /// The digits of an exact number, or the number where that is wanted.
    pub fn numeric(&mut self, digits: &str, as_number: bool) {
        match digits.parse::<f64>() {
            Ok(value) if as_number => self.float(value),
            _ => self.text(digits.as_bytes()),
        }
    }
}

/// What a statement did besides giving rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub affected: u64,
    pub id: Option<i64>,
}
