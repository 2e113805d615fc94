//! Replacing single figures: `chip.hbm.bandwidth=4TB/s`.
//!
//! Every key that may be set is a row of one table. A replaced figure says so in its source and is graded `assumed`.

use crate::catalog::limits::{self, Limit};
use crate::chip::{Chip, Port};
use crate::economics::{Basis, Prices};
use crate::evidence::{Fact, Grade};
use crate::system::{Domain, DomainKind, System};
use std::fmt::Display;
use std::str::FromStr;
use units::{BytesPerSecond, Dtype, Seconds};

/// One `key=value`, checked.
#[derive(Debug, Clone)]
pub struct Override {
    text: String,
    /// What stands for the `<...>` of the key.
    part: String,
    value: String,
    row: &'static Row,
}

/// Why a figure cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// There is no `=`.
    #[error("`{text}`: write KEY=VALUE, for example chip.hbm.bandwidth=4TB/s")]
    NoValue {
        /// What was given.
        text: String,
    },
    /// No figure has this key.
    #[error("`{key}` is no figure that can be set{hint}; allowed are {allowed}")]
    UnknownKey {
        /// What was given.
        key: String,
        /// The nearest key, if any.
        hint: String,
        /// All keys.
        allowed: String,
    },
    /// The value does not fit the key.
    #[error("{key}: {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The chip or system at hand has no such figure.
    #[error("{key}: {owner} {reason}")]
    Inapplicable {
        /// The key.
        key: String,
        /// The chip or system.
        owner: String,
        /// What it lacks.
        reason: String,
    },
}

/// A figure that can be set.
#[derive(Debug)]
struct Row {
    /// Its key; a part in angle brackets stands for a name.
    key: &'static str,
    /// What it is, with a value that would be accepted.
    help: &'static str,
    /// Whether a value is one for this key.
    check: fn(&Override) -> Result<(), OverrideError>,
    apply: Apply,
}

#[derive(Debug)]
enum Apply {
    Chip(fn(&Override, &mut Chip) -> Result<(), OverrideError>),
    System(fn(&Override, &mut System) -> Result<(), OverrideError>),
    Prices(fn(&Override, &mut Prices) -> Result<(), OverrideError>),
}

/// Makes rows: key, help, limit of the value, owner, and how the checked fact is stored.
macro_rules! rows {
    ($($key:literal, $help:literal, $limit:expr, $owner:ident, |$set:ident, $target:ident, $fact:ident| $store:expr;)+) => {
        &[$(Row {
            key: $key,
            help: $help,
            check: |set| set.fact($limit).map(drop),
            apply: Apply::$owner(|$set, $target| {
                let $fact = $set.fact($limit)?;
                $store
            }),
        }),+]
    };
}

