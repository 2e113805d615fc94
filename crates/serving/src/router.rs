//! Which instance of a pool a request goes to.

use crate::instance::Instance;
use crate::request::Request;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Rules for choosing an instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RouterPolicy {
    /// In turn.
    RoundRobin,
    /// The one with the fewest requests.
    LeastRequests,
    /// The one with the fewest tokens in flight (prompts, and output known so far at admission).
    LeastTokens,
    /// The less loaded (in tokens) of two drawn at random.
    PowerOfTwo,
    /// The one with most of the prompt in its prefix cache, against its load: a token in flight counts as `load` tokens
    /// of prompt to compute.
    PrefixAware {
        /// Weight of a token in flight; 0 looks at the cache alone.
        load: f64,
    },
    /// All turns of a session to the same instance; new sessions to the one with the fewest tokens.
    SessionSticky,
}

/// The router of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    policy: RouterPolicy,
    turn: u64,
    random: Pcg64Mcg,
}

impl Router {
    pub fn new(policy: RouterPolicy, seed: u64) -> Self {
        Self { policy, turn: 0, random: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// Goes by another rule from now on.
    pub fn set(&mut self, policy: RouterPolicy) {
        self.policy = policy;
    }

    /// Chooses among `members`, positions in `instances`, those that take requests.
    pub fn choose(&mut self, request: &Request, members: &[u32], instances: &[Instance]) -> Option<u32> {
        let open = || members.iter().copied().filter(|member| instances[*member as usize].takes_requests());
        let count = open().count();
        if count == 0 {
            return None;
        }
        let tokens = |member: &u32| instances[*member as usize].tokens;
        self.turn += 1;
        match self.policy {
            RouterPolicy::RoundRobin => open().nth((self.turn - 1) as usize % count),
            RouterPolicy::LeastRequests => open().min_by_key(|member| instances[*member as usize].requests),
            RouterPolicy::LeastTokens => open().min_by_key(tokens),
            RouterPolicy::PowerOfTwo => {
                let first = self.random.random_range(0..count);
                let second = self.random.random_range(0..count);
                [first, second].into_iter().filter_map(|at| open().nth(at)).min_by_key(tokens)
            }
            RouterPolicy::PrefixAware { load } => {
                let cost = |member: u32| prefix_cost(&instances[member as usize], request, load);
                let costs = open().map(|member| (cost(member), member));
                costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, member)| member)
            }
            RouterPolicy::SessionSticky => match request.session {
                Some(session) => sticky(session, open()),
                None => open().min_by_key(tokens),
            },
        }
    }
}

/// Tokens to compute there and the weighted tokens ahead of them.
fn prefix_cost(instance: &Instance, request: &Request, load: f64) -> f64 {
    let hash_tokens = f64::from(instance.limits.prefix_cache.unwrap_or(0));
    let hashes: &[u64] = request.prefix.as_deref().unwrap_or(&[]);
    let trees = instance.ranks.iter().filter_map(|rank| rank.kv.tree.as_ref());
    let cached = trees.map(|tree| tree.matched(hashes)).max().unwrap_or(0);
    f64::from(request.prompt) - f64::from(cached) * hash_tokens + load * instance.tokens as f64
}

/// Rendezvous hashing: when an instance goes, only its own sessions move.
fn sticky(session: u64, members: impl Iterator<Item = u32>) -> Option<u32> {
    let score = |member: &u32| {
        let mut x = session ^ (u64::from(*member) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    members.max_by_key(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::InstanceState;
    use crate::engine::EngineLimits;
    use crate::request::InstanceId;
    use std::sync::Arc;

    fn instances(tokens: &[u64]) -> Vec<Instance> {
        let limits = Arc::new(EngineLimits { prefix_cache: Some(64), ..EngineLimits::default() });
        let make = |(index, tokens): (usize, &u64)| {
            let id = InstanceId(index as u32);
            let mut instance = Instance::new(id, 0, limits.clone(), InstanceState::Active);
            instance.tokens = *tokens;
            instance
        };
        tokens.iter().enumerate().map(make).collect()
    }

    fn picks(policy: RouterPolicy, instances: &[Instance], requests: &[Request]) -> Vec<u32> {
        let members: Vec<u32> = (0..instances.len() as u32).collect();
        let mut router = Router::new(policy, 1);
        requests.iter().filter_map(|request| router.choose(request, &members, instances)).collect()
    }

    #[test]
    fn policies_choose_as_their_names_say() {
        let mut three = instances(&[500, 100, 300]);
        let plain = vec![Request { prompt: 640, ..Request::default() }; 4];
        assert_eq!(picks(RouterPolicy::RoundRobin, &three, &plain), [0, 1, 2, 0]);
        assert_eq!(picks(RouterPolicy::LeastTokens, &three, &plain), [1; 4]);
        three[1].state = InstanceState::Draining;
        assert_eq!(picks(RouterPolicy::LeastTokens, &three, &plain), [2; 4]);
        assert!(picks(RouterPolicy::PowerOfTwo, &three, &plain).iter().all(|pick| *pick != 1));
    }

    #[test]
    fn a_cached_prefix_attracts_until_the_load_outweighs_it() {
        let mut two = instances(&[2000, 0]);
        if let Some(tree) = &mut two[0].ranks[0].kv.tree {
            let (node, _) = tree.extend(crate::prefix::ROOT, 9);
            tree.extend(node, 8);
        }
        let prefix: std::sync::Arc<[u64]> = Arc::from([9, 8]);
        let request = [Request { prompt: 640, prefix: Some(prefix), ..Request::default() }];
        assert_eq!(picks(RouterPolicy::PrefixAware { load: 0.05 }, &two, &request), [0]);
        assert_eq!(picks(RouterPolicy::PrefixAware { load: 0.5 }, &two, &request), [1]);
    }

    #[test]
    fn sessions_stick_and_only_those_of_a_lost_instance_move() {
        let mut four = instances(&[0; 4]);
        let turns: Vec<Request> =
            (0..100).map(|session| Request { session: Some(session), ..Request::default() }).collect();
        let before = picks(RouterPolicy::SessionSticky, &four, &turns);
        four[2].state = InstanceState::Failed;
        let after = picks(RouterPolicy::SessionSticky, &four, &turns);
        assert!((0..4).all(|member| before.contains(&member)));
        assert!(before.iter().zip(&after).all(|(was, is)| was == is || *was == 2));
    }
}
