//! What is run, and what it is called with.

use assay_capability_api::Identity;
use assay_capability_api::random;
use assay_runtime::{Call, Console};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A script. Cheap to clone: runs share its source.
#[derive(Clone, Debug)]
pub struct Script(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chunk: String,
    arg0: String,
    source: Arc<[u8]>,
    hash: String,
}

impl Script {
    /// One from a file, or with the name of one: messages and tracebacks show it.
    pub fn new(path: &str, source: impl Into<Arc<[u8]>>) -> Script {
        Script::named(format!("@{path}"), path, source)
    }

    /// One whose name in messages, in Lua's form (`=stdin`), is not what it is called by in `arg[0]`.
    pub fn named(chunk: impl Into<String>, arg0: impl Into<String>, source: impl Into<Arc<[u8]>>) -> Script {
        let source = source.into();
        let hash = hex::encode(Sha256::digest(&source));
        Script(Arc::new(Inner { chunk: chunk.into(), arg0: arg0.into(), source, hash }))
    }

    /// The chunk's name in Lua's form.
    pub fn chunk(&self) -> &str {
        &self.0.chunk
    }

    /// `arg[0]`.
    pub fn arg0(&self) -> &str {
        &self.0.arg0
    }

    pub fn source(&self) -> &Arc<[u8]> {
        &self.0.source
    }

    /// The identity of a new run of it, for the audit and the log.
    pub fn identity(&self, tenant: Option<String>) -> Identity {
        Identity {
            run: random::name(),
            tenant,
            script: self.0.arg0.clone(),
            script_hash: self.0.hash.clone(),
        }
    }
}

/// What a script is run with.
#[derive(Clone)]
pub enum Input {
    /// Its arguments: `...` and `arg`.
    Arguments(Vec<Vec<u8>>),
    /// A function of the module that it returns is called with a value, once its top level has run.
    Call(Call),
    /// Chunks, one after the other; the script's own source is not run.
    Console(Arc<dyn Console>),
    /// Nothing: it is compiled only.
    Check,
}

impl Default for Input {
    fn default() -> Input {
        Input::Arguments(Vec::new())
    }
}

impl Input {
    /// A call of `function` of the module that the script returns; an empty name is the module itself.
    ///
    /// # Errors
    /// When the value cannot be written as JSON: a map with keys that are no text.
    pub fn call(function: &str, value: &(impl Serialize + ?Sized)) -> serde_json::Result<Input> {
        Ok(Input::Call(Call { function: function.into(), input: serde_json::to_string(value)? }))
    }
}
