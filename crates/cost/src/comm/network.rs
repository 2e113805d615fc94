//! A system's domains with the coefficients of their links.

use super::group::Group;
use super::links::{LinkClass, LinkError, LinkSet, SetBasis, USUAL_RANKS};
use crate::kernels::{Profile, ProfileError};
use crate::step::{Basis, Evidence};
use hardware::{Catalog, Chip, Domain, DomainKind, System, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;
use units::{BytesPerSecond, Seconds};

/// Domains that may be nested in a system.
pub const MAX_DOMAINS: usize = 6;

/// Class of link whose sets stand in where nothing better is known.
pub const GENERIC: &str = "generic";

/// Libraries that every engine falls back to, whatever it brings itself.
const BASE_LIBRARIES: [&str; 3] = ["nccl", "hccl", GENERIC];

/// A network that cannot be priced.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommError {
    /// More nesting than a machine has.
    #[error("system `{system}` has {found} domains and at most {MAX_DOMAINS} can be priced; merge some")]
    TooManyDomains {
        /// The system.
        system: String,
        /// Its domains.
        found: usize,
    },
    /// A link file that cannot be read.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A profile of communication that cannot be read.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Link classes that stand in for one another without end, or name a class that is not there.
    #[error("link class `{class}` is `like` `{like}`, which is not a class of its own; use one of {known}")]
    Relative {
        /// The class.
        class: String,
        /// What it names.
        like: String,
        /// Classes that exist.
        known: String,
    },
    /// An operation that no class of the chain has coefficients for.
    #[error(
        "no link class among {classes} has a set `{op}` of library {libraries}; add one to `links/{GENERIC}.toml`"
    )]
    NoSet {
        /// The operation.
        op: String,
        /// Libraries asked for.
        libraries: String,
        /// Classes searched.
        classes: String,
    },
    /// A group that the system cannot hold.
    #[error(
        "a group needs at least one rank and a stride of at least one, not {size} ranks with stride {stride}"
    )]
    EmptyGroup {
        /// Ranks asked for.
        size: u32,
        /// Distance between them.
        stride: u32,
    },
}

/// One level of nesting.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) kind: DomainKind,
    /// Ranks inside one such domain; infinite for the outermost.
    pub(super) capacity: f64,
    pub(super) bandwidth: f64,
    pub(super) latency: f64,
    pub(super) topology: Topology,
    /// The class of its link, its relative if it has one, and the generic class.
    pub(super) classes: Vec<Arc<LinkClass>>,
}

/// A set of coefficients and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    pub(super) set: &'a LinkSet,
    pub(super) class: &'a LinkClass,
    /// Whether the class is the link's own.
    pub(super) own: bool,
    /// Whether it was measured on this chip.
    pub(super) same_chip: bool,
}

/// A system's nested domains, ready to price groups of ranks on.
#[derive(Debug, Clone)]
pub struct Network {
    pub(super) levels: Vec<Level>,
    pub(super) chip: String,
    pub(super) cores: f64,
    stacks: Vec<String>,
}

impl Network {
    /// Puts the coefficients of the catalog's link classes on a system's domains. `stacks` are the engine's kernel
    /// stacks, nearest first: an engine's own all-reduce is preferred to the library's where its group allows it.
    ///
    /// # Errors
    /// If a link file is malformed or the system nests too many domains. A link class that the catalog does not know is
    /// priced by the generic one.
    pub fn new(
        catalog: &Catalog,
        system: &System,
        chip: &Chip,
        stacks: &[String],
    ) -> Result<Self, CommError> {
        if system.domains.len() > MAX_DOMAINS {
            return Err(CommError::TooManyDomains { system: system.id.clone(), found: system.domains.len() });
        }
        let mut classes =
            Classes { catalog, chip: &chip.id, profiles: BTreeMap::new(), read: BTreeMap::new() };
        let levels = system
            .domains
            .iter()
            .map(|domain| Ok(Level::new(domain, classes.chain(&domain.link)?)))
            .collect::<Result<Vec<_>, CommError>>()?;
        Ok(Self {
            levels,
            chip: chip.id.clone(),
            cores: f64::from(chip.rank.cores.value),
            stacks: stacks.to_vec(),
        })
    }

