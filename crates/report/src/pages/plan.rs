//! The report of `plan serve`.

use super::compare::unique;
use super::{Surroundings, duration, figure, maybe, number, spread, time_unit};
use crate::chart::{Chart, Curve, Dot, Drawing, Limit, PlotAxis, Style};
use crate::page::{Document, Grid, GridCell, Section};
use crate::plan::layout;
use crate::words::Words;
use planner::plan_file::{DeploymentFile, DeploymentMode, PlanFile};

/// The report.
pub fn plan_document(plan: &PlanFile, setting: &Surroundings<'_>) -> Document {
    let words = setting.words;
    let job = &plan.job;
    let title = words.fill(
        "plan-title",
        &[
            ("model", &plan.model),
            ("isl", &job.isl.to_string()),
            ("osl", &job.osl.to_string()),
            ("ttft", &duration(job.ttft.value)),
            ("tpot", &duration(job.tpot.value)),
            ("objective", words.term(&plan.objective)),
        ],
    );
    let mut document = Document::new(words, title);
    headline(&mut document, plan, setting);
    document.push(Section::new(words.say("plan-best")).table(kinds(words, plan)).table(pools(words, plan)));
    let front = Section::new(words.say("plan-front"))
        .note(words.say("plan-front-note"))
        .charts(vec![front_chart(words, plan)])
        .table(layouts(words, &plan.front, "front"));
    document.push(front);
    document.push(Section::new(words.say("plan-top")).table(layouts(words, &plan.top, "top")));
    document.push(search(words, plan));
    let all = || plan.front.iter().chain([&plan.best]).flat_map(|one| &one.pools);
    document.assume(words.say("engine"), unique(all().map(|pool| pool.engine.clone())));
    document.assume(words.say("longest"), job.max_length.to_string());
    document.assume(words.say("prefix-hit"), format!("{:.0} %", 100.0 * job.prefix_hit));
    let names: Vec<String> = all().flat_map(|pool| [pool.system.clone(), pool.chip.clone()]).collect();
    setting.close(&mut document, names.iter().map(String::as_str));
    document
}

fn headline(document: &mut Document, plan: &PlanFile, setting: &Surroundings<'_>) {
    let words = document.words;
    let best = &plan.best;
    let predicted = &best.predicted;
    let cost = predicted.cost_per_million_tokens.as_ref();
    let cost =
        cost.map_or_else(|| words.say("unknown").to_owned(), |cost| format!("${}", number(cost.value)));
    document.headline = words.fill(
        "plan-headline",
        &[
            ("mode", words.term(best.mode.name())),
            ("chips", &number(predicted.chips)),
            ("system", &unique(best.pools.iter().map(|pool| pool.system.clone()))),
            ("tokens", &number(predicted.throughput_per_chip.value)),
            ("tpot", &duration(predicted.tpot.value)),
            ("ttft", &duration(predicted.ttft.value)),
            ("cost", &cost),
        ],
    );
    let chip = best.pools.last().and_then(|pool| setting.catalog.chip(&pool.chip).ok());
    let grade = chip.map_or_else(String::new, |chip| chip.grade().to_string());
    let band = spread(&predicted.throughput_per_chip).map_or_else(String::new, |share| {
        words.fill("sure-band", &[("percent", &number(100.0 * share)), ("grade", words.term(&grade))])
    });
    let run = best.simulated.as_ref().map_or_else(String::new, |run| {
        words.fill(
            "plan-simulated",
            &[
                ("tokens", &number(run.throughput.value)),
                ("deviation", &format!("{:+.1} %", 100.0 * run.deviation)),
                ("requests", &run.requests.to_string()),
            ],
        )
    });
    document.certainty = format!("{band} {run}").trim().to_owned();
}

