//! The engine, which is made once for all renderings; the state of one rendering is kept beside it.

use super::bounds::{self, Bounds};
use super::{auto_escape, format, load, nested};
use crate::host::types::{self, ErrorCode};
use crate::region::{self, Running};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use std::sync::OnceLock;

/// What one rendering may use up: an instruction costs 1, and so do 64 bytes of data that it makes.
pub const FUEL: u64 = 2_000_000;
/// Levels of nested includes, macros and loops, weighed by the engine; it bounds the wasm stack.
const RECURSION: usize = 300;
/// The filter that a template which is included begins with: it is compiled now.
pub const COMPILED_NOW: &str = "__compiled";
/// The filter that what is assigned to a namespace goes through.
pub const NESTED: &str = "__nested";

/// The engine for templates in which an unknown variable is nothing, and the one in which it is an error.
static ENGINES: [OnceLock<Environment<'static>>; 2] = [OnceLock::new(), OnceLock::new()];

/// The engine for one rendering: what it loads is dropped with it, all else is shared. To be asked for outside of a region,
/// whose end would take from the others what they share.
pub fn engine(strict: bool) -> Environment<'static> {
    region::counted(|| {
        let engine = ENGINES[usize::from(strict)].get_or_init(|| {
            let engine = make(if strict { UndefinedBehavior::Strict } else { UndefinedBehavior::Lenient });
            // This fills those of its caches that live as long as the instance. It cannot fail; if it did, nothing would
            // be in them.
            let _ = engine.render_str("{{ 1 }}", ());
            engine
        });
        engine.clone()
    })
}

fn make(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_fuel(Some(FUEL));
    engine.set_formatter(format);
    engine.set_recursion_limit(RECURSION);
    engine.set_auto_escape_callback(auto_escape);
    engine.set_undefined_behavior(undefined);
    bounds::register(&mut engine, undefined);
    engine.set_loader(load);
    engine.add_filter(COMPILED_NOW, |nothing: Value| {
        back_to_render();
        nothing
    });
    engine.add_filter(NESTED, nested);
    engine
}

/// What is of one rendering.
struct Rendering {
    /// Where its includes lie.
    directory: String,
    bounds: Bounds,
    /// Why something could not be had, which says more than the engine's error.
    refused: Option<types::Error>,
}

/// The rendering that runs. Another one may begin in it: a finalizer runs where memory is short.
static mut RENDERING: Rendering = Rendering { directory: String::new(), bounds: Bounds::NONE, refused: None };

/// The rendering that this one began in; it goes on when this is dropped.
pub struct Outer(Option<Rendering>);

/// A rendering begins, with includes from `directory`.
#[must_use]
pub fn begin(directory: &str) -> Outer {
    let rendering = Rendering { directory: directory.to_owned(), bounds: Bounds::now(), refused: None };
    Outer(Some(unsafe { std::ptr::replace(&raw mut RENDERING, rendering) }))
}

impl Drop for Outer {
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            drop(unsafe { std::ptr::replace(&raw mut RENDERING, outer) });
        }
    }
}

fn running() -> &'static mut Rendering {
    unsafe { (&raw mut RENDERING).as_mut_unchecked() }
}

/// The bounds of the rendering that runs.
pub fn bounds() -> Bounds {
    running().bounds
}

/// Where the includes of the rendering that runs lie.
pub fn directory() -> &'static str {
    &running().directory
}

/// Keeps why something cannot be had.
pub fn refuse(error: types::Error) -> Error {
    let message = error.message.clone();
    running().refused = Some(error);
    Error::new(ErrorKind::InvalidOperation, message)
}

/// The same for a bound that is passed.
pub fn limit(message: String) -> Error {
    refuse(types::Error { code: ErrorCode::Limit, message, errno: 0 })
}

/// Takes why something could not be had.
pub fn refused() -> Option<types::Error> {
    running().refused.take()
}

/// The region that was left to compile a template which is included; none while nothing is compiled.
static mut LEFT: Option<Running> = None;

/// What the engine compiles is kept beyond a rendering that fails, some of its buffers even for the next template. So it
/// compiles in no region, from when a template is loaded until the first that is heard of what it renders.
pub fn leave_to_compile() {
    unsafe { LEFT = Some(region::leave_counted()) };
}

/// The engine renders.
pub fn back_to_render() {
    if let Some(running) = unsafe { std::ptr::replace(&raw mut LEFT, None) } {
        region::back(running);
    }
}
