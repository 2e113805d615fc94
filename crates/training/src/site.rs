//! Where a job runs: a system of the catalog with prices for its kernels and links.

use crate::error::JobError;
use crate::framework::{Framework, Profile};
use crate::measured::{Measured, PriceError};
use crate::tiers::{Tiered, Tiers};
use hardware::{Catalog, CatalogError, Chip, Fact, System};
use units::BytesPerSecond;

/// Why a site cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The catalog lacks a name or holds a malformed file.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The chip has no prices.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// A link that nothing goes over.
    #[error("`nic` {0} is no bandwidth of a link; give more than 0 and at most 10 PB/s, for example 50 GB/s")]
    Nic(BytesPerSecond),
    /// A framework profile cannot be read, or lacks a release.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// A chip in its system, priced.
pub struct Site {
    /// The system.
    pub system: System,
    /// Its chip.
    pub chip: Chip,
    /// Prices of one rank's kernels and links.
    pub pricer: Tiered<Measured>,
}

impl Site {
    /// The system of that key or alias, with `chip` in place of its own where one is named; `nic` replaces the scale-out
    /// bandwidth of one package.
    ///
    /// # Errors
    /// The catalog lacks the system or the chip, or the chip cannot be priced.
    pub fn new(
        catalog: &Catalog,
        system: &str,
        chip: Option<&str>,
        nic: Option<BytesPerSecond>,
    ) -> Result<Self, SiteError> {
        let (mut system, chip) = match chip {
            Some(chip) => catalog.system_with_chip(system, chip)?,
            None => {
                let system = catalog.system(system)?;
                let chip = catalog.chip(&system.chip)?;
                (system, chip)
            }
        };
        if let Some(nic) = nic.filter(|nic| !(nic.get() > 0.0 && nic.get() <= 1e16)) {
            return Err(SiteError::Nic(nic));
        }
        let inner = system.domains.len() > 1;
        if let (Some(nic), Some(outermost), true) = (nic, system.domains.last_mut(), inner) {
            let per_rank = nic / f64::from(chip.ranks.max(1));
            outermost.bandwidth = Fact::assumed(per_rank, "given with the job");
        }
        // A system whose network beyond one pod is known has a file of its own.
        let network =
            catalog.text("networks", &system.id).or_else(|_| catalog.text("networks", "default"))?;
        let tiers = Tiers::parse(network)?;
        let pricer = Tiered::new(Measured::new(catalog, &chip, &system)?, tiers, chip.ranks);
        Ok(Self { system, chip, pricer })
    }
}

/// The framework of that key or alias.
///
/// # Errors
/// The catalog lacks it, or its profile cannot be read.
pub fn framework(catalog: &Catalog, name: &str) -> Result<Framework, SiteError> {
    let document = catalog.document("frameworks", name)?;
    Ok(Framework::parse(document.id, document.text)?)
}

/// A release of that framework, by default the newest.
///
/// # Errors
/// As [`framework`], or it has no such release.
pub fn profile(catalog: &Catalog, name: &str, release: Option<&str>) -> Result<Profile, SiteError> {
    let framework = framework(catalog, name)?;
    let Some(release) = release else {
        return Ok(framework.newest().clone());
    };
    let known: Vec<&str> = framework.releases().map(|profile| profile.release.as_str()).collect();
    framework.release(release).cloned().ok_or_else(|| {
        SiteError::Job(JobError::Framework {
            id: framework.id.clone(),
            why: format!("it has no release `{release}`; its releases are {}", known.join(", ")),
        })
    })
}