/// The best of each mode, side by side.
fn kinds(words: &Words, plan: &PlanFile) -> Grid {
    let modes: Vec<&DeploymentFile> = [&plan.aggregated, &plan.disaggregated].into_iter().flatten().collect();
    let (unit, scale) = time_unit(modes.iter().map(|one| one.predicted.tpot.value));
    let mut grid = Grid::default()
        .words(words.say("mode"))
        .figures(words.say("chips"), "")
        .figures(words.say("throughput"), words.say("unit-tokens-chip"))
        .figures(words.say("speed"), words.say("unit-tokens-user"))
        .figures(words.say("requests"), "/s")
        .figures("TTFT", "s")
        .figures("TPOT", unit)
        .figures(words.say("power"), "kW")
        .figures(words.say("energy"), words.say("unit-joule-token"))
        .figures(words.say("money"), words.say("unit-dollar-million"))
        .figures(words.say("carbon-short"), words.say("unit-gram-million"))
        .words(words.say("bound"));
    for one in modes {
        let predicted = &one.predicted;
        let power = predicted.power.as_ref().map(|power| figure(power, 1e-3));
        grid.row([
            GridCell { strong: one.mode == plan.best.mode, ..words.term(one.mode.name()).into() },
            number(predicted.chips).into(),
            figure(&predicted.throughput_per_chip, 1.0),
            figure(&predicted.tokens_per_user, 1.0),
            figure(&predicted.request_rate, 1.0),
            figure(&predicted.ttft, 1.0),
            figure(&predicted.tpot, scale),
            power.unwrap_or_else(|| words.say("unknown").into()),
            maybe(words, predicted.energy_per_token.as_ref()),
            maybe(words, predicted.cost_per_million_tokens.as_ref()),
            maybe(words, predicted.co2e_per_million_tokens.as_ref()),
            format!("{}, {}", words.term(&predicted.bound), words.term(&predicted.limit)).into(),
        ]);
    }
    grid
}

/// The instances of the best deployment.
fn pools(words: &Words, plan: &PlanFile) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("role"))
        .words(words.say("system"))
        .words(words.say("engine"))
        .figures(words.say("instances"), "")
        .words(words.say("layout"))
        .words(words.say("formats"))
        .figures(words.say("sequences"), words.say("unit-rank"))
        .figures(words.say("token-budget"), "")
        .figures(words.say("draft-tokens"), "")
        .figures(words.say("chips"), "");
    for pool in &plan.best.pools {
        let mut formats = vec![pool.weight_dtype, pool.act_dtype, pool.kv_dtype, pool.moe_dtype];
        formats.dedup();
        let formats: Vec<String> = formats.iter().map(ToString::to_string).collect();
        grid.row([
            words.term(pool.role.name()).to_owned(),
            pool.system.clone(),
            pool.engine.clone(),
            pool.instances.to_string(),
            layout(pool),
            formats.join(" / "),
            pool.max_sequences_per_rank.to_string(),
            pool.token_budget.to_string(),
            pool.spec_tokens.to_string(),
            number(pool.chips),
        ]);
    }
    grid
}

