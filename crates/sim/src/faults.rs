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
    /// A part of the hardware breaks or is mended; what stands on it goes with it.
    Part {
        /// Which one.
        part: Part,
        /// Whether it works from now on.
        works: bool,
    },
}

/// A part of the hardware. Systems are counted in the order in which pools first name them; chips are packages, counted
/// through a system and its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// One chip.
    Chip {
        /// The system.
        system: u32,
        /// The chip.
        chip: u32,
    },
    /// All chips of one board.
    Board {
        /// The system.
        system: u32,
        /// The board.
        board: u32,
    },
    /// All chips of one node.
    Node {
        /// The system.
        system: u32,
        /// The node.
        node: u32,
    },
    /// The link of one chip to the fabric.
    Link {
        /// The system.
        system: u32,
        /// The chip.
        chip: u32,
    },
}
