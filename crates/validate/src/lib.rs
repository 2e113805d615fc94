//! Holding predictions to measurements.