static ROWS: &[Row] = rows![
    "chip.ranks", "dies of a package that software sees as devices (2)", limits::RANKS, Chip,
        |set, chip, fact| set.ranks(chip, fact.value);
    "chip.cores", "SMs, AI cores or compute units of one rank (132)", limits::CORES, Chip,
        |_set, chip, fact| { chip.rank.cores = fact; Ok(()) };
    "chip.l2", "last-level on-chip cache of one rank (50 MiB)", limits::CACHE, Chip,
        |_set, chip, fact| { chip.rank.l2 = fact; Ok(()) };
    "chip.hbm.capacity", "device memory of one rank (80 GB)", limits::CAPACITY, Chip,
        |_set, chip, fact| { chip.rank.memory = fact; Ok(()) };
    "chip.hbm.bandwidth", "device memory bandwidth of one rank (4 TB/s)", limits::MEMORY_RATE, Chip,
        |_set, chip, fact| { chip.rank.bandwidth = fact; Ok(()) };
    "chip.matrix.<format>", "dense peak of one rank in a number format, such as chip.matrix.bf16 (989 TFLOPS)", limits::COMPUTE, Chip,
        |set, chip, fact| { chip.rank.matrix.insert(set.dtype()?, fact); Ok(()) };
    "chip.vector", "peak of one rank's vector units (67 TFLOPS)", limits::COMPUTE, Chip,
        |_set, chip, fact| { chip.rank.vector = Some(fact); Ok(()) };
    "chip.package-link.bandwidth", "one-direction bandwidth between the ranks of a package (270 GB/s)", limits::LINK_RATE, Chip,
        |set, chip, fact| set.package_link(chip, |link| link.0 = fact);
    "chip.package-link.latency", "latency between the ranks of a package (200 ns)", limits::LATENCY, Chip,
        |set, chip, fact| set.package_link(chip, |link| link.1 = fact);
    "chip.scale-up.bandwidth", "one-direction bandwidth of one rank's scale-up port, which generic systems use (450 GB/s)", limits::LINK_RATE, Chip,
        |_set, chip, fact| { set_port(&mut chip.scale_up, fact, "pcie5"); Ok(()) };
    "chip.scale-out.bandwidth", "one-direction bandwidth of one rank's network port, which generic systems use (400 Gbit/s)", limits::LINK_RATE, Chip,
        |_set, chip, fact| { set_port(&mut chip.scale_out, fact, "roce"); Ok(()) };
    "chip.interconnect", "both directions of all chip-to-chip ports of the package, which export rules count (900 GB/s)", limits::LINK_RATE, Chip,
        |_set, chip, fact| { chip.interconnect_bidirectional = Some(fact); Ok(()) };
    "chip.tdp", "thermal design power of the package (700 W)", limits::POWER, Chip,
        |_set, chip, fact| { chip.tdp = Some(fact); Ok(()) };
    "chip.idle", "power of the package when nothing runs (80 W)", limits::POWER, Chip,
        |_set, chip, fact| { chip.idle = Some(fact); Ok(()) };
    "chip.active", "power of the package while kernels run, before what they read and multiply (340 W)", limits::POWER, Chip,
        |_set, chip, fact| { chip.active = Some(fact); Ok(()) };
    "chip.die-area", "logic die area of the package (814 mm2)", limits::AREA, Chip,
        |_set, chip, fact| { chip.die_area = Some(fact); Ok(()) };
    "chip.price", "price of the package alone (30000 USD)", limits::PRICE, Chip,
        |_set, chip, fact| { chip.price = Some(fact); Ok(()) };
    "system.chips", "packages in the machine as it is bought (72)", limits::CHIPS, System,
        |_set, system, fact| { system.chips = fact.value; Ok(()) };
    "system.overhead-power", "power beside the chips, per package (575 W)", limits::OVERHEAD, System,
        |_set, system, fact| { system.overhead_power = fact; Ok(()) };
    "system.price", "price per package with its share of the machine (41667 USD)", limits::PRICE, System,
        |_set, system, fact| { system.price = Some(fact); Ok(()) };
    "system.hourly", "cost of a package and hour (2.1 USD/h)", limits::RENT, System,
        |_set, system, fact| { system.hourly = Some(fact); Ok(()) };
    "system.host.dram", "host memory per package (250 GB)", limits::CAPACITY, System,
        |_set, system, fact| { system.host.dram = Some(fact); Ok(()) };
    "system.host.link", "one-direction bandwidth between a rank and host memory (64 GB/s)", limits::LINK_RATE, System,
        |_set, system, fact| { system.host.link = Some(fact); Ok(()) };
    "system.domain.<domain>.bandwidth", "one-direction bandwidth out of one rank into a package, node, scale-up or cluster domain (196 GB/s)", limits::LINK_RATE, System,
        |set, system, fact| set.domain(system, |domain| domain.bandwidth = fact);
    "system.domain.<domain>.latency", "latency of a package, node, scale-up or cluster domain (2 us)", limits::LATENCY, System,
        |set, system, fact| set.domain(system, |domain| domain.latency = fact);
    "system.domain.<domain>.ranks", "ranks of a package, node, scale-up or cluster domain (768)", limits::DOMAIN_RANKS, System,
        |set, system, fact| set.domain_ranks(system, fact.value);
    "price.electricity", "price of electricity (0.08 USD/kWh)", limits::ELECTRICITY, Prices,
        |_set, prices, fact| { prices.electricity = fact; Ok(()) };
    "price.pue", "facility power over equipment power (1.3)", limits::PUE, Prices,
        |_set, prices, fact| { prices.pue = fact; Ok(()) };
    "price.carbon", "carbon intensity of electricity (370 g/kWh)", limits::CARBON, Prices,
        |_set, prices, fact| { prices.carbon = fact; Ok(()) };
    "price.depreciation", "time over which a purchase is written off (1461 d)", limits::DEPRECIATION, Prices,
        |_set, prices, fact| { prices.depreciation = fact; Ok(()) };
    "price.capital", "cost of capital as a fraction of a purchase per year (0.1)", limits::YEARLY, Prices,
        |_set, prices, fact| { prices.capital = fact; Ok(()) };
    "price.network", "network, storage and management as a fraction of a purchase (0.1)", limits::YEARLY, Prices,
        |_set, prices, fact| { prices.network = fact; Ok(()) };
    "price.staff", "maintenance and staff as a fraction of a purchase per year (0.03)", limits::YEARLY, Prices,
        |_set, prices, fact| { prices.staff = fact; Ok(()) };
    "price.space", "building, cooling and power distribution per provisioned kilowatt-hour, electricity excluded (0.18 USD/kWh)", limits::ELECTRICITY, Prices,
        |_set, prices, fact| { prices.space = fact; Ok(()) };
];

