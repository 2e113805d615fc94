//! Money, energy and carbon of a run.

use estimate::economics::{Ownership, Site};
use units::{Dollars, GramsCo2, Joules, Seconds};

/// How the pools of a run are paid for, and where it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Costs {
    /// The site.
    pub site: Site,
    /// How the packages of each pool are paid for; `None` where nobody knows.
    pub pools: Vec<Option<Ownership>>,
}

impl Costs {
    /// Energy at the facility's plug of what chips and machines drew.
    pub fn facility(&self, drawn: Joules) -> Joules {
        drawn * self.site.pue
    }

    /// Carbon of what chips and machines drew.
    pub fn carbon(&self, drawn: Joules) -> GramsCo2 {
        GramsCo2::new(self.facility(drawn).kilowatt_hours() * self.site.carbon.get())
    }

    /// Money for pools whose packages were there for `package_time` each and drew `drawn` together; `None` if one of them
    /// has no price.
    pub fn money(&self, package_time: &[Seconds], drawn: Joules) -> Option<Dollars> {
        let held = self.pools.iter().zip(package_time).map(|(ownership, time)| {
            let hourly = ownership.as_ref()?.per_hour(&self.site);
            Some(hourly.get() * time.get() / 3600.0)
        });
        let held: Option<f64> = held.sum();
        let bought = self.pools.iter().any(|pool| matches!(pool, Some(Ownership::Bought { .. })));
        let electricity =
            if bought { self.facility(drawn).kilowatt_hours() * self.site.electricity.get() } else { 0.0 };
        held.map(|held| Dollars::new(held + electricity))
    }
}
