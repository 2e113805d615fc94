//! What a topology leaves of a rank's bandwidth to one collective of a group inside it.

use super::form::Collective;
use hardware::Topology;

/// Share of a rank's bandwidth that `members` of the `places` places of a domain can use for `collective`. A pair
/// sending to each other is an all-to-all of two.
///
/// - Full mesh: only the links to other members carry anything, `(n-1)/(N-1)` of them.
/// - Switch: all of it.
/// - Clos: what the oversubscription leaves.
/// - Ring and torus of `d` dimensions (a ring has one): a compact block uses the dimensions it spans; one that does not
///   go all the way round has no wrap-around links, which halves ring algorithms. An all-to-all crosses a quarter of
///   the side per dimension on average, so that it gets `4/side` of the bandwidth (`2/side`, unwrapped).
pub(crate) fn share(topology: Topology, collective: Collective, members: f64, places: f64) -> f64 {
    match topology {
        Topology::FullMesh if places > 2.0 => ((members - 1.0) / (places - 1.0)).clamp(0.0, 1.0),
        Topology::FullMesh | Topology::Switch { .. } => 1.0,
        Topology::Clos { oversubscription } => 1.0 / oversubscription.max(1.0),
        Topology::Ring => block(1.0, collective, members, places),
        Topology::Torus { dimensions } => block(f64::from(dimensions.max(1)), collective, members, places),
    }
}

fn block(dimensions: f64, collective: Collective, members: f64, places: f64) -> f64 {
    if members < 2.0 {
        return 1.0;
    }
    let spanned = members.log2().clamp(1.0, dimensions);
    let side = members.powf(1.0 / spanned);
    // Two neighbours share one link each way; a wrap-around link would join the same pair.
    let wrapped = members >= places && side > 2.0;
    let ring = if wrapped { 1.0 } else { 0.5 };
    let crossing = match collective {
        Collective::AllToAll => (4.0 / side).min(1.0),
        Collective::AllReduce | Collective::AllGather | Collective::ReduceScatter => 1.0,
    };
    spanned / dimensions * ring * crossing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_in_a_full_mesh_of_eight_gets_one_link_of_seven() {
        let pair = share(Topology::FullMesh, Collective::AllToAll, 2.0, 8.0);
        assert!((pair - 1.0 / 7.0).abs() < 1e-12);
        assert_eq!(share(Topology::FullMesh, Collective::AllReduce, 8.0, 8.0), 1.0);
    }

    #[test]
    fn a_whole_torus_reduces_at_full_bandwidth_and_exchanges_at_its_bisection() {
        let torus = Topology::Torus { dimensions: 3 };
        assert_eq!(share(torus, Collective::AllReduce, 512.0, 512.0), 1.0);
        assert!((share(torus, Collective::AllToAll, 512.0, 512.0) - 0.5).abs() < 1e-12);
        assert!(share(torus, Collective::AllReduce, 64.0, 512.0) < 1.0);
        assert_eq!(share(Topology::Ring, Collective::AllReduce, 2.0, 16.0), 0.5);
    }

    #[test]
    fn oversubscription_divides() {
        let clos = Topology::Clos { oversubscription: 4.0 };
        assert_eq!(share(clos, Collective::AllGather, 16.0, 1024.0), 0.25);
    }
}
