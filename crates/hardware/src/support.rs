//! What engines say they support: models, features, formats and context lengths by hardware.
//!
//! These are dated statements of the engines' own documents. What nobody has said is untested, never a yes.

use crate::chip::Chip;
use crate::evidence::{Grade, Source};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Whether something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// It does.
    Yes,
    /// It does, without a promise.
    Experimental,
    /// Nobody has tried, or nobody says so.
    Untested,
    /// It does not.
    No,
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::Experimental => "experimental",
            Self::Untested => "untested",
            Self::No => "no",
        })
    }
}

/// What an engine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Serving.
    Serve,
    /// Training.
    Train,
}

/// What one document says of an engine on some hardware, for some models or for all.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The engine or framework; names of releases begin with it.
    pub engine: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Beginnings of catalog keys of chips, `vendor:NAME` or `family:NAME`.
    pub hardware: Vec<String>,
    /// What the document calls the models.
    pub name: String,
    /// Parts of names as `plain` writes them; none stands for every model.
    pub models: Vec<String>,
    /// Whether the model runs.
    pub state: Option<Support>,
    /// Features and formats.
    pub features: BTreeMap<String, Support>,
    /// Longest context that was shown to run, tokens.
    pub longest: Option<u64>,
    /// What else it says.
    pub note: Option<String>,
    /// Key of its source.
    pub source: String,
    /// How good the evidence is.
    pub grade: Grade,
}

/// A name in lower case without signs, and without whose it is. A sign between two digits stays, so that no number runs into the
/// next: `Qwen2.5-7B` is `qwen2.5-7b` and `Qwen2-57B` is `qwen2-57b`. An underscore there is how some names write a dot.
fn plain(name: &str) -> String {
    let own = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let letters: Vec<char> = own.chars().collect();
    let digit = |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(char::is_ascii_digit);
    let kept = |(at, letter): (usize, &char)| match letter {
        letter if letter.is_ascii_alphanumeric() => Some(*letter),
        _ if !(digit(at.checked_sub(1)) && digit(Some(at + 1))) => None,
        '.' | '_' => Some('.'),
        _ => Some('-'),
    };
    letters.iter().enumerate().filter_map(kept).collect()
}

/// Whether `name` holds `part` so that no number of either is cut: `v3` is no part of `v3.2` nor of `v30`.
fn holds(name: &str, part: &str) -> bool {
    let number =
        |rest: &str, next: fn(&str) -> Option<char>, after: fn(&str) -> Option<char>| match next(rest) {
            Some('.') => after(rest).is_some_and(|letter| letter.is_ascii_digit()),
            Some(letter) => letter.is_ascii_digit(),
            None => false,
        };
    let ends_in_digit = part.ends_with(|letter: char| letter.is_ascii_digit());
    let begins_with_digit = part.starts_with(|letter: char| letter.is_ascii_digit());
    name.match_indices(part).any(|(at, found)| {
        let (before, after) = (&name[..at], &name[at + found.len()..]);
        let cut_after =
            ends_in_digit && number(after, |rest| rest.chars().next(), |rest| rest.chars().nth(1));
        let cut_before = begins_with_digit
            && number(before, |rest| rest.chars().next_back(), |rest| rest.chars().rev().nth(1));
        !cut_after && !cut_before
    })
}

impl Claim {
    /// Whether it speaks of this chip.
    pub fn is_about(&self, chip: &Chip) -> bool {
        self.hardware.iter().any(|name| chip.named_by(name).is_some())
    }

    /// How much of the model's name it names: 0 where it speaks of every model, `None` where it speaks of others.
    fn fits(&self, model: &str) -> Option<usize> {
        if self.models.is_empty() {
            return Some(0);
        }
        let name = plain(model);
        self.models.iter().filter(|part| holds(&name, part)).map(String::len).max()
    }
}

/// All claims.
#[derive(Debug, Clone, PartialEq)]
pub struct SupportMatrix {
    /// The claims, in the order of the file.
    pub claims: Vec<Claim>,
    /// What the source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

impl SupportMatrix {
    /// Claims on a model on a chip, those that name most of the model first.
    pub fn of(&self, chip: &Chip, model: &str) -> Vec<&Claim> {
        let about = self.claims.iter().filter(|claim| claim.is_about(chip));
        let mut found: Vec<(usize, &Claim)> =
            about.filter_map(|claim| Some((claim.fits(model)?, claim))).collect();
        found.sort_by_key(|(named, _)| std::cmp::Reverse(*named));
        found.into_iter().map(|(_, claim)| claim).collect()
    }

    /// Whether `engine` runs `model` on `chip`, and who says so.
    pub fn runs(&self, chip: &Chip, model: &str, engine: &str) -> (Support, Option<&Claim>) {
        let claim = self
            .of(chip, model)
            .into_iter()
            .find(|claim| claim.state.is_some() && engine.starts_with(claim.engine.as_str()));
        (claim.and_then(|claim| claim.state).unwrap_or(Support::Untested), claim)
    }

