//! A system: chips in nested domains, from the package outwards.

use crate::chip::Chip;
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

/// What kind of boundary a domain is, from the inside out.
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

impl DomainKind {
    /// Every kind, from the inside out.
    pub const ALL: [Self; 4] = [Self::Package, Self::Node, Self::ScaleUp, Self::Cluster];
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

    /// The domain of this kind, if the system has one.
    pub fn domain(&self, kind: DomainKind) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.kind == kind)
    }

    /// Ranks of one package, as the innermost domain says.
    pub fn ranks_per_chip(&self) -> u32 {
        let package = self.domain(DomainKind::Package).and_then(|domain| domain.ranks);
        package.unwrap_or(1)
    }

    /// Ranks of the machine as it is bought.
    pub fn ranks(&self) -> u32 {
        self.chips.saturating_mul(self.ranks_per_chip())
    }

    /// The same machine with another chip in it.
    ///
    /// Domains keep their number of packages. A generic system takes its links from the chip's own ports where they
    /// are known; any other keeps its fabric. What the old chip cost is forgotten: the new one costs its own price and its share
    /// of the machine, see [`Chip::price_in_a_machine`].
    #[must_use]
    pub fn with_chip(&self, chip: &Chip) -> Self {
        let before = self.ranks_per_chip();
        let rescaled = |domain: &Domain| {
            let ranks = domain.ranks.map(|ranks| (ranks / before).saturating_mul(chip.ranks));
            let port = match domain.kind {
                _ if !self.generic => None,
                DomainKind::Cluster => chip.scale_out.as_ref(),
                _ => chip.scale_up.as_ref(),
            };
            let (bandwidth, link) = match port {
                Some(port) => (port.bandwidth.clone(), port.link.clone()),
                None => (domain.bandwidth.clone(), domain.link.clone()),
            };
            Domain { ranks, bandwidth, link, ..domain.clone() }
        };
        let package = chip.package_link.as_ref().map(|(bandwidth, latency)| Domain {
            kind: DomainKind::Package,
            ranks: Some(chip.ranks),
            bandwidth: bandwidth.clone(),
            latency: latency.clone(),
            topology: Topology::FullMesh,
            link: self.domain(DomainKind::Package).map_or("sio", |domain| &domain.link).to_owned(),
        });
        let outer = self.domains.iter().filter(|domain| domain.kind != DomainKind::Package).map(rescaled);
        let same = self.chip == chip.id && !self.generic;
        let mut sources = self.sources.clone();
        sources.extend(chip.sources.clone());
        Self {
            name: if same { self.name.clone() } else { format!("{}: {}", self.name, chip.name) },
            chip: chip.id.clone(),
            domains: package.into_iter().chain(outer).collect(),
            price: if same { self.price.clone() } else { chip.price_in_a_machine() },
            hourly: if same { self.hourly.clone() } else { None },
            sources,
            ..self.clone()
        }
    }
}
