use super::*;
use proptest::prelude::*;

fn plan(text: &str) -> Result<Plan, SweepError> {
    Plan::parse(Path::new("folder/spec.toml"), text, None, &[])
}

const GRID: &str = "
kind = \"estimate\"
[base]
system = \"h100-8\"
model = \"meta-llama/Llama-3.1-8B\"
isl = 1024
osl = 128
[base.set]
chip.tdp = \"650 W\"
[vary]
concurrency = [1, 8, 64]
layout = [{ tp = 1 }, { tp = 1, dp = 2 }]
set.chip.hbm.bandwidth = [\"3 TB/s\", \"4 TB/s\"]
";

/// The varied keys of every cell, a line each.
fn cells(plan: &Plan) -> Vec<String> {
    (0..plan.cells()).map(|cell| Value::Object(plan.unit(cell).varied).to_string()).collect()
}

#[test]
fn a_grid_has_every_combination_once() {
    let plan = plan(GRID).expect("a plan");
    assert_eq!(plan.cells(), 12);
    let cells = cells(&plan);
    assert_eq!(cells[0], r#"{"concurrency":1,"set_chip_hbm_bandwidth":"3 TB/s","tp":1}"#);
    assert_eq!(cells[1], r#"{"concurrency":1,"set_chip_hbm_bandwidth":"4 TB/s","tp":1}"#);
    assert_eq!(cells[11], r#"{"concurrency":64,"dp":2,"set_chip_hbm_bandwidth":"4 TB/s","tp":1}"#);
    let distinct: std::collections::BTreeSet<&String> = cells.iter().collect();
    assert_eq!(distinct.len(), 12);
}

#[test]
fn a_unit_is_the_whole_job() {
    let unit = plan(GRID).expect("a plan").unit(11);
    let job = json!({
        "system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "isl": 1024, "osl": 128,
        "concurrency": 64, "tp": 1, "dp": 2,
    });
    assert_eq!(unit.job, job);
    assert_eq!(unit.set, ["chip.tdp=650 W", "chip.hbm.bandwidth=4 TB/s"]);
    assert_eq!((unit.cell, unit.folder.as_str()), (11, "folder"));
}

#[test]
fn columns_are_of_the_kind_of_their_values() {
    let plan = plan(GRID).expect("a plan");
    let names: Vec<&str> = plan.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        &names[..7],
        ["cell", "status", "reason", "concurrency", "tp", "dp", "set_chip_hbm_bandwidth"]
    );
    assert_eq!(names.iter().filter(|name| **name == "concurrency").count(), 1);
    assert_eq!(plan.columns()[5].kind, report::ColumnKind::Whole);
}

fn random(seed: u64) -> Plan {
    let text = format!(
        "kind = \"estimate\"\ndesign = \"random\"\nsamples = 400\nseed = {seed}
[base]\nsystem = \"h100-8\"\nmodel = \"meta-llama/Llama-3.1-8B\"\nosl = 128
[vary]\nisl = {{ from = 16, to = 4096, scale = \"log\" }}\ntp = [1, 2, 4, 8]\nprefix-hit = {{ from = 0.0, to = 0.9 }}\n"
    );
    plan(&text).expect("a plan")
}

#[test]
fn a_random_design_covers_its_ranges_and_keeps_to_them() {
    let plan = random(1);
    let numbers = |key: &str| -> Vec<f64> {
        let of = |cell| plan.unit(cell).varied.get(key).and_then(Value::as_f64).expect("a number");
        (0..plan.cells()).map(of).collect()
    };
    let isl = numbers("isl");
    assert!(isl.iter().all(|isl| (16.0..=4096.0).contains(isl) && isl.fract() == 0.0));
    // Half of the draws lie below the middle of a log scale.
    let low = isl.iter().filter(|isl| **isl < 256.0).count();
    assert!((150..250).contains(&low), "{low} of 400");
    let tp = numbers("tp");
    assert!([1.0, 2.0, 4.0, 8.0].iter().all(|size| tp.iter().filter(|tp| *tp == size).count() > 60));
    let hit = numbers("prefix_hit");
    let mean = hit.iter().sum::<f64>() / 400.0;
    assert!((0.40..0.50).contains(&mean), "{mean}");
}

#[test]
fn draws_depend_on_the_seed_and_the_cell_alone() {
    assert_eq!(cells(&random(1)), cells(&random(1)));
    assert_ne!(cells(&random(1)), cells(&random(2)));
    assert_ne!(random(1).identity(), random(2).identity());
}

#[track_caller]
fn check_refused(change: (&str, &str), words: &[&str]) {
    let text = GRID.replace(change.0, change.1);
    let error = plan(&text).expect_err("it makes no sense").to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

#[test]
fn slips_of_the_pen_are_errors_at_the_start() {
    check_refused(("kind = \"estimate\"", "kind = \"guess\""), &["spec.toml", "guess", "simulate"]);
    check_refused(("isl = 1024", "ils = 1024"), &["the first cell", "ils", "isl"]);
    check_refused(("concurrency = [1, 8, 64]", "concurency = [1]"), &["concurency", "concurrency"]);
    check_refused(("64]", "\"many\"]"), &["vary.concurrency", "many"]);
    check_refused(("chip.hbm.bandwidth", "chip.hbm.width"), &["chip.hbm.width", "chip.hbm.bandwidth"]);
    check_refused(("4 TB/s", "4 apples"), &["vary.set.chip.hbm.bandwidth", "apples"]);
    check_refused(("650 W", "650"), &["the first cell", "chip.tdp"]);
    check_refused(("[vary]", "[vary]\ntp = [1, 2]"), &["vary.tp", "already taken"]);
    check_refused(("[vary]", "[vary]\nstatus = [1, 2]"), &["vary.status", "already taken"]);
    check_refused(("[base]", "samples = 3\n[base]"), &["samples", "grid"]);
    check_refused(("[base]", "design = \"random\"\n[base]"), &["samples", "how many"]);
    check_refused(("[base]", "scenario = \"x.toml\"\n[base]"), &["scenario", "simulate"]);
    check_refused(("[base]", "color = 3\n[base]"), &["color", "samples"]);
    let all = "{ from = 1, to = 1000000, steps = 1000000 }";
    check_refused(("[1, 8, 64]", &format!("{all}\nisl = {all}")), &["cells", "random"]);
}

proptest! {
    #[test]
    fn any_cell_of_any_grid_is_one_combination(sizes in prop::collection::vec(1_u64..6, 1..4)) {
        let keys = ["concurrency", "isl", "osl"];
        let axes: String = sizes.iter().zip(keys).map(|(size, key)| {
            format!("{key} = {:?}\n", (1..=*size).collect::<Vec<_>>())
        }).collect();
        let text = format!(
            "kind = \"estimate\"\n[base]\nsystem = \"h100-8\"\nmodel = \"meta-llama/Llama-3.1-8B\"\n[vary]\n{axes}"
        );
        let plan = plan(&text).expect("a plan");
        prop_assert_eq!(plan.cells(), sizes.iter().product::<u64>());
        let distinct: std::collections::BTreeSet<String> = cells(&plan).into_iter().collect();
        prop_assert_eq!(distinct.len() as u64, plan.cells());
    }
}
