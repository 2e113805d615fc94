//! Launch scripts, commands and configuration files, read without running them.
//!
//! [`read_training`] makes a job of what starts a training run, [`read_serving`] instances of what starts servers. What was given is kept with where it stands; what is not
//! modelled is listed by what it would change.

mod command;
mod configs;
mod error;
mod flags;
mod hf;
mod inputs;
mod megatron;
mod releases;
mod serving;
mod shell;
mod training;

pub use error::{LaunchError, Location};
pub use flags::{GivenFlag, Unread, Weight};
pub use inputs::{Inputs, MAX_TEXT, parse_pair};
pub use releases::{Release, releases};
pub use serving::{PointKey, Role, ServingLaunch, read_serving};
pub use training::{TrainingLaunch, read_training};