/// The basis that a figure belongs to, where it belongs to one alone.
fn basis_of(key: &str) -> Option<Basis> {
    match key {
        "system.hourly" => Some(Basis::Rent),
        "system.price" | "chip.price" | "price.electricity" | "price.depreciation" | "price.capital"
        | "price.network" | "price.staff" | "price.space" => Some(Basis::Buy),
        _ => None,
    }
}

/// The basis money is counted on: the one asked for, else the one that the figures set belong to, else purchase.
///
/// # Errors
/// A figure is set that has no part in the basis asked for, or two figures of different bases are.
pub(crate) fn basis(asked: Option<Basis>, set: &[Override]) -> Result<Basis, OverrideError> {
    let mut chosen = asked;
    for set in set {
        match (basis_of(&set.key()), chosen) {
            (Some(own), Some(other)) if own != other => {
                return Err(OverrideError::Inapplicable {
                    key: set.key(),
                    owner: format!("the cost basis `{other}`"),
                    reason: format!("takes no account of it; use the basis `{own}`, or leave the figure out"),
                });
            }
            (Some(own), None) => chosen = Some(own),
            _ => {}
        }
    }
    Ok(chosen.unwrap_or_default())
}

/// Every key that may be set, with what it is and a value that would be accepted.
pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROWS.iter().map(|row| (row.key, row.help))
}

