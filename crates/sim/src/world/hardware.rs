//! Hardware under the instances: faults by its own names, and what it looks like from outside.

use super::input::Refusal;
use super::{SimError, World};
use crate::faults::{FaultKind, Part};
use crate::placement::{Effect, Ground, Seat};
use crate::record::Observer;
use serving::{CommandError, Event, InstanceId};
use steps::StepPricer;

/// Whether a chip works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Works,
    /// Its link to the fabric is down.
    Cut,
    /// It is dead.
    Dead,
}

/// The hardware from outside.
#[derive(Debug, Clone, Copy)]
pub struct HardwareView<'a> {
    grounds: &'a [Ground],
    seats: &'a std::collections::BTreeMap<InstanceId, Seat>,
}

impl<'a> HardwareView<'a> {
    /// The systems in the order in which pools first name them.
    pub fn systems(&self) -> &'a [Ground] {
        self.grounds
    }

    /// What every instance stands on.
    pub fn seats(&self) -> impl Iterator<Item = &'a Seat> {
        self.seats.values()
    }

    /// What one instance stands on.
    pub fn seat(&self, instance: InstanceId) -> Option<&'a Seat> {
        self.seats.get(&instance)
    }

    /// Whether a chip works.
    pub fn health(&self, system: u32, chip: u32) -> Health {
        let Some(ground) = self.grounds.get(system as usize) else { return Health::Works };
        match (ground.dead.contains(&chip), ground.cut.contains(&chip)) {
            (true, _) => Health::Dead,
            (_, true) => Health::Cut,
            _ => Health::Works,
        }
    }
}

impl<P: StepPricer> World<P> {
    /// The hardware, to look at.
    pub fn hardware(&self) -> HardwareView<'_> {
        HardwareView { grounds: &self.placement.grounds, seats: &self.placement.seats }
    }

    pub(super) fn allows_fault(&self, kind: &FaultKind) -> Result<(), Refusal> {
        let count = self.cluster.instance_count();
        let known = |instance: &InstanceId| {
            let error = CommandError::Unknown { what: "instance", number: instance.0, count };
            if instance.0 < count { Ok(()) } else { Err(Refusal::Command(error)) }
        };
        match kind {
            FaultKind::Fail { instance, .. } | FaultKind::Repair { instance } => known(instance),
            FaultKind::Links { instances, share } => {
                if !(0.0..=1.0).contains(share) {
                    return Err(Refusal::Fault(format!("{share} is not a share between 0 and 1")));
                }
                instances.iter().try_for_each(known)
            }
            FaultKind::Part { part, .. } => self.placement.check(*part).map_err(Refusal::Fault),
        }
    }

    pub(super) fn fault(&mut self, kind: FaultKind, out: &mut impl Observer) -> Result<(), SimError> {
        match kind {
            FaultKind::Fail { instance, ranks, repairable } => self.fail(instance, ranks, repairable, out),
            FaultKind::Repair { instance } => self.tell(Event::InstanceRepaired(instance), out),
            FaultKind::Links { instances, share } => {
                instances.into_iter().for_each(|instance| self.slow(instance, share));
                self.watch_network();
                Ok(())
            }
            FaultKind::Part { part, works } => self.part_changed(part, works, out),
        }
    }

    fn part_changed(&mut self, part: Part, works: bool, out: &mut impl Observer) -> Result<(), SimError> {
        for effect in self.placement.fault(part, works) {
            match effect {
                Effect::Lost(instance, ranks) => self.fail(instance, ranks, true, out)?,
                Effect::Whole(instance) => self.tell(Event::InstanceRepaired(instance), out)?,
                Effect::Share(instance, share) => self.slow(instance, share),
            }
        }
        self.watch_network();
        Ok(())
    }

    fn fail(
        &mut self,
        instance: InstanceId,
        ranks: u32,
        repairable: bool,
        out: &mut impl Observer,
    ) -> Result<(), SimError> {
        if instance.0 >= self.cluster.instance_count() {
            return Ok(());
        }
        self.cut_short(instance, out)?;
        self.tell(Event::InstanceFailed { instance, ranks, repairable }, out)
    }

    fn slow(&mut self, instance: InstanceId, share: f64) {
        if instance.0 < self.cluster.instance_count() {
            let pool = self.cluster.pool_of(instance);
            self.wiring.scale(instance, pool, share, self.now);
        }
    }
}
