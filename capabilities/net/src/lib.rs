//! What every capability that reaches a server, or is one, needs for it: connections to addresses that were checked,
//! proxies, TLS with one way to decide about certificates, PEM, and files of bounded length.
//!
//! It is no capability: nothing here has a WIT file or grants of its own.

mod basic;
mod cluster;
pub mod connect;
pub mod failure;
pub mod file;
mod origin;
pub mod pem;
pub mod proxy;
pub mod tls;
mod verify;

pub use basic::{basic_auth, percent_decode};
pub use origin::Origin;
pub use pem::Pem;
pub use proxy::Proxy;
pub use tls::Trust;

use assay_capability_api::error;
use assay_capability_api::types::{Error, ErrorCode};

fn invalid(message: impl Into<String>) -> Error {
    error(ErrorCode::InvalidArgument, message)
}
