//! Measurement formats, fitting and error statistics.
