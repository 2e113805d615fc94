//! A system: chips in nested domains, from the package outwards.

use crate::evidence::{Fact, Source};
use std::collections::BTreeMap;
use std::fmt;
use units::{Bytes, BytesPerSecond, Dollars, DollarsPerHour, Seconds, Watts};

/// A machine or a fabric of machines. A deployment may use more chips than one scale-up domain holds; the outermost
/// domain joins as many as it likes.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Catalog key, for example `cloudmatrix384`.
    pub id: String,
    /// The vendor's name for it.
    pub name: String,
    /// Other names that resolve to it.
    pub aliases: Vec<String>,
    /// Catalog key of the chip it is built of; `--chip` replaces it in a generic system.
    pub chip: String,
    /// Packages in the machine as it is bought (8 for an HGX board, 384 for a CloudMatrix384).
    pub chips: u32,
    /// Whether it stands for no machine in particular and takes its links from the chip put in it.
    pub generic: bool,
    /// Domains, innermost first; ranks that share the first one that holds both talk over it.
    pub domains: Vec<Domain>,
    /// The host beside the chips.
    pub host: Host,
    /// Power that is not the chips' own, per package: host, fans, NICs, switches, optics, power conversion.
    pub overhead_power: Fact<Watts>,
    /// Purchase price per package with its share of the system.
    pub price: Option<Fact<Dollars>>,
    /// Rent or total cost of ownership per package and hour.
    pub hourly: Option<Fact<DollarsPerHour>>,
    /// What the facts' source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

/// What kind of boundary a domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainKind {
    /// The ranks of one package, joined by a die-to-die link.
    Package,
    /// One host's chips.
    Node,
    /// What load/store or one fabric reaches beyond the node: NVLink rack, UB plane, ICI torus.
    ScaleUp,
    /// The scale-out network.
    Cluster,
}

impl fmt::Display for DomainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Package => "package",
            Self::Node => "node",
            Self::ScaleUp => "scale-up",
            Self::Cluster => "cluster",
        })
    }
}

/// One level of nesting.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    /// What kind of boundary it is.
    pub kind: DomainKind,
    /// Ranks inside one such domain; `None` for the unbounded outermost one.
    pub ranks: Option<u32>,
    /// Bandwidth out of one rank into this domain, one direction.
    pub bandwidth: Fact<BytesPerSecond>,
    /// Time for the first byte to cross, software excluded.
    pub latency: Fact<Seconds>,
    /// How its members are joined.
    pub topology: Topology,
    /// Link class, the key of the collective coefficients: `nvlink4`, `ub`, `hccs`, `infiniband`, `roce` ...
    pub link: String,
}

/// How the members of a domain are joined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Topology {
    /// A link between each pair; a pair alone gets its share of the bandwidth only.
    FullMesh,
    /// One crossbar: any pair gets the full bandwidth.
    Switch {
        /// Whether the switch reduces in the network (NVLink SHARP), which halves all-reduce traffic.
        in_network_reduction: bool,
    },
    /// A folded Clos of switches.
    Clos {
        /// Downlink over uplink bandwidth; 1 is non-blocking.
        oversubscription: f64,
    },
    /// A ring.
    Ring,
    /// A torus of this many dimensions.
    Torus {
        /// 2 or 3 in practice.
        dimensions: u32,
    },
}

/// The host beside the chips.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// What processor it is, in words.
    pub cpu: Option<Fact<String>>,
    /// Host memory per package.
    pub dram: Option<Fact<Bytes>>,
    /// One-direction bandwidth between a rank and its host's memory.
    pub link: Option<Fact<BytesPerSecond>>,
}

impl System {
    /// The innermost domain that holds `ranks` consecutive ranks (the outermost if none does).
    pub fn domain_for(&self, ranks: u32) -> &Domain {
        self.domains
            .iter()
            .find(|domain| domain.ranks.is_none_or(|held| held >= ranks))
            .unwrap_or_else(|| self.domains.last().expect("a resolved system has a domain"))
    }
}
