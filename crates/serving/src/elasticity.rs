//! Instances that come and go: autoscaling, draining, and roles switched between prefill and decode.

use crate::action::{Action, InstanceState, Timer};
use crate::cluster::Cluster;
use crate::custom::Pressure;
use crate::pools::Role;
use crate::request::InstanceId;
use crate::time::Nanos;
use steps::StepPricer;
use units::Seconds;

/// When to add and remove instances.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// Time between looks.
    pub interval: Seconds,
    /// What to do at a look.
    pub rule: ScalingRule,
}

/// What an autoscaler goes by.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalingRule {
    /// One more instance if more than `up` requests per active instance wait; one less if fewer than `down` requests per
    /// active instance are there at all.
    Reactive {
        /// Waiting requests per active instance.
        up: f64,
        /// Requests per active instance.
        down: f64,
    },
    /// So many instances from each of these times on, ascending.
    Scheduled(Vec<(Nanos, u32)>),
    /// Hands an instance over between this prefill pool and the decode pool of its deployment when more than `up`
    /// requests per instance wait in one and none in the other.
    Balance {
        /// Waiting requests per active instance.
        up: f64,
    },
}

impl<P: StepPricer> Cluster<P> {
    pub(crate) fn start_scaling(&mut self, pool: u32) {
        if let Some(scaling) = &self.pools[pool as usize].scaling {
            self.actions.push(Action::SetTimer(self.now.after(scaling.interval), Timer::Scale(pool)));
        }
    }

    /// The autoscaler's look at a pool.
    pub(crate) fn scale(&mut self, pool: u32) {
        let Some(scaling) = self.pools.get(pool as usize).and_then(|pool| pool.scaling.clone()) else {
            return;
        };
        let (active, coming) =
            (self.count(pool, InstanceState::Active), self.count(pool, InstanceState::Loading));
        let here = active + coming;
        let custom = self.custom.clone().filter(|custom| custom.decides().scale);
        let wanted = match &scaling.rule {
            _ if custom.is_some() => {
                let (waiting, requests) = self.pressure(pool);
                let Scaling { min, max, .. } = scaling;
                let pressure = Pressure { active, loading: coming, waiting, requests, min, max };
                custom.map_or(here, |custom| custom.ask().instances(self.now, pool, &pressure))
            }
            ScalingRule::Reactive { up, down } => {
                let per = f64::from(active.max(1));
                let (waiting, all) = self.pressure(pool);
                if waiting > up * per && coming == 0 {
                    here + 1
                } else if all < down * per {
                    here.saturating_sub(1)
                } else {
                    here
                }
            }
            ScalingRule::Scheduled(times) => {
                let now = self.now;
                times.iter().rev().find(|(from, _)| *from <= now).map_or(here, |(_, count)| *count)
            }
            ScalingRule::Balance { up } => {
                self.balance(pool, *up, scaling.min, scaling.max);
                here
            }
        };
        let wanted = wanted.clamp(scaling.min, scaling.max);
        for _ in here..wanted {
            self.bring_up(pool);
        }
        for _ in wanted..here {
            self.drain_least(pool, None);
        }
        self.start_scaling(pool);
    }

    fn count(&self, pool: u32, state: InstanceState) -> u32 {
        let members = self.pools[pool as usize].members.iter();
        members.filter(|member| self.instances[**member as usize].state == state).count() as u32
    }

    /// Requests that wait and requests at all in a pool.
    fn pressure(&self, pool: u32) -> (f64, f64) {
        let members =
            self.pools[pool as usize].members.iter().map(|member| &self.instances[*member as usize]);
        members.fold((0.0, 0.0), |(waiting, all), instance| {
            (waiting + instance.waiting.len() as f64, all + f64::from(instance.requests))
        })
    }

    /// So many instances of a pool that has no autoscaler.
    pub(crate) fn scale_to(&mut self, pool: u32, wanted: u32) {
        let here = self.count(pool, InstanceState::Active) + self.count(pool, InstanceState::Loading);
        for _ in here..wanted {
            self.bring_up(pool);
        }
        for _ in wanted..here {
            self.drain_least(pool, None);
        }
    }

