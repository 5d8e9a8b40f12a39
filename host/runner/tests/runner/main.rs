//! Running scripts as another program does.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod ambient;
mod embedder;
mod log;
mod panics;
mod tenants;
