//! What the tests share: scripts with directives, the executable, and servers.

pub mod attacks;
pub mod cases;
pub mod executable;
pub mod servers;
