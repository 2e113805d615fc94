use super::*;
use crate::table::Table;
use hardware::Catalog;
use std::fmt::Write;

const HEADER: &str = "id,system,chips,model,engine,mode,isl,osl,concurrency,tp,ttft_ms,tpot_ms";

/// A table of runs of one deployment: (users, TTFT, TPOT).
fn runs(figures: &[(u32, f64, f64)]) -> Vec<ServingRow> {
    let mut text = format!("{HEADER}\n");
    for (users, ttft, tpot) in figures {
        let _ = writeln!(text, "c{users},h100-8,1,Qwen/Qwen3-8B,vllm,agg,512,128,{users},1,{ttft},{tpot}");
    }
    crate::serving::read_serving(&Table::read(text.as_bytes(), "runs.csv").unwrap()).unwrap()
}

struct Setting {
    resolver: Resolver,
    site: Site,
    shipped: Engine,
}

fn setting() -> Setting {
    let catalog = Catalog::builtin();
    let site = Site::new(&catalog.economics().unwrap().prices, catalog.basis(None).unwrap());
    let shipped = catalog.engine("vllm").unwrap();
    Setting { resolver: Resolver::new(catalog), site, shipped }
}

/// What a device whose decoding takes 1.4 times as long, under an engine whose host takes three times as long, measures.
fn slower(setting: &Setting, users: &[u32]) -> Vec<ServingRow> {
    let mut engine = setting.shipped.clone();
    engine.device.decode_correction.value = 1.4;
    engine.host.request.value = engine.host.request.value * 3.0;
    let blank: Vec<(u32, f64, f64)> = users.iter().map(|users| (*users, 1.0, 1.0)).collect();
    let resolver = setting.resolver.with_engine(engine);
    let outcomes = predict(&resolver, &runs(&blank), &setting.site, Fidelity::Steady);
    let measured = outcomes.iter().zip(users).map(|(outcome, users)| {
        let figures = outcome.prediction.as_ref().unwrap().figures;
        (*users, figures.ttft.unwrap().ms(), figures.tpot.unwrap().ms())
    });
    runs(&measured.collect::<Vec<_>>())
}

#[test]
fn three_runs_halve_the_error_of_the_others() {
    let setting = setting();
    let rows = slower(&setting, &[1, 4, 8, 16, 32, 64]);
    let (anchors, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| ["c1", "c8", "c64"].contains(&row.id.as_str()));
    let Setting { resolver, site, shipped } = &setting;
    let found = anchor(resolver, &anchors, shipped, site, Fidelity::Steady).unwrap();
    let error = |engine: &Engine| {
        errors(&predict(&resolver.with_engine(engine.clone()), &others, site, Fidelity::Steady))
    };
    let (before, after) = (error(shipped), error(&found.engine));
    assert!(after < before / 2.0, "{before} -> {after}: {:?}", found.figures);
    assert!(found.left_out < found.shipped, "{found:?}");
    let decode = found.engine.device.decode_correction.value;
    assert!((1.25..1.5).contains(&decode), "{decode}");
}

#[test]
fn a_corrected_engine_reads_back_from_its_file() {
    let mut engine = setting().shipped;
    engine.device.decode_correction.value = 1.25;
    let catalog = Catalog::builtin().with_text("engines", "vllm", engine.to_toml()).unwrap();
    assert_eq!(catalog.engine("vllm").unwrap().device.decode_correction.value, 1.25);
}

#[test]
fn what_anchors_cannot_be_is_named() {
    let Setting { resolver, site, shipped } = setting();
    let wrong = |rows: &[ServingRow]| {
        anchor(&resolver, rows, &shipped, &site, Fidelity::Steady).unwrap_err().to_string()
    };
    let few = runs(&[(1, 1.0, 1.0), (2, 1.0, 1.0)]);
    let mut mixed = runs(&[(1, 1.0, 1.0), (2, 1.0, 1.0), (4, 1.0, 1.0)]);
    mixed[1].launch.point.system = "h200-8".to_owned();
    let mut unfit = runs(&[(1, 1.0, 1.0), (2, 1.0, 1.0), (4, 1.0, 1.0)]);
    unfit[2].launch.point.model = "deepseek-ai/DeepSeek-R1".to_owned();
    let texts = [wrong(&few), wrong(&mixed), wrong(&unfit)];
    assert!(texts[0].starts_with("2 rows; give 3 to 10 rows"), "{texts:?}");
    assert!(texts[1].contains("vllm on h100-8 and vllm on h200-8"), "{texts:?}");
    assert!(texts[2].starts_with("row `c4` cannot be predicted: does not fit"), "{texts:?}");
}

/// Groups of published rows with at least eight rows: three of each correct the engine, the others judge it.
#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn three_rows_of_a_group_halve_its_error_in_the_median_over_groups() {
    let data = std::path::PathBuf::from(std::env::var("SUPERNODE_DATA").unwrap());
    let launches = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../validation/launches");
    let launches = crate::launch::Launches::open(&launches).unwrap();
    let table = Table::open(&data.join("measured/serving_nvidia.csv")).unwrap();
    let mut groups: std::collections::BTreeMap<String, Vec<ServingRow>> = std::collections::BTreeMap::new();
    for row in crate::serving::read_serving(&table).unwrap() {
        let row = row.launched_as(&launches);
        let point = &row.launch.point;
        let key = format!(
            "{} {:?} {:?} {:?}",
            crate::split::group(&row),
            point.engine_version,
            point.isl,
            point.osl
        );
        groups.entry(key).or_default().push(row);
    }
    let Setting { resolver, site, .. } = setting();
    let mut gains = Vec::new();
    for rows in groups.into_values().filter(|rows| rows.len() >= 8) {
        let mut rows = rows;
        rows.sort_by_key(|row| row.point.concurrency);
        rows.dedup_by_key(|row| (row.point.concurrency, row.point.sizes));
        if rows.len() < 8 {
            continue;
        }
        let at = [0, rows.len() / 2, rows.len() - 1];
        let anchors: Vec<ServingRow> = at.iter().map(|at| rows[*at].clone()).collect();
        let others: Vec<ServingRow> = rows
            .iter()
            .enumerate()
            .filter(|(index, _)| !at.contains(index))
            .map(|(_, row)| row.clone())
            .collect();
        let shipped = resolver.step_model(&anchors[0].launch.point, roles(&anchors[0])).unwrap();
        let shipped = shipped.deployment().engine.as_ref().clone();
        let shipped = resolver.catalog().engine(&shipped.id).unwrap();
        // A group that cannot be corrected stays as wrong as it is.
        let Ok(found) = anchor(&resolver, &anchors, &shipped, &site, Fidelity::Steady) else {
            gains.push(1.0);
            continue;
        };
        let error = |engine: &Engine| {
            errors(&predict(&resolver.with_engine(engine.clone()), &others, &site, Fidelity::Steady))
        };
        gains.push(error(&found.engine) / error(&shipped));
    }
    assert!(!gains.is_empty(), "no group has rows enough");
    let middle = median(&gains);
    assert!(middle <= 0.5, "{} groups, error over shipped error at the median {middle}", gains.len());
}

fn roles(row: &ServingRow) -> estimate::Roles {
    if row.launch.point.mode == estimate::Mode::Disagg {
        estimate::Roles::Decode
    } else {
        estimate::Roles::Both
    }
}
