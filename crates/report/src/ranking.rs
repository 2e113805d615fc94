//! Choices among measured configurations as text and as JSON.

use crate::table;
use serde_json::{Value, json};
use std::fmt::Write;
use validate::{CLOSE, Ranking};

/// For people: how many choices are close to the best, and those that are not.
pub fn ranking_text(rankings: &[Ranking]) -> String {
    let mut text = String::new();
    for ranking in rankings {
        let groups = ranking.choices.len();
        let Some(close) = ranking.close() else {
            let _ = writeln!(text, "by {}: no group has two configurations", ranking.contest.name());
            continue;
        };
        let _ = writeln!(
            text,
            "by {}: in {:.1} % of {groups} groups the configuration ranked first is within {:.0} % of the best measured",
            ranking.contest.name(),
            100.0 * close,
            100.0 * (1.0 - CLOSE)
        );
        let missed = ranking.choices.iter().filter(|choice| choice.share < CLOSE);
        let rows = missed.map(|choice| {
            vec![
                choice.group.clone(),
                choice.rows.to_string(),
                format!("{:.1} %", 100.0 * choice.share),
                choice.chosen.clone(),
                choice.best.clone(),
            ]
        });
        let listed = table(&["group", "rows", "of the best", "ranked first", "best measured"], rows);
        let _ = writeln!(text, "{listed}");
    }
    text
}

/// For programs.
pub fn ranking_json(rankings: &[Ranking]) -> Value {
    let ranking = |ranking: &Ranking| {
        let choices: Vec<Value> = ranking
            .choices
            .iter()
            .map(|choice| {
                json!({
                    "group": choice.group,
                    "rows": choice.rows,
                    "chosen": choice.chosen,
                    "best": choice.best,
                    "share_of_best": choice.share,
                })
            })
            .collect();
        json!({
            "contest": ranking.contest.name(),
            "groups": ranking.choices.len(),
            "close": ranking.close(),
            "choices": choices,
        })
    };
    let rankings: Vec<Value> = rankings.iter().map(ranking).collect();
    json!({ "schema": "supernode.validate.ranking/1", "within": 1.0 - CLOSE, "rankings": rankings })
}
