//! How a source launched what it measured, as far as its tables leave that out and it is published elsewhere.
//!
//! A table of serving rows has a column for the layout but none for an engine's flags. Where a source publishes its launch
//! scripts, what they set is known all the same, and a prediction of the row is one of that launch. `recipes.toml` keeps
//! these facts, each with the script it is from; nothing in it is fitted.

use crate::serving::ServingRow;
use estimate::OperatingPoint;
use serde::Deserialize;
use serving::Gathering;
use std::sync::LazyLock;
use units::Dtype;

/// The recipes that are kept with the project.
static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    let Recipes { recipe } = toml::from_str(include_str!("../recipes.toml")).expect("checked by a test");
    recipe
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipes {
    recipe: Vec<Recipe>,
}

/// Rows of one kind and what their launches set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Where it is published.
    evidence: String,
    rows: Rows,
    set: Settings,
}

/// Which rows: all that agree with everything given. A list left out agrees with every row.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// Beginning of the row's source.
    source: String,
    #[serde(default)]
    mode: Vec<String>,
    #[serde(default)]
    engine: Vec<String>,
    /// Beginnings of the engine's version.
    #[serde(default)]
    version: Vec<String>,
    #[serde(default)]
    model: Vec<String>,
    #[serde(default)]
    system: Vec<String>,
    #[serde(default)]
    weight: Vec<Dtype>,
    #[serde(default)]
    isl: Vec<u32>,
    #[serde(default)]
    osl: Vec<u32>,
    #[serde(default)]
    tp: Vec<u32>,
    #[serde(default)]
    dp: Vec<u32>,
    /// Tensor-parallel ranks of a decode instance.
    #[serde(default)]
    decode_tp: Vec<u32>,
    /// Attention data-parallel ranks of a decode instance.
    #[serde(default)]
    decode_dp: Vec<u32>,
    /// More users than these.
    #[serde(default)]
    users_above: Option<u32>,
}

/// What the launches set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Version of the engine, where the table has none.
    version: Option<String>,
    /// Format of the cache.
    kv: Option<Dtype>,
    /// Tokens of a step.
    token_budget: Option<Budget>,
    /// Tokens that the first response of a stream carries.
    first_chunk: Option<f64>,
    /// When waiting prompts start.
    gathering: Option<Gather>,
    /// Chips that are used, where the table counts others.
    chips: Option<f64>,
    /// Tensor-parallel ranks.
    tp: Option<u32>,
    /// Attention data-parallel ranks.
    dp: Option<u32>,
    /// Whether experts are spread over all ranks.
    #[serde(default)]
    expert_parallel: bool,
    /// Ranks of a prefill instance.
    prefill: Option<Ranks>,
    /// Ranks of a decode instance.
    decode: Option<Ranks>,
}

/// Ranks of an instance.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ranks {
    tp: u32,
    dp: u32,
}

/// `tokens + per_prompt_token * ISL + per_output_token * OSL + per_user * users`.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    #[serde(default)]
    tokens: u32,
    #[serde(default)]
    per_prompt_token: u32,
    #[serde(default)]
    per_output_token: u32,
    #[serde(default)]
    per_user: u32,
}

/// As [`Gathering`], with `every_rank` for as many prompts as there are attention data-parallel ranks.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gather {
    #[serde(default)]
    tokens: u32,
    #[serde(default)]
    every_rank: bool,
    #[serde(default)]
    settle: u32,
    timeout: u32,
}

/// A row as it was launched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    /// What was run.
    pub point: OperatingPoint,
    /// When waiting prompts start.
    pub gathering: Option<Gathering>,
    /// Tokens that the first response of a stream carries.
    pub first_chunk: Option<f64>,
}

/// The recipes that say something of `row`, in the order they are kept.
fn recipes_of(row: &ServingRow) -> impl Iterator<Item = &'static Recipe> {
    RECIPES.iter().filter(|recipe| recipe.rows.agree(row))
}