    fn balance(&mut self, prefill: u32, up: f64, min: u32, max: u32) {
        let Some(decode) = self.deployments[self.pools[prefill as usize].deployment as usize].decode else {
            return;
        };
        if self.pools[prefill as usize].role != Role::Prefill {
            return;
        }
        let count = |pool| self.count(pool, InstanceState::Active);
        let switching = |pool: u32| self.count(pool, InstanceState::Loading) > 0;
        let draining = |pool: u32| self.count(pool, InstanceState::Draining) > 0;
        if [prefill, decode].into_iter().any(|pool| switching(pool) || draining(pool)) {
            return;
        }
        let waiting = |pool| self.pressure(pool).0 / f64::from(count(pool).max(1));
        if waiting(prefill) > up && waiting(decode) == 0.0 && count(prefill) < max && count(decode) > 1 {
            self.drain_least(decode, Some(prefill));
        } else if waiting(decode) > up && waiting(prefill) == 0.0 && count(prefill) > min {
            self.drain_least(prefill, Some(decode));
        }
    }

    /// Adds an instance, which first loads its weights.
    pub(crate) fn bring_up(&mut self, pool: u32) {
        let id = self.add_instance(pool, InstanceState::Loading);
        let entry = &mut self.pools[pool as usize];
        let load = if entry.warm { entry.load.warm } else { entry.load.cold };
        entry.warm = true;
        self.actions.push(Action::SetTimer(self.now.after(load), Timer::Loaded(id)));
    }

    pub(crate) fn instance_loaded(&mut self, id: InstanceId) {
        if self.instances.get(id.0 as usize).is_some_and(|instance| instance.state == InstanceState::Loading)
        {
            self.set_state(id, InstanceState::Active);
            self.dirty.insert(id.0);
        }
    }

    /// Drains the active instance with the fewest tokens.
    fn drain_least(&mut self, pool: u32, moves_to: Option<u32>) {
        let members = self.pools[pool as usize].members.iter().copied();
        let active = members.filter(|member| self.instances[*member as usize].takes_requests());
        if let Some(index) = active.min_by_key(|member| self.instances[*member as usize].tokens) {
            self.drain(index, moves_to);
        }
    }

    /// Drains an instance; its queue goes to the others.
    pub(crate) fn drain(&mut self, index: u32, moves_to: Option<u32>) {
        let (id, pool) = (InstanceId(index), self.instances[index as usize].pool);
        self.set_state(id, InstanceState::Draining);
        self.instances[index as usize].moves_to = moves_to;
        let queued: Vec<_> = self.instances[index as usize].waiting.iter().collect();
        for request in queued {
            // Sequences swapped out to this host can only come back here.
            if self.live.at(request).phase == crate::request::Phase::Swapped {
                continue;
            }
            self.with(index, |instance, around, _| instance.drop_request(request, around));
            self.route(request, pool);
        }
        self.dirty.insert(index);
    }

    /// Ends the draining of an instance that has nothing left to do.
    pub(crate) fn remove_if_drained(&mut self, index: u32) {
        let instance = &mut self.instances[index as usize];
        let empty = instance.requests == 0 && instance.ranks.iter().all(|rank| rank.admitted == 0);
        if instance.state != InstanceState::Draining || !empty {
            return;
        }
        let (id, from) = (instance.id, instance.pool);
        let Some(to) = instance.moves_to.take() else {
            self.set_state(id, InstanceState::Removed);
            self.pools[from as usize].members.retain(|member| *member != index);
            return;
        };
        let limits = self.pools[to as usize].limits.clone();
        let instance = &mut self.instances[index as usize];
        let ranks = instance.ranks.len() as u32;
        instance.become_member(to, limits);
        self.tell_cleared(id, 0..ranks);
        self.pools[from as usize].members.retain(|member| *member != index);
        self.pools[to as usize].members.push(index);
        self.set_state(id, InstanceState::Loading);
        let load = self.pools[to as usize].load.warm;
        self.actions.push(Action::SetTimer(self.now.after(load), Timer::Loaded(id)));
    }
}
