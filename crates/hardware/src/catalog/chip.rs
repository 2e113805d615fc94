//! A chip's file, and the chip it resolves to.

use super::error::CatalogError;
use super::index::Document;
use super::limits;
use super::raw::{self, RawFact, Reader};
use crate::chip::{Chip, Port, Rank};
use crate::date::Date;
use crate::evidence::{Fact, Source};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use units::{Bytes, BytesPerSecond, Dollars, Dtype, FlopPerSecond, Seconds, SquareMillimetres, Watts};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChip {
    name: Spanned<String>,
    vendor: String,
    family: String,
    #[serde(default)]
    aliases: Vec<String>,
    ranks: Option<Spanned<u32>>,
    kernels: Spanned<Vec<String>>,
    system: Option<String>,
    engine: Option<String>,
    matrix: Spanned<BTreeMap<Dtype, RawFact<FlopPerSecond>>>,
    #[serde(default)]
    attained: BTreeMap<Dtype, RawFact<f64>>,
    vector: Option<RawFact<FlopPerSecond>>,
    cores: RawFact<u32>,
    l2: RawFact<Bytes>,
    memory: RawMemory,
    package_link: Option<Spanned<RawPackageLink>>,
    scale_up: Option<RawPort>,
    scale_out: Option<RawPort>,
    interconnect_bidirectional: Option<RawFact<BytesPerSecond>>,
    release: Option<RawFact<Date>>,
    tdp: Option<RawFact<Watts>>,
    idle: Option<RawFact<Watts>>,
    active: Option<RawFact<Watts>>,
    die_area: Option<RawFact<SquareMillimetres>>,
    price: Option<RawFact<Dollars>>,
    #[serde(default)]
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMemory {
    capacity: RawFact<Bytes>,
    bandwidth: RawFact<BytesPerSecond>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackageLink {
    bandwidth: RawFact<BytesPerSecond>,
    latency: RawFact<Seconds>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    bandwidth: RawFact<BytesPerSecond>,
    link: String,
}

fn matrix(
    reader: &Reader<'_>,
    raw: Spanned<BTreeMap<Dtype, RawFact<FlopPerSecond>>>,
) -> Result<BTreeMap<Dtype, Fact<FlopPerSecond>>, CatalogError> {
    let span = raw.span();
    let mut matrix = BTreeMap::new();
    for (dtype, fact) in raw.into_inner() {
        matrix.insert(dtype, reader.fact(fact, limits::COMPUTE)?);
    }
    if matrix.is_empty() {
        let message = "has no format; give the dense peak of at least one, such as `bf16`".to_owned();
        return Err(reader.invalid(span, message));
    }
    Ok(matrix)
}

/// The link between the ranks of a package, which one of several has and one of a single rank has not.
fn package_link(
    reader: &Reader<'_>,
    ranks: u32,
    raw: Option<Spanned<RawPackageLink>>,
    name: std::ops::Range<usize>,
) -> Result<Option<(Fact<BytesPerSecond>, Fact<Seconds>)>, CatalogError> {
    match (ranks, raw) {
        (1, Some(link)) => {
            let message =
                "joins the ranks of a package, but this one has a single rank; remove it or set `ranks`";
            Err(reader.invalid(link.span(), message.to_owned()))
        }
        (1, None) => Ok(None),
        (_, None) => {
            let message =
                format!("has {ranks} ranks per package; give `package_link` with bandwidth and latency");
            Err(reader.invalid(name, message))
        }
        (_, Some(link)) => {
            let link = link.into_inner();
            let bandwidth = reader.fact(link.bandwidth, limits::LINK_RATE)?;
            Ok(Some((bandwidth, reader.fact(link.latency, limits::LATENCY)?)))
        }
    }
}

/// Reads a chip's file.
pub(crate) fn resolve(document: Document<'_>) -> Result<Chip, CatalogError> {
    let mut raw: RawChip = raw::parse(document)?;
    let sources = std::mem::take(&mut raw.sources);
    let reader = Reader { document, sources: &sources };
    let matrix = matrix(&reader, raw.matrix)?;
    let attained = raw.attained.into_iter();
    let attained = attained
        .map(|(dtype, fact)| Ok((dtype, reader.fact(fact, limits::FACTOR)?)))
        .collect::<Result<BTreeMap<_, _>, CatalogError>>()?;
    let ranks = raw.ranks.map_or(Ok(1), |ranks| reader.number(ranks, limits::RANKS))?;
    let package_link = package_link(&reader, ranks, raw.package_link, raw.name.span())?;
    if raw.kernels.get_ref().is_empty() {
        let message = "is empty; name the kernel profile of the nearest relative, such as `h100`".to_owned();
        return Err(reader.invalid(raw.kernels.span(), message));
    }
    let rank = Rank {
        matrix,
        attained,
        vector: reader.optional(raw.vector, limits::COMPUTE)?,
        cores: reader.fact(raw.cores, limits::CORES)?,
        l2: reader.fact(raw.l2, limits::CACHE)?,
        memory: reader.fact(raw.memory.capacity, limits::CAPACITY)?,
        bandwidth: reader.fact(raw.memory.bandwidth, limits::MEMORY_RATE)?,
    };
    let tdp = reader.optional(raw.tdp, limits::POWER)?;
    Ok(Chip {
        id: document.id.to_owned(),
        name: raw.name.into_inner(),
        vendor: raw.vendor,
        family: raw.family,
        aliases: raw.aliases,
        ranks,
        rank,
        package_link,
        scale_up: raw.scale_up.map(|port| port.resolve(&reader)).transpose()?,
        scale_out: raw.scale_out.map(|port| port.resolve(&reader)).transpose()?,
        release: raw.release.map(|release| reader.as_given(release)).transpose()?,
        rating: tdp.as_ref().map(|fact| fact.value),
        tdp,
        idle: reader.optional(raw.idle, limits::POWER)?,
        active: reader.optional(raw.active, limits::POWER)?,
        die_area: reader.optional(raw.die_area, limits::AREA)?,
        interconnect_bidirectional: reader.optional(raw.interconnect_bidirectional, limits::LINK_RATE)?,
        price: reader.optional(raw.price, limits::PRICE)?,
        kernels: raw.kernels.into_inner(),
        system: raw.system,
        engine: raw.engine,
        sources,
    })
}

impl RawPort {
    fn resolve(self, reader: &Reader<'_>) -> Result<Port, CatalogError> {
        Ok(Port { bandwidth: reader.fact(self.bandwidth, limits::LINK_RATE)?, link: self.link })
    }
}
