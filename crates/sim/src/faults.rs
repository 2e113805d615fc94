//! Failures and repairs of hardware, given or drawn.

use serving::InstanceId;
use units::Seconds;

/// Something that breaks or is mended.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When.
    pub at: Seconds,
    /// What.
    pub kind: FaultKind,
}

/// What breaks or is mended.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// A chip, board or node under an instance dies.
    Fail {
        /// The instance.
        instance: InstanceId,
        /// Its ranks that are gone.
        ranks: u32,
        /// Whether a repair follows.
        repairable: bool,
    },
    /// The hardware under an instance works again.
    Repair {
        /// The instance.
        instance: InstanceId,
    },
    /// Links or switches fail or come back: instances are left with a share of their fabric bandwidth.
    Links {
        /// The instances.
        instances: Vec<InstanceId>,
        /// The share, 0 to 1.
        share: f64,
    },
}