fn front_chart(words: &Words, plan: &PlanFile) -> Chart {
    let place =
        |one: &DeploymentFile| (one.predicted.tokens_per_user.value, one.predicted.throughput_per_chip.value);
    let describe = |one: &DeploymentFile| {
        let pools: Vec<String> =
            one.pools.iter().map(|pool| format!("{} x {}", pool.instances, layout(pool))).collect();
        format!("{}: {}", words.term(one.mode.name()), pools.join(" + "))
    };
    let curve = |mode: DeploymentMode| {
        let dots =
            plan.front.iter().enumerate().filter(|(_, one)| one.mode == mode).map(|(index, one)| Dot {
                at: place(one),
                band: None,
                title: describe(one),
                link: Some(format!("front-{}", index + 1)),
            });
        Curve { name: words.term(mode.name()).to_owned(), style: Style::Dots, dots: dots.collect() }
    };
    let predicted = &plan.best.predicted.throughput_per_chip;
    let best = Dot {
        at: place(&plan.best),
        band: predicted.low.zip(predicted.high),
        title: describe(&plan.best),
        link: None,
    };
    let best = Curve { name: words.say("the-best").to_owned(), style: Style::Marks, dots: vec![best] };
    let slowest = 1.0 / plan.job.tpot.value;
    let limits = (slowest.is_finite() && slowest > 0.0).then(|| Limit {
        name: words.fill("slo-tpot", &[("tpot", &duration(plan.job.tpot.value))]),
        value: slowest,
        across: true,
    });
    let axis = |name: &str, unit: &str| PlotAxis::from_zero(format!("{name}, {unit}"));
    let mut curves: Vec<Curve> = [DeploymentMode::Aggregated, DeploymentMode::Disaggregated]
        .into_iter()
        .map(curve)
        .filter(|curve| !curve.dots.is_empty())
        .collect();
    curves.push(best);
    Chart::new(
        words.say("front-title"),
        "",
        Drawing::Plot {
            x: axis(words.say("speed"), words.say("unit-tokens-user")),
            y: axis(words.say("throughput"), words.say("unit-tokens-chip")),
            curves,
            limits: limits.into_iter().collect(),
            events: Vec::new(),
        },
    )
}

/// Deployments, a row each, which the chart leads to.
fn layouts(words: &Words, deployments: &[DeploymentFile], prefix: &str) -> Grid {
    let (unit, scale) = time_unit(deployments.iter().map(|one| one.predicted.tpot.value));
    let mut grid = Grid::default()
        .figures("#", "")
        .words(words.say("mode"))
        .words(words.say("instances"))
        .words(words.say("format"))
        .figures(words.say("chips"), "")
        .figures(words.say("throughput"), words.say("unit-tokens-chip"))
        .figures(words.say("speed"), words.say("unit-tokens-user"))
        .figures("TTFT", "s")
        .figures("TPOT", unit)
        .figures(words.say("money"), words.say("unit-dollar-million"))
        .figures(words.say("energy"), words.say("unit-joule-token"));
    for (index, one) in deployments.iter().enumerate() {
        let predicted = &one.predicted;
        let pools: Vec<String> = one
            .pools
            .iter()
            .map(|pool| format!("{} {} x {}", words.term(pool.role.name()), pool.instances, layout(pool)))
            .collect();
        let plain = |cell: GridCell| GridCell { band: String::new(), ..cell };
        let formats = unique(one.pools.iter().map(|pool| pool.weight_dtype.to_string()));
        grid.row_at(
            format!("{prefix}-{}", index + 1),
            vec![
                (index + 1).to_string().into(),
                words.term(one.mode.name()).into(),
                pools.join(" + ").into(),
                formats.into(),
                number(predicted.chips).into(),
                plain(figure(&predicted.throughput_per_chip, 1.0)),
                plain(figure(&predicted.tokens_per_user, 1.0)),
                plain(figure(&predicted.ttft, 1.0)),
                plain(figure(&predicted.tpot, scale)),
                plain(maybe(words, predicted.cost_per_million_tokens.as_ref())),
                plain(maybe(words, predicted.energy_per_token.as_ref())),
            ],
        );
    }
    grid
}

fn search(words: &Words, plan: &PlanFile) -> Section {
    let search = &plan.search;
    let counts = words.fill(
        "plan-counts",
        &[("covered", &number(search.covered as f64)), ("priced", &number(search.priced as f64))],
    );
    let mut grid = Grid::default().words(words.say("left-out")).figures(words.say("deployments"), "");
    for (bound, count) in &search.pruned {
        grid.row([words.term(bound).to_owned(), number(*count as f64)]);
    }
    let stopped = if search.interrupted { words.say("interrupted") } else { "" };
    let reasons = plan.reasons.join("; ");
    Section::new(words.say("plan-search")).note(counts).note(stopped).note(reasons).table(grid)
}
