//! Request traces and generators.
