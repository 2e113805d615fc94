//! Figures of an engine that a fit or a correction moves.

use hardware::Engine;

/// A figure: how to read and write it as a number in its base unit.
pub(crate) struct EngineFigure {
    /// Section and key of the engine's file.
    pub name: &'static str,
    /// Reads it.
    pub get: fn(&Engine) -> f64,
    /// Writes it.
    pub set: fn(&mut Engine, f64),
}

/// A time of an engine.
macro_rules! time {
    ($section:ident.$key:ident) => {
        crate::figure::EngineFigure {
            name: concat!(stringify!($section), ".", stringify!($key)),
            get: |engine| engine.$section.$key.value.get(),
            set: |engine, value| engine.$section.$key.value = units::Seconds::new(value),
        }
    };
}

/// A number without a unit of an engine.
macro_rules! number {
    ($section:ident.$key:ident) => {
        crate::figure::EngineFigure {
            name: concat!(stringify!($section), ".", stringify!($key)),
            get: |engine| engine.$section.$key.value,
            set: |engine, value| engine.$section.$key.value = value,
        }
    };
}

pub(crate) use {number, time};
