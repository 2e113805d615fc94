//! More of a chip or a link never makes anything worse.

use crate::figures::{self, Base, no_less};
use cost::step::{RankLoad, StepModel, StepShape};
use estimate::economics::Site;
use estimate::{OperatingPoint as Point, Resolver, Roles, estimate};
use hardware::overrides::Override;
use hardware::{Chip, DomainKind, System};

/// `KEY=VALUE` with which a chip or a system has `times` as much of a figure.
fn sets(chip: &Chip, system: &System, times: f64) -> Vec<String> {
    let rank = &chip.rank;
    let mut sets = vec![
        format!("chip.hbm.bandwidth={} B/s", rank.bandwidth.value.get() * times),
        format!("chip.hbm.capacity={} B", rank.memory.value.get() * times),
    ];
    for (format, rate) in &rank.matrix {
        sets.push(format!("chip.matrix.{format}={} FLOPS", rate.value.get() * times));
    }
    for (name, port) in [("scale-up", &chip.scale_up), ("scale-out", &chip.scale_out)] {
        if let Some(port) = port {
            sets.push(format!("chip.{name}.bandwidth={} B/s", port.bandwidth.value.get() * times));
        }
    }
    for kind in DomainKind::ALL {
        if let Some(domain) = system.domain(kind) {
            let key = format!("system.domain.{kind}");
            sets.push(format!("{key}.bandwidth={} B/s", domain.bandwidth.value.get() * times));
            sets.push(format!("{key}.latency={} s", domain.latency.value.get() / times));
        }
    }
    sets
}

fn steps(model: &StepModel) -> [f64; 4] {
    let ranks = model.deployment().layout.dp;
    let time = |load: RankLoad| model.cost(&StepShape::even(load, ranks)).time.get();
    [
        time(RankLoad::decode(1.0, 1000.0)),
        time(RankLoad::decode(64.0, 3000.0)),
        time(RankLoad::prefill(1.0, 300.0, 0.0)),
        time(RankLoad::prefill(2.0, 4096.0, 0.0)),
    ]
}

/// One drawn figure is larger: no step is slower, no memory holds less, and the deployment serves as well.
pub fn check(resolver: &Resolver, site: &Site, point: &Point, base: &Base, seed: u64) {
    let Ok((system, chip)) = resolver.placed(&point.system, None) else { return };
    let times = [1.05, 1.5, 2.0, 4.0][(seed / 4 % 4) as usize];
    let sets = sets(&chip, &system, times);
    let set = &sets[(seed / 16) as usize % sets.len()];
    let Ok(parsed) = Override::parse(set) else { return };
    let other = Resolver::new(resolver.catalog().clone().with_overrides(&[parsed]));
    let before = resolver.step_model(point, Roles::Both).expect("it was estimated");
    let after = match other.step_model(point, Roles::Both) {
        Ok(after) => after,
        Err(error) => panic!("with {set} it does not run: {error}"),
    };
    for (index, (after, before)) in steps(&after).iter().zip(steps(&before)).enumerate() {
        assert!(*after <= before * (1.0 + 1e-9), "{set}: step {index} takes {after} instead of {before}");
    }
    let holds = |model: &StepModel| model.memory().sequences(1000.0);
    assert!(holds(&after) >= holds(&before) * (1.0 - 1e-9), "{set}: it holds {}", holds(&after));
    let found = estimate(&other, point, site).expect("its step model was made");
    let found = figures::check(point, &found);
    no_less(&format!("{set}: throughput"), found.throughput, base.throughput);
    no_less(&format!("{set}: a request's time before against after"), base.e2e, found.e2e);
}
