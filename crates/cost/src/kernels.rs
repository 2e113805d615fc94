//! Coefficients of one chip and one stack.
