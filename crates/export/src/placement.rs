//! Instances on nodes.

use serde::Serialize;

/// How the instances of a pool lie on nodes. A device is a rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// Devices of a node.
    pub node_devices: u32,
    /// Nodes of one instance.
    pub nodes: u32,
    /// Instances that share a node; 1 where an instance takes nodes of its own.
    pub slots: u32,
    /// Devices of one instance on each of its nodes.
    pub devices: u32,
    /// Data-parallel ranks of one instance on each of its nodes; 1 where one of them spans nodes.
    pub dp_local: u32,
    /// Nodes of the whole pool.
    pub pool_nodes: u32,
}

impl Placement {
    /// Places `instances` of `dp` groups of `group` devices (tensor times pipeline parallel) on nodes.
    ///
    /// # Errors
    /// Instances that leave a node half used, or groups that span nodes while there are several of them.
    pub fn new(node_devices: u32, group: u32, dp: u32, instances: u32) -> Result<Self, String> {
        let (node_devices, group, dp) = (node_devices.max(1), group.max(1), dp.max(1));
        let ranks = group.checked_mul(dp).ok_or("has more ranks than can be counted")?;
        if ranks <= node_devices {
            let slots = node_devices / ranks;
            let pool_nodes = instances.div_ceil(slots);
            return Ok(Self { node_devices, nodes: 1, slots, devices: ranks, dp_local: dp, pool_nodes });
        }
        if group > node_devices && dp > 1 {
            return Err(format!(
                "has {dp} data-parallel groups of {group} devices each, more than the {node_devices} of a node, which no launch \
                 command spreads; plan with fewer tensor- or pipeline-parallel ranks"
            ));
        }
        let (nodes, devices, dp_local) = if group > node_devices {
            (group.div_ceil(node_devices), node_devices, 1)
        } else {
            let dp_local = (1..=node_devices / group).rev().find(|local| dp % local == 0).unwrap_or(1);
            (dp / dp_local, dp_local * group, dp_local)
        };
        // Equal shares on every node, which some engines demand, may take more nodes than are needed, but not many more.
        let fewest = dp.div_ceil((node_devices / group).max(1));
        if group <= node_devices && nodes >= fewest.saturating_mul(2) {
            return Err(format!(
                "has {dp} data-parallel ranks, which do not divide over nodes of {node_devices} devices; plan with another number"
            ));
        }
        if group > node_devices && group % node_devices != 0 {
            return Err(format!(
                "has instances of {group} devices, which do not fill nodes of {node_devices}; plan with sizes that do"
            ));
        }
        Ok(Self {
            node_devices,
            nodes,
            slots: 1,
            devices,
            dp_local,
            pool_nodes: nodes.saturating_mul(instances),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(node: u32, group: u32, dp: u32, instances: u32, expected: (u32, u32, u32, u32, u32)) {
        let found = Placement::new(node, group, dp, instances).expect("it fits");
        let all = (found.nodes, found.slots, found.devices, found.dp_local, found.pool_nodes);
        assert_eq!(all, expected);
        let held = found.nodes * found.devices;
        assert_eq!(held, group * dp, "every rank has a device");
    }

    #[test]
    fn instances_lie_on_whole_nodes_or_share_one() {
        check(8, 8, 1, 3, (1, 1, 8, 1, 3));
        check(8, 2, 1, 9, (1, 4, 2, 1, 3));
        check(16, 1, 320, 1, (20, 1, 16, 16, 20));
        check(16, 4, 8, 2, (2, 1, 16, 4, 4));
        check(8, 16, 1, 2, (2, 1, 8, 1, 4));
        // Twelve ranks on nodes of eight: six on each of two.
        check(8, 1, 12, 1, (2, 1, 6, 6, 2));
    }

    #[test]
    fn what_no_command_spreads_is_refused() {
        assert!(Placement::new(8, 16, 2, 1).is_err_and(|problem| problem.contains("2 data-parallel")));
        assert!(Placement::new(8, 12, 1, 1).is_err_and(|problem| problem.contains("12 devices")));
        assert!(Placement::new(8, u32::MAX, 2, 1).is_err());
        assert!(Placement::new(8, 1, 17, 1).is_err_and(|problem| problem.contains("17 data-parallel")));
    }
}
