//! Which serving rows are fitted and which are kept for testing.
//!
//! Rows of one system, model, engine and mode share whatever is particular to them, so a row can only be told from the
//! fitted ones by its whole group: groups are fitted or held out entire. The choice is a hash of the group's name: the
//! same for every fit and every report, whichever table the row stands in.

use crate::serving::ServingRow;
use calibration::stats::fnv1a;

/// Whether rows may be used in a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// They may.
    Fitted,
    /// They are for testing only.
    HeldOut,
}

impl Split {
    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fitted => "fitted",
            Self::HeldOut => "held out",
        }
    }
}

/// The group of a row: `system|model|engine|mode`, as the table writes them; the engine is empty where unknown.
pub fn group(row: &ServingRow) -> String {
    let point = &row.point;
    let engine = point.engine.as_deref().unwrap_or_default();
    let mode = format!("{:?}", point.mode).to_lowercase();
    format!("{}|{}|{engine}|{mode}", point.system, point.model)
}

/// The split of a group: two in five are held out, by FNV-1a-64 of [`group`] modulo 5 being 0 or 1.
pub fn split_of(group: &str) -> Split {
    if fnv1a(group.as_bytes()) % 5 < 2 { Split::HeldOut } else { Split::Fitted }
}

/// The split of a row, which is that of its group.
pub fn split(row: &ServingRow) -> Split {
    split_of(&group(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    const TABLE: &str = "id,system,model,engine,mode,weight_dtype,isl
a,h100-8,Qwen/Qwen3-8B,vllm,agg,fp8,128
b,h100-8,Qwen/Qwen3-8B,vllm,agg,bf16,4096
c,h100-8,Qwen/Qwen3-8B,,disagg,,
";

    #[test]
    fn a_group_is_the_deployment_without_its_load_and_layout() {
        let table = Table::read(TABLE.as_bytes(), "t.csv").unwrap();
        let rows = crate::serving::read_serving(&table).unwrap();
        let groups: Vec<String> = rows.iter().map(group).collect();
        insta::assert_debug_snapshot!(groups, @r#"
        [
            "h100-8|Qwen/Qwen3-8B|vllm|agg",
            "h100-8|Qwen/Qwen3-8B|vllm|agg",
            "h100-8|Qwen/Qwen3-8B||disagg",
        ]
        "#);
        assert_eq!(split(&rows[0]), split(&rows[1]));
    }

    #[test]
    fn two_groups_in_five_are_held_out_and_the_choice_never_changes() {
        let names = (0..5000).map(|i| format!("system-{}|model-{}|vllm|agg", i % 71, i));
        let out = names.filter(|name| split_of(name) == Split::HeldOut).count();
        assert!((1850..2150).contains(&out), "{out}");
        // 64-bit FNV-1a of the empty text is its offset basis, 0xcbf29ce484222325, which is 2 modulo 5.
        assert_eq!(0xcbf2_9ce4_8422_2325_u64 % 5, 2);
        assert_eq!(split_of(""), Split::Fitted);
    }
}