/// The row as its source's scripts launch it; as the table has it where none are known.
pub(crate) fn launch(row: &ServingRow) -> Launch {
    let mut launch = Launch { point: row.point.clone(), gathering: None, first_chunk: None };
    for recipe in recipes_of(row) {
        recipe.set.apply(row, &mut launch);
    }
    launch
}

/// Where the launches of rows like this one are published; empty where none are known.
pub(crate) fn evidence(row: &ServingRow) -> Vec<&'static str> {
    recipes_of(row).map(|recipe| recipe.evidence.as_str()).collect()
}

/// The engine's version, of the table or as the source's scripts of the time have it.
pub(crate) fn version(row: &ServingRow) -> Option<String> {
    let published = || recipes_of(row).find_map(|recipe| recipe.set.version.clone());
    row.point.engine_version.clone().or_else(published)
}

impl Rows {
    fn agree(&self, row: &ServingRow) -> bool {
        let point = &row.point;
        let named = |list: &[String], name: Option<&str>| {
            list.is_empty() || name.is_some_and(|name| list.iter().any(|one| one == name))
        };
        let sized = |list: &[u32], size: Option<u32>| {
            list.is_empty() || size.is_some_and(|size| list.contains(&size))
        };
        let version = point.engine_version.as_deref().unwrap_or_default();
        let mode = format!("{:?}", point.mode).to_lowercase();
        row.source.starts_with(&self.source)
            && named(&self.mode, Some(&mode))
            && named(&self.engine, point.engine.as_deref())
            && (self.version.is_empty() || self.version.iter().any(|begin| version.starts_with(begin)))
            && named(&self.model, Some(&point.model))
            && named(&self.system, Some(&point.system))
            && (self.weight.is_empty() || point.formats.weight.is_some_and(|w| self.weight.contains(&w)))
            && sized(&self.isl, point.isl)
            && sized(&self.osl, point.osl)
            && sized(&self.tp, point.sizes.tp)
            && sized(&self.dp, point.sizes.dp)
            && sized(&self.decode_tp, point.decode.tp)
            && sized(&self.decode_dp, point.decode.dp)
            && self.users_above.is_none_or(|least| point.concurrency.is_some_and(|users| users > least))
    }
}

impl Settings {
    fn apply(&self, row: &ServingRow, launch: &mut Launch) {
        let point = &mut launch.point;
        point.formats.kv = point.formats.kv.or(self.kv);
        if let Some(budget) = self.token_budget {
            point.token_budget = budget.of(&row.point);
        }
        point.chips = self.chips.or(point.chips);
        let sizes = &mut point.sizes;
        sizes.tp = self.tp.or(sizes.tp);
        sizes.dp = self.dp.or(sizes.dp);
        let ranks = sizes.tp.unwrap_or(1).saturating_mul(sizes.dp.unwrap_or(1));
        if self.expert_parallel {
            (sizes.ep, sizes.moe_tp) = (Some(ranks), Some(1));
        }
        for (given, side) in [(self.prefill, &mut point.prefill), (self.decode, &mut point.decode)] {
            if let Some(Ranks { tp, dp }) = given {
                (side.tp, side.dp) = (Some(tp), Some(dp));
            }
        }
        let sizes = &point.sizes;
        if let Some(gather) = self.gathering {
            let requests = if gather.every_rank { sizes.dp.unwrap_or(1) } else { 1 };
            let Gather { tokens, settle, timeout, .. } = gather;
            launch.gathering = Some(Gathering { tokens, requests, settle, timeout });
        }
        launch.first_chunk = self.first_chunk.or(launch.first_chunk);
    }
}

