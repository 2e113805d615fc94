//! Laws of a step's price over drawn jobs: bounds, parts that add up, and more hardware that never makes it slower.
//!
//! `PROPTEST_CASES` draws more of them.

use hardware::overrides::Override;
use hardware::{Catalog, DomainKind};
use proptest::prelude::*;
use supernode_training::site::{Site, profile};
use supernode_training::spec::JobSpec;
use supernode_training::{JobError, Machine, Step, price};

const SYSTEMS: [(&str, u32); 5] =
    [("h100-8", 64), ("a100-8", 32), ("gb200-nvl72", 72), ("cloudmatrix384", 64), ("atlas-800t-a2", 64)];

const SHAPES: [&str; 3] = [
    "layers=32,hidden=4096,heads=32,kv-heads=8,ffn=14336,vocab=128256,gated=true",
    "layers=96,hidden=12288,heads=96,vocab=51200",
    "layers=24,hidden=2048,heads=16,kv-heads=4,ffn=6144,vocab=152064,gated=true,experts=64,topk=8,moe-ffn=1024",
];

#[derive(Debug, Clone)]
struct Drawn {
    system: usize,
    shape: usize,
    tp: u32,
    pp: u32,
    ep: u32,
    cp: u32,
    micro: u32,
    batch: u32,
    seq: u32,
    zero: u32,
    recompute: &'static str,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let power = |most: u32| (0..=most).prop_map(|exponent| 1_u32 << exponent);
    let sizes = (0..SYSTEMS.len(), 0..SHAPES.len(), power(3), power(3), power(3), power(1));
    let rest =
        (power(1), power(3), power(3), 0_u32..4, prop::sample::select(vec!["none", "selective", "full"]));
    (sizes, rest).prop_map(|((system, shape, tp, pp, ep, cp), (micro, batch, seq, zero, recompute))| Drawn {
        system,
        shape,
        tp,
        pp,
        ep: if shape == 2 { ep } else { 1 },
        cp,
        micro,
        batch: 64 * batch,
        seq: 1024 * seq,
        zero,
        recompute,
    })
}

impl Drawn {
    fn text(&self) -> String {
        let (system, chips) = SYSTEMS[self.system];
        format!(
            "system = \"{system}\"\nchips = {chips}\nshape = \"{}\"\ntp = {}\npp = {}\nep = {}\ncp = {}\n\
             micro-batch = {}\nglobal-batch = {}\nseq = {}\nzero = {}\nrecompute = \"{}\"\n",
            SHAPES[self.shape],
            self.tp,
            self.pp,
            self.ep,
            self.cp,
            self.micro,
            self.batch,
            self.seq,
            self.zero,
            self.recompute
        )
    }

    /// Its price, with one figure replaced where there is one to replace.
    fn priced(&self, set: Option<&str>) -> Result<Step, JobError> {
        let sets: Vec<Override> =
            set.map(|set| Override::parse(set).expect("a figure that can be set")).into_iter().collect();
        let catalog = Catalog::builtin().with_overrides(&sets);
        let spec = JobSpec::parse(&self.text())?;
        let site = Site::new(&catalog, SYSTEMS[self.system].0, None, None).expect("a known system");
        let profile = profile(&catalog, "megatron", None).expect("a known framework");
        let model = spec.shape_model()?.expect("a shape");
        let job = spec.job(model, SYSTEMS[self.system].1 * site.chip.ranks.max(1))?;
        price(&job, &Machine { chip: &site.chip, pricer: &site.pricer, profile: &profile })
    }

    /// `KEY=VALUE` with twice as much of every figure of the chip and its links.
    fn sets(&self) -> Vec<String> {
        let catalog = Catalog::builtin();
        let site = Site::new(&catalog, SYSTEMS[self.system].0, None, None).expect("a known system");
        let rank = &site.chip.rank;
        let mut sets = vec![format!("chip.hbm.bandwidth={} B/s", rank.bandwidth.value.get() * 2.0)];
        for (format, rate) in &rank.matrix {
            sets.push(format!("chip.matrix.{format}={} FLOPS", rate.value.get() * 2.0));
        }
        for kind in DomainKind::ALL {
            if let Some(domain) = site.system.domain(kind) {
                let rate = domain.bandwidth.value.get() * 2.0;
                sets.push(format!("system.domain.{kind}.bandwidth={rate} B/s"));
            }
        }
        sets
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]
    #[test]
    fn a_step_is_bounded_adds_up_and_gains_from_more_hardware(drawn in drawn(), which in 0_usize..64) {
        let step = match drawn.priced(None) {
            Ok(step) => step,
            Err(error) => {
                prop_assert!(error.to_string().len() > 10, "a refusal says why");
                return Ok(());
            }
        };
        let time = step.time.get();
        prop_assert!(time.is_finite() && time > 0.0, "a step of {time} s");
        prop_assert!((0.0..=1.0).contains(&step.mfu()), "MFU {}", step.mfu());
        prop_assert!(step.hfu() >= step.mfu() * 0.999 && step.hfu() <= 1.0, "HFU {}", step.hfu());
        prop_assert!(step.throughput().get() > 0.0);
        let sets = drawn.sets();
        let set = &sets[which % sets.len()];
        let more = drawn.priced(Some(set)).expect("more of a figure is no reason to refuse");
        prop_assert!(more.time.get() <= time * (1.0 + 1e-9), "{set}: {} instead of {time}", more.time.get());
    }

    #[test]
    fn twice_the_sequences_take_no_less_time(drawn in drawn()) {
        let (Ok(step), Ok(more)) = (drawn.priced(None), Drawn { batch: drawn.batch * 2, ..drawn.clone() }.priced(None))
        else {
            return Ok(());
        };
        prop_assert!(more.time.get() >= step.time.get(), "{:?} instead of {:?}", more.time, step.time);
    }
}