    /// Prepares a group of `size` ranks, `stride` ranks apart: a tensor-parallel group has stride 1, the data-parallel
    /// group across it the tensor-parallel size.
    ///
    /// # Errors
    /// If `size` or `stride` is zero, or no link class knows a collective.
    pub fn group(&self, size: u32, stride: u32) -> Result<Group, CommError> {
        Group::new(self, size, stride)
    }

    /// Kind, bandwidth of one rank, latency and link class of the domains, innermost first, in the order of
    /// [`super::CommCost::wire`].
    pub fn domains(&self) -> impl Iterator<Item = (DomainKind, BytesPerSecond, Seconds, &str)> {
        self.levels.iter().map(|level| {
            let class = level.classes.first().map_or(GENERIC, |class| class.id.as_str());
            (level.kind, BytesPerSecond::new(level.bandwidth), Seconds::new(level.latency), class)
        })
    }

    /// The coefficients of `op` on a level for a group of `ranks`: of the engine's own library if it serves that many,
    /// else of the base library; on this class of link, else of its relative, else generic.
    pub(super) fn collective_set(&self, level: usize, op: &str, ranks: f64) -> Result<Found<'_>, CommError> {
        let mut libraries: Vec<&str> = self.stacks.iter().map(String::as_str).collect();
        libraries.extend(BASE_LIBRARIES);
        self.set(level, op, &libraries, |set| {
            BASE_LIBRARIES.contains(&set.library.as_str()) || ranks <= set.most_ranks.max(USUAL_RANKS)
        })
    }

    /// The coefficients of `op` of one library on a level.
    pub(super) fn library_set(&self, level: usize, op: &str, library: &str) -> Result<Found<'_>, CommError> {
        self.set(level, op, &[library], |_| true)
    }

    fn set(
        &self,
        level: usize,
        op: &str,
        libraries: &[&str],
        serves: impl Fn(&LinkSet) -> bool,
    ) -> Result<Found<'_>, CommError> {
        let classes = &self.levels[level].classes;
        let found = classes.iter().enumerate().find_map(|(distance, class)| {
            let set = class.find(op, libraries, &serves)?;
            Some(Found { set, class, own: distance == 0, same_chip: set.chip == self.chip })
        });
        found.ok_or_else(|| CommError::NoSet {
            op: op.to_owned(),
            libraries: libraries.join(", "),
            classes: classes.iter().map(|class| class.id.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Level {
    fn new(domain: &Domain, classes: Vec<Arc<LinkClass>>) -> Self {
        Self {
            kind: domain.kind,
            capacity: domain.ranks.map_or(f64::INFINITY, f64::from),
            bandwidth: domain.bandwidth.value.get(),
            latency: domain.latency.value.get(),
            topology: domain.topology,
            classes,
        }
    }

    pub(super) fn reduces(&self) -> bool {
        matches!(self.topology, Topology::Switch { in_network_reduction: true })
    }
}

impl Found<'_> {
    /// What a price from this set for a group of `ranks` rests on. Borrowing a set from another class or chip adds to its
    /// error what such borrowing has cost where it could be measured. Beyond the groups that were measured each doubling may
    /// be off by as much again as rows kept out of the fit are.
    pub(super) fn evidence(&self, ranks: f64) -> Evidence {
        let doublings = (ranks / self.set.measured_to.max(1.0)).log2().max(0.0);
        let basis = match (self.set.basis, self.own, self.same_chip) {
            (SetBasis::Measured, true, true) if doublings > 0.0 => {
                Basis::Extrapolated(format!("to {ranks} ranks from {}", self.set.measured_to.round()))
            }
            (SetBasis::Measured, true, true) => Basis::Measured,
            (SetBasis::Published, true, true) => Basis::Derived,
            (SetBasis::Assumed, _, _) => Basis::Generic,
            _ if self.set.chip.is_empty() => Basis::Transferred(self.class.id.clone()),
            _ => Basis::Transferred(format!("{} on {}", self.class.id, self.set.chip)),
        };
        let borrowed = match &basis {
            Basis::Measured | Basis::Extrapolated(_) => 0.0,
            _ if self.set.basis != SetBasis::Measured => 0.0,
            _ if self.own => OTHER_CHIP_SIGMA,
            _ => OTHER_CLASS_SIGMA,
        };
        let beyond = if self.set.basis == SetBasis::Measured { 1.0 + doublings } else { 1.0 };
        Evidence { basis, rows: self.set.rows, sigma: (self.set.sigma * beyond).hypot(borrowed) }
    }
}

/// Standard deviation of ln(measured / predicted) when a chip borrows the coefficients another chip was fitted to on
/// the same class of link (H100 and H200, B200 and GB200 predicting one another).
pub const OTHER_CHIP_SIGMA: f64 = 0.15;
/// The same when a class of link borrows those of another class (one NVLink generation predicting the next).
pub const OTHER_CLASS_SIGMA: f64 = 0.3;

/// The group of profiles that hold fitted communication: `kernels/<chip>.comm.toml`.
pub const COMM_GROUP: &str = "comm";

/// Link classes as they are on one chip, each file read once.
struct Classes<'a> {
    catalog: &'a Catalog,
    chip: &'a str,
    /// Fitted communication by chip; `None` where nothing was measured.
    profiles: BTreeMap<String, Option<Profile>>,
    read: BTreeMap<String, Arc<LinkClass>>,
}

impl Classes<'_> {
    /// The class of a link, its relative if it has one, and the generic class.
    fn chain(&mut self, link: &str) -> Result<Vec<Arc<LinkClass>>, CommError> {
        let mut chain = Vec::new();
        if self.catalog.document("links", link).is_ok() {
            let own = self.class(link)?;
            let like = own.like.clone();
            chain.push(own);
            if let Some(like) = like {
                if like == link || self.catalog.document("links", &like).is_err() {
                    let known = self.catalog.ids("links").join(", ");
                    return Err(CommError::Relative { class: link.to_owned(), like, known });
                }
                chain.push(self.class(&like)?);
            }
        }
        let generic = self.class(GENERIC)?;
        if link != GENERIC {
            chain.push(generic);
        }
        Ok(chain)
    }

    /// A class with the fitted sets that speak for it on the chip: the chip's own, then those of the chips measured.
    fn class(&mut self, class: &str) -> Result<Arc<LinkClass>, CommError> {
        if let Some(read) = self.read.get(class) {
            return Ok(Arc::clone(read));
        }
        let document = self
            .catalog
            .document("links", class)
            .map_err(|error| LinkError::Format { class: class.to_owned(), message: error.to_string() })?;
        let mut read = LinkClass::parse(document.id, document.text)?;
        let others = read.measured_on.iter().map(String::as_str).filter(|other| *other != self.chip);
        let measured: Vec<String> = std::iter::once(self.chip).chain(others).map(str::to_owned).collect();
        // Each goes in front of what is there, so that the chip's own come first in the end.
        for chip in measured.iter().rev() {
            if let Some(profile) = self.profile(chip)? {
                read.add(profile);
            }
        }
        let read = Arc::new(read);
        self.read.insert(class.to_owned(), Arc::clone(&read));
        Ok(read)
    }

    fn profile(&mut self, chip: &str) -> Result<Option<&Profile>, CommError> {
        if !self.profiles.contains_key(chip) {
            let document = self.catalog.document("kernels", &format!("{chip}.{COMM_GROUP}")).ok();
            let profile = document.map(|document| Profile::parse(document.text, document.id)).transpose()?;
            self.profiles.insert(chip.to_owned(), profile);
        }
        Ok(self.profiles.get(chip).and_then(Option::as_ref))
    }
}
