//! The schedule of a training job.