impl Budget {
    fn of(self, point: &OperatingPoint) -> Option<u32> {
        let prompt = self.per_prompt_token.saturating_mul(point.isl?);
        let output = self.per_output_token.saturating_mul(point.osl?);
        let users = self.per_user.saturating_mul(point.concurrency?);
        Some(self.tokens.saturating_add(prompt).saturating_add(output).saturating_add(users))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::read_serving;
    use crate::table::Table;

    const HEADER: &str =
        "id,source,system,chips,model,engine,engine_version,mode,isl,osl,concurrency,tp,dp,ep";

    /// A row as it was launched: chips, sizes, version, cache, budget, gathering, first chunk.
    fn check(row: &str) -> String {
        let table = Table::read(format!("{HEADER}\n{row}\n").as_bytes(), "t.csv").unwrap();
        let row = read_serving(&table).unwrap().remove(0);
        let Launch { point, gathering, first_chunk } = launch(&row);
        let sizes = point.sizes;
        format!(
            "{} chips tp {} dp {} ep {} {} | kv {:?} budget {:?} {:?} chunk {:?}",
            point.chips.unwrap_or(0.0),
            sizes.tp.unwrap_or(0),
            sizes.dp.unwrap_or(0),
            sizes.ep.unwrap_or(0),
            point.engine_version.as_deref().unwrap_or("any"),
            point.formats.kv,
            point.token_budget,
            gathering.map(|g| (g.tokens, g.requests, g.settle, g.timeout)),
            first_chunk,
        )
    }

    #[test]
    fn rows_are_launched_as_published() {
        let launches = [
            "a,a paper,h100-8,4,MiniMaxAI/MiniMax-M2.5,vllm,,agg,1024,1024,4,1,4,4",
            "a,\"InferenceX, 2026-03-27\",h100-8,4,MiniMaxAI/MiniMax-M2.5,vllm,0.18.0,agg,1024,1024,4,1,4,4",
            "a,\"InferenceX, 2026-04-17\",b300-8,4,MiniMaxAI/MiniMax-M2.5,vllm,0.19.0,agg,8192,1024,512,2,2,4",
            "a,\"InferenceX, 2025-10-29\",h100-8,2,meta-llama/Llama-3.1-70B,vllm,,agg,1024,1024,4,2,1,1",
            "a,\"InferenceX, 2025-10-29\",b200-8,2,meta-llama/Llama-3.1-70B,trtllm,,agg,1024,1024,4,2,1,1",
            "a,\"InferenceX, 2025-11-02\",h200-8,8,deepseek-ai/DeepSeek-V3,trtllm,,agg,8192,1024,64,8,1,1",
            "a,\"InferenceX, 2026-01-07\",b200-8,2,openai/gpt-oss-120b,trtllm,1.2.0,agg,1024,1024,64,1,2,2",
            "a,AIConfigurator gap analysis,h100-8,2,Qwen/Qwen3-32B,vllm,0.12.0,agg,1024,128,8,2,1,1",
        ];
        insta::assert_snapshot!(launches.map(check).join("\n"), @r"
        4 chips tp 1 dp 4 ep 4 any | kv None budget None None chunk None
        4 chips tp 4 dp 1 ep 4 0.18.0 | kv None budget None None chunk None
        2 chips tp 1 dp 2 ep 2 0.19.0 | kv Some(Fp8) budget Some(16384) None chunk None
        2 chips tp 2 dp 1 ep 1 0.11 | kv None budget None None chunk None
        2 chips tp 2 dp 1 ep 1 any | kv Some(Fp8) budget Some(16384) Some((14745, 1, 0, 20)) chunk None
        8 chips tp 1 dp 8 ep 8 any | kv Some(Fp8) budget Some(8320) Some((0, 8, 0, 60)) chunk None
        2 chips tp 1 dp 2 ep 2 1.2.0 | kv Some(Fp8) budget Some(20000) Some((0, 2, 10, 50)) chunk None
        2 chips tp 2 dp 1 ep 1 0.12.0 | kv None budget Some(2532) None chunk None
        ");
    }

    #[test]
    fn every_recipe_says_where_it_is_published() {
        assert!(RECIPES.len() > 10);
        assert!(RECIPES.iter().all(|recipe| recipe.evidence.contains('/') && recipe.evidence.contains(':')));
    }
}
