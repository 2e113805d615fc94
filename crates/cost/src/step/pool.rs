//! Tables that layouts have in common.

use super::deployment::Deployment;
use super::step_model::Tables;
use super::table::Table;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use units::Dtype;

/// Tables of deployments of one model on one chip in one system under one engine, whatever their layouts and formats.
///
/// Products in front of and behind attention depend on the tensor-parallel size, experts and their exchange on how the
/// ranks of a stage share them: layouts that agree in one of these agree in its prices.
#[derive(Debug, Default)]
pub struct TablePool(Mutex<BTreeMap<String, Arc<Table>>>);

impl TablePool {
    /// The table of one part, made when it is first asked for.
    fn table(&self, part: &str, formats: &str, sizes: &[u32]) -> Arc<Table> {
        let key = format!("{part} {sizes:?} {formats}");
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(key).or_default())
    }

    /// Every table of a deployment whose busiest expert rank has `1 + skew` times the mean load.
    pub(super) fn tables(&self, deployment: &Deployment, skew: f64) -> Tables {
        let layout = &deployment.layout;
        let mut formats = deployment.model.quantization;
        // The cache's format is no matter of these tables.
        formats.kv = Dtype::Bf16;
        let formats = format!("{formats:?} {skew:?} {:?}", deployment.engine.device.expert_spread.value);
        let stage = layout.tp * layout.dp;
        let tensor = [layout.tp];
        // Stages send to each other over all their ranks.
        let linear = [layout.tp, layout.pp, if layout.pp > 1 { stage } else { 0 }];
        let experts = [stage, u32::from(layout.dp > 1), layout.ep, layout.moe_tp, layout.redundant_experts];
        Tables {
            linear: self.table("linear", &formats, &linear),
            absorb: self.table("absorb", &formats, &tensor),
            expand: self.table("expand", &formats, &tensor),
            experts: self.table("experts", &formats, &experts),
            exchange: self.table("exchange", &formats, &experts),
            head: self.table("head", &formats, &tensor),
            draft_linear: self.table("draft linear", &formats, &tensor),
            draft_experts: self.table("draft experts", &formats, &experts),
        }
    }
}
