//! Slurm's multifactor priority over its backfill: `w_age age + w_fs 2^(-usage/share) + w_size size + w_p priority`
//! (`priority/multifactor`, classic fair share), where usage and share are fractions of all usage and all weights.

use super::slurm::Backfill;
use super::{Policy, Settings};
use crate::job::TenantId;
use crate::pass::Pass;
use crate::state::{Entry, Key, State};
use serving::Nanos;

/// Weighted factors, then backfill.
pub struct Multifactor {
    settings: Settings,
    backfill: Backfill,
    period: Nanos,
}

impl Multifactor {
    /// With these weights.
    pub fn new(settings: &Settings) -> Self {
        let interval = Nanos::from_seconds(settings.backfill_interval);
        Self {
            settings: settings.clone(),
            backfill: Backfill::new(settings.depth, settings.preempt, interval),
            period: Nanos::new(interval.get().max(1_000_000_000)),
        }
    }

    /// The score of a job.
    fn score(&self, entry: &Entry, state: &State, now: Nanos) -> f64 {
        let settings = &self.settings;
        let age = (now.since(entry.queued) / settings.max_age).clamp(0.0, 1.0);
        let size = f64::from(entry.job.ask.chips()) / f64::from(state.tree.chips().max(1));
        settings.age_weight * age
            + settings.fair_share_weight * fair_share(state, entry.job.tenant, now)
            + settings.size_weight * size
            + settings.priority_weight * f64::from(entry.job.priority)
    }
}

/// The fair-share factor of a tenant, 0 to 1.
pub fn fair_share(state: &State, tenant: TenantId, now: Nanos) -> f64 {
    let usage = |index: usize| state.usage(TenantId(index as u32), now);
    let all: f64 = (0..state.accounts.len()).map(usage).sum();
    let weights: f64 = state.accounts.iter().map(|account| account.tenant.weight).sum();
    let share = state.account(tenant).tenant.weight / weights;
    let used = if all > 0.0 { usage(tenant.0 as usize) / all } else { 0.0 };
    if share > 0.0 { (-used / share).exp2() } else { 0.0 }
}

impl Policy for Multifactor {
    fn name(&self) -> &'static str {
        "multifactor"
    }

    fn key(&self, entry: &Entry, state: &State, now: Nanos) -> Key {
        let score = (self.score(entry, state, now) * 1e6).round();
        (-(score as i64), entry.queued.get() as i64)
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        self.backfill.pass(pass);
    }

    fn period(&self) -> Option<Nanos> {
        Some(self.period)
    }

    fn ages(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {

    use crate::policy::testing::{check, job};
    use crate::state::decayed;

    /// The tenant that has used less goes first, though its job came later.
    #[test]
    fn fair_share_orders_tenants() {
        check(
            "multifactor",
            &[job("a", 0, 8, 10), job("b", 1, 8, 10), job("c", 2, 8, 10).tenant(1)],
            "a 0-10, b 20-30, c 10-20",
        );
    }

    #[test]
    fn usage_is_halved_every_half_life() {
        assert!((decayed(100.0, 0.0, 20.0, 10.0) - 25.0).abs() < 1e-9);
        // Half-life against the integral of 3 chips over 10 s, each instant decayed.
        let integral: f64 =
            (0..100_000).map(|at| 3.0 * 1e-4 * (-(10.0 - f64::from(at) * 1e-4) / 4.0f64).exp2()).sum();
        assert!((decayed(0.0, 3.0, 10.0, 4.0) / integral - 1.0).abs() < 1e-3);
    }
}
