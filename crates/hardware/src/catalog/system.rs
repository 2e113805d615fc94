//! A system's file, and the system it resolves to.

use super::error::CatalogError;
use super::index::Document;
use super::limits;
use super::raw::{self, RawFact, Reader};
use crate::evidence::Source;
use crate::system::{Domain, DomainKind, Host, System, Topology};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use units::{Bytes, BytesPerSecond, Dollars, DollarsPerHour, Seconds, Watts};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSystem {
    name: Spanned<String>,
    #[serde(default)]
    aliases: Vec<String>,
    chip: String,
    chips: Spanned<u32>,
    #[serde(default)]
    generic: bool,
    overhead_power: RawFact<Watts>,
    price: Option<RawFact<Dollars>>,
    hourly: Option<RawFact<DollarsPerHour>>,
    #[serde(default)]
    host: RawHost,
    #[serde(default)]
    domain: Vec<Spanned<RawDomain>>,
    #[serde(default)]
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    cpu: Option<RawFact<String>>,
    dram: Option<RawFact<Bytes>>,
    link: Option<RawFact<BytesPerSecond>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDomain {
    kind: DomainKind,
    ranks: Option<Spanned<u32>>,
    bandwidth: RawFact<BytesPerSecond>,
    latency: RawFact<Seconds>,
    topology: Spanned<RawTopology>,
    link: String,
    in_network_reduction: Option<Spanned<bool>>,
    oversubscription: Option<Spanned<f64>>,
    dimensions: Option<Spanned<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawTopology {
    FullMesh,
    Switch,
    Clos,
    Ring,
    Torus,
}

/// Reads a system's file.
pub(crate) fn resolve(document: Document<'_>) -> Result<System, CatalogError> {
    let mut raw: RawSystem = raw::parse(document)?;
    let sources = std::mem::take(&mut raw.sources);
    let reader = Reader { document, sources: &sources };
    let chips = reader.number(raw.chips, limits::CHIPS)?;
    let domains = domains(&reader, raw.name.span(), raw.domain)?;
    let host = Host {
        cpu: raw.host.cpu.map(|cpu| reader.words(cpu)).transpose()?,
        dram: reader.optional(raw.host.dram, limits::CAPACITY)?,
        link: reader.optional(raw.host.link, limits::LINK_RATE)?,
    };
    Ok(System {
        id: document.id.to_owned(),
        name: raw.name.into_inner(),
        aliases: raw.aliases,
        chip: raw.chip,
        chips,
        generic: raw.generic,
        domains,
        host,
        overhead_power: reader.fact(raw.overhead_power, limits::OVERHEAD)?,
        price: reader.optional(raw.price, limits::PRICE)?,
        hourly: reader.optional(raw.hourly, limits::RENT)?,
        sources,
    })
}

/// The domains in order: kinds go outwards, sizes never shrink, and only the outermost may be unbounded.
fn domains(
    reader: &Reader<'_>,
    header: std::ops::Range<usize>,
    raw: Vec<Spanned<RawDomain>>,
) -> Result<Vec<Domain>, CatalogError> {
    let mut domains: Vec<Domain> = Vec::with_capacity(raw.len());
    for domain in raw {
        let span = domain.span();
        let domain = domain.into_inner().resolve(reader)?;
        if let Some(inner) = domains.last() {
            if domain.kind <= inner.kind {
                let message = format!(
                    "a {} domain cannot come after a {} domain; list them from the package outwards \
                     (package, node, scale-up, cluster)",
                    domain.kind, inner.kind
                );
                return Err(reader.invalid(span, message));
            }
            let Some(held) = inner.ranks else {
                let message = format!(
                    "only the outermost domain may leave out `ranks`; give the {} one its size",
                    inner.kind
                );
                return Err(reader.invalid(span, message));
            };
            if domain.ranks.is_some_and(|ranks| ranks < held || ranks % held != 0) {
                let message = format!(
                    "the {} domain must hold a multiple of the {held} ranks of the {} domain inside it",
                    domain.kind, inner.kind
                );
                return Err(reader.invalid(span, message));
            }
        }
        domains.push(domain);
    }
    if domains.is_empty() {
        let message =
            "has no `[[domain]]`; give at least a `node` with ranks, bandwidth, latency, topology and link";
        return Err(reader.invalid(header, message.to_owned()));
    }
    Ok(domains)
}

impl RawDomain {
    fn resolve(self, reader: &Reader<'_>) -> Result<Domain, CatalogError> {
        let topology = self.topology(reader)?;
        Ok(Domain {
            kind: self.kind,
            ranks: self.ranks.map(|ranks| reader.number(ranks, limits::DOMAIN_RANKS)).transpose()?,
            bandwidth: reader.fact(self.bandwidth, limits::LINK_RATE)?,
            latency: reader.fact(self.latency, limits::LATENCY)?,
            topology,
            link: self.link,
        })
    }

    /// The topology with its own figure; a figure that belongs to another topology is refused.
    fn topology(&self, reader: &Reader<'_>) -> Result<Topology, CatalogError> {
        let shape = *self.topology.get_ref();
        let stray = |key: &str, of: &str| format!("`{key}` belongs to `topology = \"{of}\"` only; remove it");
        if let (Some(reduction), true) = (&self.in_network_reduction, shape != RawTopology::Switch) {
            return Err(reader.invalid(reduction.span(), stray("in_network_reduction", "switch")));
        }
        if let (Some(ratio), true) = (&self.oversubscription, shape != RawTopology::Clos) {
            return Err(reader.invalid(ratio.span(), stray("oversubscription", "clos")));
        }
        if let (Some(dimensions), true) = (&self.dimensions, shape != RawTopology::Torus) {
            return Err(reader.invalid(dimensions.span(), stray("dimensions", "torus")));
        }
        Ok(match shape {
            RawTopology::FullMesh => Topology::FullMesh,
            RawTopology::Ring => Topology::Ring,
            RawTopology::Switch => {
                let in_network_reduction =
                    self.in_network_reduction.as_ref().is_some_and(|flag| *flag.get_ref());
                Topology::Switch { in_network_reduction }
            }
            RawTopology::Clos => {
                let ratio = self.oversubscription.clone();
                let oversubscription =
                    ratio.map_or(Ok(1.0), |ratio| reader.number(ratio, limits::OVERSUBSCRIPTION))?;
                Topology::Clos { oversubscription }
            }
            RawTopology::Torus => {
                let Some(dimensions) = self.dimensions.clone() else {
                    let message = "a torus needs `dimensions = 2` or `3`".to_owned();
                    return Err(reader.invalid(self.topology.span(), message));
                };
                Topology::Torus { dimensions: reader.number(dimensions, limits::DIMENSIONS)? }
            }
        })
    }
}