impl Override {
    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// There is no `=`, no figure has the key, or the value is not one for it.
    pub fn parse(text: &str) -> Result<Self, OverrideError> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(OverrideError::NoValue { text: text.to_owned() });
        };
        let key = canonical(key);
        let (row, part) = find(&key).ok_or_else(|| unknown(&key))?;
        let set = Self { text: text.trim().to_owned(), part, value: value.trim().to_owned(), row };
        (row.check)(&set)?;
        if row.key.contains("<format>") {
            set.dtype()?;
        }
        if row.key.contains("<domain>") {
            set.kind()?;
        }
        Ok(set)
    }

    /// The key with its part filled in.
    pub fn key(&self) -> String {
        match (self.row.key.find('<'), self.row.key.find('>')) {
            (Some(from), Some(to)) => {
                format!("{}{}{}", &self.row.key[..from], self.part, &self.row.key[to + 1..])
            }
            _ => self.row.key.to_owned(),
        }
    }

    /// Whether it replaces a figure of chips.
    pub fn is_for_chips(&self) -> bool {
        matches!(self.row.apply, Apply::Chip(_))
    }

    /// Replaces the figure, if it is one of a chip.
    ///
    /// # Errors
    /// The chip has no such figure.
    pub fn apply_to_chip(&self, chip: &mut Chip) -> Result<(), OverrideError> {
        match self.row.apply {
            Apply::Chip(apply) => apply(self, chip),
            _ => Ok(()),
        }
    }

    /// Replaces the figure, if it is one of a system.
    ///
    /// # Errors
    /// The system has no such figure.
    pub fn apply_to_system(&self, system: &mut System) -> Result<(), OverrideError> {
        match self.row.apply {
            Apply::System(apply) => apply(self, system),
            _ => Ok(()),
        }
    }

    /// Replaces the figure, if it is a price.
    ///
    /// # Errors
    /// The value is not one for the key.
    pub fn apply_to_prices(&self, prices: &mut Prices) -> Result<(), OverrideError> {
        match self.row.apply {
            Apply::Prices(apply) => apply(self, prices),
            _ => Ok(()),
        }
    }

    /// The value as a fact within `limit`.
    fn fact<T>(&self, limit: Limit<T>) -> Result<Fact<T>, OverrideError>
    where
        T: FromStr<Err: Display> + PartialOrd + Display + Copy,
    {
        let value: T =
            self.value.parse().map_err(|error: T::Err| self.bad(format!("`{}`: {error}", self.value)))?;
        limit.hold(value).map_err(|reason| self.bad(reason))?;
        Ok(Fact { value, source: format!("set by `{}`", self.text), grade: Grade::Assumed, note: None })
    }

    fn dtype(&self) -> Result<Dtype, OverrideError> {
        self.part.parse().map_err(|error: units::UnknownDtype| self.bad(error.to_string()))
    }

    fn kind(&self) -> Result<DomainKind, OverrideError> {
        DomainKind::ALL.into_iter().find(|kind| kind.to_string() == self.part).ok_or_else(|| {
            self.bad(format!("`{}` is no domain; use package, node, scale-up or cluster", self.part))
        })
    }

    fn bad(&self, reason: String) -> OverrideError {
        OverrideError::BadValue { key: self.key(), reason }
    }

    fn inapplicable(&self, owner: &str, reason: String) -> OverrideError {
        OverrideError::Inapplicable { key: self.key(), owner: owner.to_owned(), reason }
    }

    /// More dies in a package need a link between them: without one of its own, the scale-up port is taken.
    fn ranks(&self, chip: &mut Chip, ranks: u32) -> Result<(), OverrideError> {
        if ranks == 1 {
            chip.package_link = None;
        } else if chip.package_link.is_none() {
            let Some(port) = &chip.scale_up else {
                return Err(self.inapplicable(&chip.id, "has no port to join several ranks by".to_owned()));
            };
            let why = "taken from the scale-up port, as the package has no link of its own";
            let bandwidth = Fact::assumed(port.bandwidth.value, why);
            chip.package_link = Some((bandwidth, Fact::assumed(Seconds::from_us(0.2), why)));
        }
        chip.ranks = ranks;
        Ok(())
    }

    fn package_link(
        &self,
        chip: &mut Chip,
        change: impl FnOnce(&mut (Fact<BytesPerSecond>, Fact<Seconds>)),
    ) -> Result<(), OverrideError> {
        match &mut chip.package_link {
            Some(link) => {
                change(link);
                Ok(())
            }
            None => {
                Err(self
                    .inapplicable(&chip.id, "is a single rank per package; set chip.ranks first".to_owned()))
            }
        }
    }

    fn domain(&self, system: &mut System, change: impl FnOnce(&mut Domain)) -> Result<(), OverrideError> {
        let kind = self.kind()?;
        let kinds: Vec<String> = system.domains.iter().map(|domain| domain.kind.to_string()).collect();
        match system.domains.iter_mut().find(|domain| domain.kind == kind) {
            Some(domain) => {
                change(domain);
                Ok(())
            }
            None => {
                let reason = format!("has no {kind} domain; it has {}", kinds.join(", "));
                Err(self.inapplicable(&system.id, reason))
            }
        }
    }

    /// Domains stay nested: a size must divide the one outside it and be a multiple of the one inside.
    fn domain_ranks(&self, system: &mut System, ranks: u32) -> Result<(), OverrideError> {
        let kind = self.kind()?;
        if kind == DomainKind::Package {
            return Err(self.inapplicable(&system.id, "takes this from its chip; set chip.ranks".to_owned()));
        }
        let fits = system.domains.iter().all(|domain| match domain.ranks {
            Some(held) if domain.kind < kind => ranks >= held && ranks % held == 0,
            Some(held) if domain.kind > kind => ranks <= held && held % ranks == 0,
            _ => true,
        });
        if !fits {
            let sizes: Vec<String> = system
                .domains
                .iter()
                .map(|domain| match domain.ranks {
                    Some(held) => format!("{} {held}", domain.kind),
                    None => format!("{} without bound", domain.kind),
                })
                .collect();
            let reason = format!("has domains of {}; {ranks} does not nest with them", sizes.join(", "));
            return Err(self.inapplicable(&system.id, reason));
        }
        self.domain(system, |domain| domain.ranks = Some(ranks))
    }
}

/// Replaces a port's bandwidth; a port made this way runs over `link`.
fn set_port(port: &mut Option<Port>, bandwidth: Fact<BytesPerSecond>, link: &str) {
    let link = port.take().map_or_else(|| link.to_owned(), |port| port.link);
    *port = Some(Port { bandwidth, link });
}

/// Keys are compared in lower case with dashes; `memory` is another word for `hbm`.
fn canonical(key: &str) -> String {
    key.trim().to_ascii_lowercase().replace('_', "-").replace("chip.memory.", "chip.hbm.")
}

/// The row of `key` and what stands for its part in angle brackets.
fn find(key: &str) -> Option<(&'static Row, String)> {
    ROWS.iter().find_map(|row| match (row.key.find('<'), row.key.find('>')) {
        (Some(from), Some(to)) => {
            let part = key.strip_prefix(&row.key[..from])?.strip_suffix(&row.key[to + 1..])?;
            (!part.is_empty() && !part.contains('.')).then(|| (row, part.replace("fp8-block", "fp8_block")))
        }
        _ => (row.key == key).then(|| (row, String::new())),
    })
}

fn unknown(key: &str) -> OverrideError {
    let names: Vec<&str> = ROWS.iter().map(|row| row.key).collect();
    let hint = names
        .iter()
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, name)| format!(" (did you mean `{name}`?)"));
    OverrideError::UnknownKey { key: key.to_owned(), hint, allowed: names.join(", ") }
}
