//! Collectives on nested domains.
