//! Prices of jobs by what they are.

use crate::serving::Replica;
use crate::trained::Trained;
use cluster::{JobPlan, Linear, Pace, Pricer, Shape};

/// What the jobs of each entry of a file run at.
#[derive(Default)]
pub struct Prices {
    /// Training jobs by entry.
    trained: Vec<Option<Trained>>,
    /// Batch inference by entry.
    batch: Vec<Option<Replica>>,
    /// The entry of each plan; `None` for a trace's.
    origins: Vec<Option<usize>>,
}

impl Prices {
    /// The next entry.
    pub(crate) fn add(&mut self, trained: Option<Trained>, batch: Option<Replica>) {
        self.trained.push(trained);
        self.batch.push(batch);
    }

    /// The entry of each plan so far.
    pub(crate) fn assign(&mut self, origins: &[Option<usize>]) {
        self.origins = origins.to_vec();
    }

    /// Takes the entries of `other` in, whose plans come after those that are here.
    pub(crate) fn append(&mut self, other: Self) {
        let first = self.trained.len();
        self.trained.extend(other.trained);
        self.batch.extend(other.batch);
        self.origins.extend(other.origins.into_iter().map(|origin| origin.map(|entry| entry + first)));
    }
}

impl Pricer for Prices {
    fn pace(&mut self, index: usize, plan: &JobPlan, shape: &Shape) -> Option<Pace> {
        let Some(origin) = self.origins.get(index).copied().flatten() else {
            return Linear.pace(index, plan, shape);
        };
        if let Some(trained) = &mut self.trained[origin] {
            return trained.pace(shape);
        }
        let linear = Linear.pace(index, plan, shape)?;
        Some(match &self.batch[origin] {
            // Replicas side by side: requests are independent.
            Some(replica) => Pace {
                rate: replica.capacity * f64::from(shape.chips) / f64::from(plan.ask.chips().max(1)),
                ..linear
            },
            None => linear,
        })
    }
}
