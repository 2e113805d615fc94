//! A swarm of deployments that nobody thought of: drawn systems, models, layouts, formats, engines and traffic, through
//! the library. What is refused says why; what is answered is within bounds, adds up, and moves the right way.
//!
//! `SUPERNODE_SWARM=50000 cargo test --release -p supernode-scenario --test swarm` draws more of them;
//! `SUPERNODE_SWARM_FROM` is the seed of the first.

mod draw;
mod figures;
mod runs;
mod whatif;

use draw::draw;
use estimate::economics::Site;
use estimate::{Resolver, estimate};
use hardware::Catalog;
use rand::SeedableRng;
use rand_pcg::Pcg64;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Deployments that are drawn where nothing else is said.
const CASES: u64 = 2000;
/// One in so many is priced on other hardware as well.
const WHAT_IF_EVERY: u64 = 4;
/// One in so many is run request by request as well.
const RUN_EVERY: u64 = 10;
/// One in so many is run with as many requests as the documented bound of leaping speaks of.
const LONG_RUN_EVERY: u64 = 250;
/// Broken cases after which a thread has seen enough.
const ENOUGH: usize = 40;

fn site(catalog: &Catalog) -> Site {
    let prices = catalog.economics().expect("built-in prices").prices;
    Site::new(&prices, catalog.basis(None).expect("a basis"))
}

fn check_case(resolver: &Resolver, site: &Site, seed: u64) -> bool {
    let point = draw(&mut Pcg64::seed_from_u64(seed));
    let found = match estimate(resolver, &point, site) {
        Ok(found) => found,
        Err(error) => {
            assert!(error.to_string().len() > 10, "a refusal says why");
            return false;
        }
    };
    let base = figures::check(&point, &found);
    figures::check_monotone(resolver, site, &point, &base);
    figures::check_steps(&found, seed);
    if seed % WHAT_IF_EVERY == 0 {
        whatif::check(resolver, site, &point, &base, seed);
    }
    if seed % LONG_RUN_EVERY == 0 {
        runs::check_long(resolver, &point, seed);
    } else if seed % RUN_EVERY == 0 {
        runs::check(resolver, &point, seed);
    }
    true
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

thread_local! {
    /// What the last panic of this thread said.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

#[test]
fn whatever_is_drawn_is_refused_with_a_reason_or_answered_within_bounds() {
    let (from, cases) = (setting("SUPERNODE_SWARM_FROM", 0), setting("SUPERNODE_SWARM", CASES));
    let resolver = Resolver::new(Catalog::builtin());
    let site = site(resolver.catalog());
    let (next, answered) = (AtomicU64::new(from), AtomicU64::new(0));
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| SAID.with_borrow_mut(|said| *said = panic.to_string())));
    let work = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + cases || broken.len() >= ENOUGH {
                return broken;
            }
            let case = || check_case(&resolver, &site, seed);
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)) {
                Ok(answer) => {
                    answered.fetch_add(u64::from(answer), Ordering::Relaxed);
                }
                Err(_) => {
                    let point = draw(&mut Pcg64::seed_from_u64(seed));
                    let said = SAID.with_borrow(Clone::clone);
                    broken.push(format!("seed {seed}: {said}\n  {}", draw::describe(&point)));
                }
            }
        }
    };
    let broken: Vec<String> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("it catches panics")).collect()
    });
    std::panic::set_hook(usual);
    assert!(broken.is_empty(), "{} of {cases}:\n{}", broken.len(), broken.join("\n"));
    let answered = answered.into_inner();
    assert!(answered * 4 > cases, "only {answered} of {cases} could run: the swarm draws nonsense");
}
