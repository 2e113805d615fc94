//! What varies: lists of values, ranges, and tables that set several keys together.

use serde_json::{Map, Value};

/// One assignment of a value to a key of the job.
pub type Setting = (String, Value);

/// Something that varies.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its key, or the name of a list of tables.
    pub name: String,
    /// What it may be.
    pub choice: Choice,
}

/// What an axis may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// One of these; each sets one or more keys.
    List(Vec<Vec<Setting>>),
    /// Anything in a range; for random designs only.
    Range(Range),
}

/// Numbers between two ends, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    from: f64,
    to: f64,
    logarithmic: bool,
    whole: bool,
}

impl Range {
    /// The number at `share` of the way, 0..1.
    pub fn at(&self, share: f64) -> Value {
        let number = if self.logarithmic {
            self.from * (self.to / self.from).powf(share)
        } else {
            self.from + (self.to - self.from) * share
        };
        let number = number.clamp(self.from, self.to);
        if self.whole { Value::from(number.round() as i64) } else { Value::from(number) }
    }

    fn read(table: &Map<String, Value>) -> Result<(Self, Option<u64>), String> {
        let allowed = ["from", "to", "steps", "scale"];
        if let Some(key) = table.keys().find(|key| !allowed.contains(&key.as_str())) {
            return Err(format!("`{key}` is no key of a range; allowed are {}", allowed.join(", ")));
        }
        let number = |key: &str| {
            let found = table.get(key).and_then(Value::as_f64);
            found.ok_or_else(|| format!("a range needs a number `{key}`"))
        };
        let (from, to) = (number("from")?, number("to")?);
        let logarithmic = match table.get("scale").map(|scale| scale.as_str()) {
            None | Some(Some("linear")) => false,
            Some(Some("log")) => true,
            _ => return Err("`scale` is `linear` or `log`".to_owned()),
        };
        if from >= to || (logarithmic && from <= 0.0) {
            return Err("`from` must be less than `to`, and positive with a log scale".to_owned());
        }
        let steps = table.get("steps").map(|steps| {
            let count = steps.as_u64().filter(|count| (2..=1_000_000).contains(count));
            count.ok_or("`steps` is a whole number from 2 to 1000000")
        });
        let whole = |key: &str| table.get(key).is_some_and(Value::is_i64);
        Ok((Self { from, to, logarithmic, whole: whole("from") && whole("to") }, steps.transpose()?))
    }

    /// Evenly spaced values; whole ones that coincide are one.
    fn steps(&self, count: u64) -> Vec<Value> {
        let mut values: Vec<Value> =
            (0..count).map(|step| self.at(step as f64 / (count - 1) as f64)).collect();
        values.dedup();
        values
    }
}

/// Reads what stands under `vary`: nested tables are dotted keys down to a list or a range.
///
/// # Errors
/// The key and what is wrong with it.
pub fn read(table: &Map<String, Value>, random: bool) -> Result<Vec<Axis>, (String, String)> {
    let mut axes = Vec::new();
    collect(table, "", random, &mut axes)?;
    Ok(axes)
}

fn collect(
    table: &Map<String, Value>,
    prefix: &str,
    random: bool,
    axes: &mut Vec<Axis>,
) -> Result<(), (String, String)> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let choice = match value {
            Value::Array(values) => list(&name, values),
            Value::Object(range) if range.contains_key("from") => ranged(&name, range, random),
            Value::Object(inner) => {
                collect(inner, &name, random, axes)?;
                continue;
            }
            _ => Err("give a list of values, or a range { from, to, steps, scale }".to_owned()),
        };
        axes.push(Axis { choice: choice.map_err(|problem| (name.clone(), problem))?, name });
    }
    Ok(())
}

fn ranged(name: &str, table: &Map<String, Value>, random: bool) -> Result<Choice, String> {
    match Range::read(table)? {
        (range, Some(steps)) => list(name, &range.steps(steps)),
        (range, None) if random => Ok(Choice::Range(range)),
        _ => Err("a range of a grid needs `steps`".to_owned()),
    }
}

fn list(name: &str, values: &[Value]) -> Result<Choice, String> {
    if values.is_empty() {
        return Err("the list is empty; give at least one value".to_owned());
    }
    let settings = values.iter().map(|value| match value {
        Value::Object(table) => {
            let mut settings = Vec::new();
            flatten(table, "", &mut settings);
            settings
        }
        other => vec![(name.to_owned(), other.clone())],
    });
    Ok(Choice::List(settings.collect()))
}

/// Nested tables as dotted keys.
pub fn flatten(table: &Map<String, Value>, prefix: &str, settings: &mut Vec<Setting>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => flatten(inner, &name, settings),
            other => settings.push((name, other.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(vary: Value, random: bool, expected: &str) {
        let found = match read(vary.as_object().expect("a table"), random) {
            Ok(axes) => axes.iter().map(|axis| format!("{}: {}\n", axis.name, shown(&axis.choice))).collect(),
            Err((key, problem)) => format!("{key}: {problem}"),
        };
        assert_eq!(found.trim_end(), expected);
    }

    fn shown(choice: &Choice) -> String {
        match choice {
            Choice::List(list) => {
                let one = |(key, value): &Setting| format!("{key}={value}");
                let all = list.iter().map(|settings| settings.iter().map(one).collect::<Vec<_>>().join("&"));
                all.collect::<Vec<_>>().join(" ")
            }
            Choice::Range(range) => format!("{} .. {}", range.at(0.0), range.at(1.0)),
        }
    }

    #[test]
    fn lists_ranges_and_tables() {
        check(json!({ "tp": [1, 2] }), false, "tp: tp=1 tp=2");
        check(json!({ "workload": { "rate": ["1 /s"] } }), false, "workload.rate: workload.rate=\"1 /s\"");
        check(
            json!({ "layout": [{ "tp": 8 }, { "dp": 8, "pool": { "ep": 8 } }] }),
            false,
            "layout: tp=8 dp=8&pool.ep=8",
        );
        let range = json!({ "n": { "from": 1, "to": 8, "steps": 4, "scale": "log" } });
        check(range, false, "n: n=1 n=2 n=4 n=8");
        check(json!({ "n": { "from": 1, "to": 3, "steps": 9 } }), false, "n: n=1 n=2 n=3");
        check(json!({ "x": { "from": 0.5, "to": 1, "steps": 2 } }), false, "x: x=0.5 x=1.0");
        check(json!({ "x": { "from": 0.5, "to": 1 } }), true, "x: 0.5 .. 1.0");
    }

    #[test]
    fn what_varies_nothing_is_refused() {
        check(json!({ "tp": [] }), false, "tp: the list is empty; give at least one value");
        check(json!({ "tp": 1 }), false, "tp: give a list of values, or a range { from, to, steps, scale }");
        check(json!({ "a": { "n": { "from": 1, "to": 2 } } }), false, "a.n: a range of a grid needs `steps`");
        let less = "n: `from` must be less than `to`, and positive with a log scale";
        check(json!({ "n": { "from": 2, "to": 1 } }), true, less);
        check(json!({ "n": { "from": 0, "to": 1, "scale": "log" } }), true, less);
        check(json!({ "n": { "from": 0 } }), true, "n: a range needs a number `to`");
        let unknown = "n: `step` is no key of a range; allowed are from, to, steps, scale";
        check(json!({ "n": { "from": 0, "to": 1, "step": 1 } }), true, unknown);
    }
}
