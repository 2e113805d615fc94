//! Physical quantities as types: what a number means is part of its type.
//!
//! Every quantity is an `f64` in one base unit (seconds, bytes, FLOP, watts, joules, dollars, grams of CO2e),
//! is parsed from text such as `"3.2 TB/s"`, and prints itself with a readable prefix. Products and quotients
//! that make sense are defined between the types, so that `Bytes / BytesPerSecond` is a `Seconds` and a mistake
//! of dimension does not compile.
//!
//! ```
//! use supernode_units::{Bytes, BytesPerSecond, Seconds};
//! let hbm: BytesPerSecond = "1.6 TB/s".parse().unwrap();
//! let weights: Bytes = "64 GB".parse().unwrap();
//! let read: Seconds = weights / hbm;
//! assert_eq!(read.to_string(), "40 ms");
//! ```

mod dtype;
mod parse;
mod quantity;

pub use dtype::{Dtype, UnknownDtype};
pub use parse::ParseQuantityError;
pub use quantity::*;