    /// Whether `engine` has a feature with `model` on `chip`, and who says so. A claim on the model goes before one on all
    /// models.
    pub fn feature(
        &self,
        chip: &Chip,
        model: &str,
        engine: &str,
        feature: &str,
    ) -> (Support, Option<&Claim>) {
        let claim = self
            .of(chip, model)
            .into_iter()
            .find(|claim| claim.features.contains_key(feature) && engine.starts_with(claim.engine.as_str()));
        let state = claim.and_then(|claim| claim.features.get(feature)).copied();
        (state.unwrap_or(Support::Untested), claim)
    }

    /// Whether anybody says anything of `engine` on `chip`.
    pub fn speaks_of(&self, chip: &Chip, engine: &str) -> bool {
        self.claims.iter().any(|claim| claim.is_about(chip) && engine.starts_with(claim.engine.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[track_caller]
    fn runs(chip: &str, model: &str, engine: &str, expected: &str) {
        let catalog = Catalog::builtin();
        let chip = catalog.chip(chip).expect("a chip");
        let matrix = catalog.support().expect("a matrix");
        let (state, claim) = matrix.runs(&chip, model, engine);
        let said = claim.map_or("nobody", |claim| claim.name.as_str());
        assert_eq!(format!("{state}, {said}"), expected);
    }

    #[test]
    fn the_claim_that_names_most_of_a_model_decides() {
        runs("ascend-910c", "deepseek-ai/DeepSeek-R1", "vllm-ascend", "yes, DeepSeek R1");
        runs(
            "ascend-910c",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
            "vllm-ascend",
            "experimental, DeepSeek Distill (Qwen/Llama)",
        );
        runs("ascend-910c", "Qwen/Qwen3-32B", "vllm-ascend", "yes, Qwen3-Dense");
        runs("ascend-910c", "meta-llama/Llama-3.1-70B", "vllm-ascend", "experimental, Llama2/3/3.1/3.2");
        runs("ascend-910b3", "deepseek-ai/DeepSeek-R1", "mindie", "yes, DeepSeek-R1");
        runs("ascend-910c", "nobody/Unheard-of", "vllm-ascend", "untested, nobody");
        runs("h100", "deepseek-ai/DeepSeek-R1", "trtllm", "untested, nobody");
    }

    #[track_caller]
    fn fits(model: &str, part: &str, expected: bool) {
        assert_eq!(holds(&plain(model), part), expected, "{model} is {}", plain(model));
    }

    #[test]
    fn no_number_of_a_name_is_cut() {
        for (model, part) in [
            ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5"),
            ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
            ("Qwen/Qwen2-57B-A14B", "qwen2-57ba14b"),
            ("deepseek-ai/DeepSeek-V3", "deepseekv3"),
            ("deepseek-ai/DeepSeek-V3-0324", "deepseekv3"),
            ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseekv3.2"),
            ("meta-llama/Llama-3.1-8B", "llama3.1-8b"),
            ("nvidia/Llama-3_3-Nemotron-Super-49B-v1_5", "llama3.3nemotron"),
        ] {
            fits(model, part, true);
        }
        for (model, part) in [
            ("Qwen/Qwen2-57B-A14B", "qwen2.5"),
            ("Qwen/Qwen2-57B-A14B", "qwen2.5-7b"),
            ("Qwen/Qwen2.5-7B-Instruct", "qwen2"),
            ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseekv3"),
            ("deepseek-ai/DeepSeek-V3.1", "deepseekv3"),
            ("deepseek-ai/DeepSeek-V2.5", "deepseekv2"),
            ("meta-llama/Llama-3.3-70B", "llama3"),
            ("Qwen/Qwen3-32B", "2b"),
            ("Qwen/Qwen3-0.6B", "6b"),
        ] {
            fits(model, part, false);
        }
        runs("ascend-910b3", "deepseek-ai/DeepSeek-V3", "mindie", "yes, DeepSeek-V3");
        runs("ascend-910b3", "deepseek-ai/DeepSeek-V3.2", "mindie", "untested, DeepSeek-V3.2");
        runs("ascend-910c", "Qwen/Qwen2-57B-A14B", "vllm-ascend", "experimental, Qwen2");
        runs("ascend-910c", "Qwen/Qwen2.5-7B", "vllm-ascend", "experimental, Qwen2.5");
    }

    #[test]
    fn features_are_those_of_the_model_before_those_of_all_models() {
        let catalog = Catalog::builtin();
        let matrix = catalog.support().expect("a matrix");
        let chip = catalog.chip("mi300x").expect("a chip");
        let state = |feature| matrix.feature(&chip, "meta-llama/Llama-3.1-70B", "vllm", feature).0;
        assert_eq!(state("w8a8"), Support::No);
        assert_eq!(state("fp8"), Support::Yes);
        assert_eq!(state("disaggregation"), Support::Untested);
        for claim in &matrix.claims {
            assert!(matrix.sources.contains_key(&claim.source), "{}", claim.source);
            assert!(claim.models.iter().all(|part| plain(part) == *part), "{:?}", claim.models);
        }
    }
}
