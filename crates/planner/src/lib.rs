//! Search over deployments.
