//! One value changed, for a run beside the original.

use super::ClusterError;
use toml::{Table, Value};

/// The text of a cluster file with one value changed: `cluster.chips=448`, `tenant.research.quota=128`,
/// `settings.age_weight=5000`. Tables that come several times are named by their `name` or number.
///
/// # Errors
/// The file is no TOML, or the path leads nowhere.
pub fn with_change(file: &str, text: &str, change: &str) -> Result<String, ClusterError> {
    let bad = |problem: String| ClusterError::Value { at: format!("--what-if {change}"), problem };
    let (path, value) = change
        .split_once('=')
        .ok_or_else(|| bad("write KEY=VALUE, for example cluster.chips=448".to_owned()))?;
    let mut table: Table = toml::from_str(text).map_err(|error| ClusterError::Syntax {
        file: file.to_owned(),
        message: error.to_string().trim().to_owned(),
    })?;
    let parsed = toml::from_str::<Table>(&format!("value = {value}"));
    let value = match parsed {
        Ok(mut parsed) => parsed.remove("value").unwrap_or_else(|| Value::String(value.to_owned())),
        Err(_) => Value::String(value.to_owned()),
    };
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    set(&mut table, &keys, value).map_err(bad)?;
    Ok(toml::to_string(&table).unwrap_or_default())
}

fn set(table: &mut Table, keys: &[&str], value: Value) -> Result<(), String> {
    let Some((key, rest)) = keys.split_first() else {
        return Err("the key is empty".to_owned());
    };
    if rest.is_empty() {
        table.insert((*key).to_owned(), value);
        return Ok(());
    }
    match table.entry((*key).to_owned()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, value),
        Value::Array(list) => {
            let known: Vec<String> = list.iter().map(name_of).collect();
            let at = known
                .iter()
                .position(|name| name == rest[0])
                .or_else(|| rest[0].parse().ok().filter(|at: &usize| *at < list.len()));
            let found = at.and_then(|at| list.get_mut(at)).and_then(Value::as_table_mut);
            let inner =
                found.ok_or_else(|| format!("`{key}` has no `{}`; it has {}", rest[0], known.join(", ")))?;
            set(inner, &rest[1..], value)
        }
        _ => Err(format!("`{key}` has no keys inside")),
    }
}

fn name_of(value: &Value) -> String {
    value.get("name").and_then(Value::as_str).unwrap_or("(no name)").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: &str, expected: &str) {
        let text = "[cluster]\nchips = 8\n[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\n";
        let found = match with_change("f.toml", text, change) {
            Ok(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn values_are_changed_where_they_are_named() {
        check("cluster.chips=16", "[cluster] chips = 16 [[tenant]] name = \"a\" [[tenant]] name = \"b\"");
        check(
            "tenant.b.quota=4",
            "[cluster] chips = 8 [[tenant]] name = \"a\" [[tenant]] name = \"b\" quota = 4",
        );
        check("tenant.c.quota=4", "--what-if tenant.c.quota=4: `tenant` has no `c`; it has a, b");
        check(
            "until=2 h",
            "until = \"2 h\" [cluster] chips = 8 [[tenant]] name = \"a\" [[tenant]] name = \"b\"",
        );
        check("chips", "--what-if chips: write KEY=VALUE, for example cluster.chips=448");
    }
}
