//! The systems that tables were measured on: what joins so many ranks of a chip.

use super::{CommFamily, Measured, Work};
use cost::comm::{Collective, CommCost, Direction, Exchange, Network};
use cost::kernels::Origin;
use cost::step::{Basis, Evidence};
use hardware::{Catalog, DomainKind, Topology};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use units::{Bytes, Seconds};

/// A chip's usual system.
#[derive(Debug)]
struct Host {
    network: Network,
    node_ranks: f64,
    reduces: bool,
}

/// Systems by the chip's name in tables, looked up once.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    catalog: &'a Catalog,
    hosts: Mutex<BTreeMap<(String, String), Option<Arc<Host>>>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, hosts: Mutex::default() }
    }

    /// Whether there is a system to place the chip's rows in.
    pub(super) fn knows(&self, chip: &str) -> bool {
        self.host(chip, "").is_some()
    }

    pub(super) fn reduces_in_network(&self, chip: &str) -> bool {
        self.host(chip, "").is_some_and(|host| host.reduces)
    }

    /// The link class and the form's view of a row whose ranks meet in one flat stage.
    pub(super) fn place(&self, family: CommFamily, measured: &Measured) -> Option<(String, Work)> {
        let host = self.host(&measured.key.chip, "")?;
        let ranks = ranks(measured, &host);
        let (class, work) = match (family, &measured.exchange) {
            (CommFamily::Collective(collective), _) => {
                let (class, place) = host.network.place(collective, ranks)?;
                (class, Work::Collective(place))
            }
            (CommFamily::Exchange(Direction::Combine), Some(spec)) => {
                let (class, load) =
                    host.network.exchange_load(spec, Direction::Combine, ranks, measured.outermost)?;
                (class, Work::Exchange(load))
            }
            (_, Some(spec)) => {
                let (class, load) =
                    host.network.exchange_load(spec, Direction::Dispatch, ranks, measured.outermost)?;
                (class, Work::Exchange(load))
            }
            (_, None) => return None,
        };
        Some((class.to_owned(), work))
    }

    /// The row's price as a step would have it, with its spread and where the coefficients come from.
    pub(super) fn price(&self, family: CommFamily, measured: &Measured) -> Option<(Seconds, f64, Origin)> {
        let host = self.host(&measured.key.chip, &measured.key.stack)?;
        let group = host.network.group(ranks(measured, &host), 1).ok()?;
        let bytes = Bytes::new(measured.size);
        let exchange = match &measured.exchange {
            Some(spec) => Some(Exchange::new(&host.network, &group, spec).ok()?),
            None => None,
        };
        let (cost, evidence): (CommCost, &Evidence) = match (family, &exchange) {
            (CommFamily::Collective(Collective::AllReduce), _) => (group.all_reduce(bytes), group.evidence()),
            (CommFamily::Collective(Collective::AllGather), _) => (group.all_gather(bytes), group.evidence()),
            (CommFamily::Collective(Collective::ReduceScatter), _) => {
                (group.reduce_scatter(bytes), group.evidence())
            }
            (CommFamily::Collective(Collective::AllToAll), _) => (group.all_to_all(bytes), group.evidence()),
            (CommFamily::Exchange(Direction::Dispatch), Some(exchange)) => {
                (exchange.dispatch(measured.size), exchange.evidence())
            }
            (CommFamily::Exchange(Direction::Combine), Some(exchange)) => {
                (exchange.combine(measured.size), exchange.evidence())
            }
            _ => return None,
        };
        let stack = measured.key.stack.clone();
        let origin = match &evidence.basis {
            // How far beyond what was measured a row lies is seen in its spread.
            Basis::Measured | Basis::Extrapolated(_) => Origin::Measured { stack, rows: evidence.rows },
            Basis::Derived => Origin::Derived { stack },
            Basis::Transferred(from) => {
                Origin::Transferred { chip: from.clone(), stack, rows: evidence.rows }
            }
            Basis::Generic => Origin::Generic,
        };
        Some((cost.time, evidence.sigma, origin))
    }

    fn host(&self, chip: &str, stack: &str) -> Option<Arc<Host>> {
        let key = (chip.to_owned(), stack.to_owned());
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(key).or_insert_with(|| self.look_up(chip, stack).map(Arc::new)).clone()
    }

    fn look_up(&self, chip: &str, stack: &str) -> Option<Host> {
        let chip = self.catalog.chip(chip).ok()?;
        let system = self.catalog.system(chip.system.as_deref()?).ok()?;
        let stacks: Vec<String> = (!stack.is_empty()).then(|| stack.to_owned()).into_iter().collect();
        let network = Network::new(self.catalog, &system, &chip, &stacks).ok()?;
        let node = system.domains.iter().find(|domain| domain.kind == DomainKind::Node);
        let reduces =
            |topology: Topology| matches!(topology, Topology::Switch { in_network_reduction: true });
        Some(Host {
            network,
            node_ranks: node.and_then(|node| node.ranks).map_or(1.0, f64::from),
            reduces: system.domains.iter().any(|domain| reduces(domain.topology)),
        })
    }
}

fn ranks(measured: &Measured, host: &Host) -> u32 {
    measured.nodes.map_or(measured.ranks, |nodes| nodes * host.node_ranks).round().max(1.0) as u32
}
