//! Tables of operator sets.

use super::{markdown, percent};
use calibration::ops::Study;
use calibration::stats::{Z80, median};
use cost::kernels::Origin;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use validate::{Accuracy, Carried, SetErrors};

/// What the targets of a family of operators are counted under.
pub(super) const KINDS: [(&str, &[&str]); 5] = [
    ("GEMM", &["gemm"]),
    (
        "attention",
        &[
            "attention_prefill",
            "attention_decode",
            "mla_prefill",
            "mla_decode",
            "mla_prefill_module",
            "mla_decode_module",
        ],
    ),
    ("MoE", &["moe"]),
    (
        "collectives and exchanges",
        &["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "dispatch", "combine", "prepare"],
    ),
    (
        "elementwise and linear attention",
        &["quantize", "convolution_prefill", "convolution_decode", "scan_prefill", "scan_decode"],
    ),
];

/// The middle of some figures, as `median / p90`.
fn middle(pairs: &[[f64; 2]]) -> String {
    if pairs.is_empty() {
        return "-".to_owned();
    }
    let column = |which: usize| median(&pairs.iter().map(|pair| pair[which]).collect::<Vec<_>>());
    format!("{:.1} / {:.1} %", 100.0 * column(0), 100.0 * column(1))
}

fn group(name: &str, sets: &[&SetErrors]) -> Vec<String> {
    let chips: BTreeSet<&str> = sets.iter().map(|set| set.key.chip.as_str()).collect();
    let count = |pick: fn(&SetErrors) -> usize| sets.iter().map(|set| pick(set)).sum::<usize>();
    let tested: Vec<&&SetErrors> = sets.iter().filter(|set| set.held_out.n > 0).collect();
    let fitted: Vec<[f64; 2]> =
        sets.iter().filter(|set| set.fitted.n > 0).map(|set| set.fitted.median_p90()).collect();
    let held_out: Vec<[f64; 2]> = tested.iter().map(|set| set.held_out.median_p90()).collect();
    let rows = tested.iter().map(|set| set.held_out.n).sum::<usize>().max(1);
    let inside = tested.iter().map(|set| set.inside * set.held_out.n as f64).sum::<f64>() / rows as f64;
    vec![
        name.to_owned(),
        chips.len().to_string(),
        sets.len().to_string(),
        count(|set| set.fitted.n).to_string(),
        middle(&fitted),
        count(|set| set.held_out.n).to_string(),
        middle(&held_out),
        percent(inside),
    ]
}

/// Errors of every kind and family, as medians over sets.
pub(super) fn sets(all: &[SetErrors]) -> String {
    let header = [
        "operators",
        "chips",
        "sets",
        "rows fitted",
        "median / p90",
        "rows held out",
        "median / p90",
        "inside",
    ];
    let mut lines = Vec::new();
    for (kind, families) in KINDS {
        let of_kind: Vec<&SetErrors> = all.iter().filter(|set| families.contains(&set.family)).collect();
        lines.push(group(&format!("**{kind}**"), &of_kind));
        for family in families {
            let sets: Vec<&SetErrors> = all.iter().filter(|set| set.family == *family).collect();
            if !sets.is_empty() && families.len() > 1 {
                lines.push(group(family, &sets));
            }
        }
    }
    let mut text = String::from(
        "One set is one kernel of one stack, version and format on one chip; the errors are medians over the sets of the median and\n\
         the 90th percentile within a set.\n\n",
    );
    text.push_str(&markdown(&header, lines));
    text.push_str("\nBy chip, held-out rows:\n\n");
    text.push_str(&by_chip(all));
    text
}

fn by_chip(all: &[SetErrors]) -> String {
    let chips: BTreeSet<&str> = all.iter().map(|set| set.key.chip.as_str()).collect();
    let mut header = vec!["chip"];
    header.extend(KINDS.iter().map(|(kind, _)| *kind));
    let lines = chips.into_iter().map(|chip| {
        let mut line = vec![chip.to_owned()];
        line.extend(KINDS.iter().map(|(_, families)| {
            let of = |set: &&SetErrors| set.key.chip == chip && families.contains(&set.family);
            let held_out: Vec<[f64; 2]> = all
                .iter()
                .filter(of)
                .filter(|set| set.held_out.n > 0)
                .map(|set| set.held_out.median_p90())
                .collect();
            middle(&held_out)
        }));
        line
    });
    markdown(&header, lines)
}

/// Errors of the studies that stand in the profiles.
pub(super) fn carried(sets: &[Carried]) -> String {
    let mut header = vec!["operators"];
    header.extend(Study::ALL.iter().map(|study| study.name()));
    let mut results: BTreeMap<(usize, &str), Vec<Vec<[f64; 2]>>> = BTreeMap::new();
    for carried in sets.iter().filter(|carried| carried.set.rows > 0) {
        for (at, (kind, families)) in KINDS.iter().enumerate() {
            if !families.contains(&carried.set.family.as_str()) {
                continue;
            }
            let ascend = carried.chip.starts_with("ascend");
            let names = [Some(*kind), ascend.then_some("of these, an Ascend die")];
            for (line, name) in names.into_iter().flatten().enumerate() {
                let columns = results
                    .entry((2 * at + line, name))
                    .or_insert_with(|| vec![Vec::new(); Study::ALL.len()]);
                for (study, column) in Study::ALL.into_iter().zip(columns) {
                    column.extend(study.of(&carried.set));
                }
            }
        }
    }
    let lines = results.into_iter().map(|((_, name), columns)| {
        let mut line = vec![name.to_owned()];
        line.extend(columns.iter().map(|column| middle(column)));
        line
    });
    format!(
        "Medians over sets, median / p90, as `supernode calibrate --study random,size,shapes,foreign,few` measured them. *random*: fitted on\n\
         30 % of the rows; *size*: fitted on the 70 % with the least work, near a sibling's coefficients; *shapes*: fitted on some models'\n\
         shapes; *foreign*: the medians of the other chips' coefficients and not one row of this chip; *few*: 32 rows near those.\n\n{}",
        markdown(&header, lines)
    )
}

/// Chips priced as if nobody had measured them, and what every chip of the catalog rests on.
pub(super) fn unmeasured(accuracy: &Accuracy) -> String {
    let mut lines = Vec::new();
    for chip in &accuracy.unmeasured {
        for (kind, families) in KINDS {
            let sets: Vec<&SetErrors> =
                chip.sets.iter().filter(|set| families.contains(&set.family) && set.held_out.n > 0).collect();
            if sets.is_empty() {
                continue;
            }
            let errors: Vec<[f64; 2]> = sets.iter().map(|set| set.held_out.median_p90()).collect();
            let rows: usize = sets.iter().map(|set| set.held_out.n).sum();
            let inside = sets.iter().map(|set| set.inside * set.held_out.n as f64).sum::<f64>() / rows as f64;
            lines.push(vec![
                chip.chip.clone(),
                kind.to_owned(),
                sets.len().to_string(),
                rows.to_string(),
                middle(&errors),
                percent(inside),
            ]);
        }
    }
    let mut text = String::from(
        "Each measured chip with its own profiles taken away, so that its rows are priced as those of a chip that nobody has measured: by the\n\
         relatives it names, else by the generic medians (in which it counts as one chip of several).\n\n",
    );
    text.push_str(&markdown(
        &["chip", "operators", "sets", "rows", "median / p90", "inside the wider band"],
        lines,
    ));
    text.push_str("\nThe band that each chip of the catalog is priced with, in bf16:\n\n");
    text.push_str(&bands(accuracy));
    text
}

fn bands(accuracy: &Accuracy) -> String {
    let mut chips: BTreeMap<&str, (Vec<String>, BTreeSet<String>)> = BTreeMap::new();
    for band in &accuracy.bands {
        let (cells, origins) = chips.entry(&band.chip).or_default();
        cells.push(format!("+-{:.0} %", 100.0 * ((Z80 * band.sigma).exp() - 1.0)));
        origins.insert(match &band.origin {
            Origin::Measured { .. } => "measured".to_owned(),
            Origin::Derived { .. } => "derived".to_owned(),
            Origin::Transferred { chip, .. } => chip.clone(),
            Origin::Generic => "generic".to_owned(),
        });
    }
    let mut text = String::new();
    let lines = chips.into_iter().map(|(chip, (cells, origins))| {
        let mut line = vec![chip.to_owned(), origins.into_iter().collect::<Vec<_>>().join(", ")];
        line.extend(cells);
        line
    });
    let header = ["chip", "coefficients from", "GEMM", "prefill attention", "decode attention", "MoE"];
    let _ = write!(text, "{}", markdown(&header, lines));
    text
}
