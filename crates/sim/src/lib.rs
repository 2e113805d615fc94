//! Event queue and virtual clock: drives the control plane.
