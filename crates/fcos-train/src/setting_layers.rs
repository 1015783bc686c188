//! Settings in layers: defaults, preset, file, `key=value`; later ones win.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What is written for an option that is off: TOML has no null.
const NONE: &str = "none";

/// The entry of a table that says what else may stand in it.
const FAMILY: &str = "family";

/// Lays `over` on `base`: tables are merged, everything else is replaced. So is a table of another
/// family, with which it shares no settings.
pub(crate) fn merge(base: &mut Value, over: Value) {
    let changes_family = over
        .get(FAMILY)
        .is_some_and(|family| base.get(FAMILY) != Some(family));
    match (base, over) {
        (Value::Object(base), Value::Object(over)) if !changes_family => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// TOML as JSON values, with the string `none` as null.
pub(crate) fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(s) if s == NONE => Value::Null,
        toml::Value::String(s) => Value::String(s),
        toml::Value::Integer(i) => Value::from(i),
        // JSON has no infinity; settings that may be unlimited read the word.
        toml::Value::Float(f) if f == f64::INFINITY => Value::from("inf"),
        toml::Value::Float(f) => Value::from(f),
        toml::Value::Boolean(b) => Value::Bool(b),
        toml::Value::Datetime(d) => Value::String(d.to_string()),
        toml::Value::Array(a) => Value::Array(a.into_iter().map(from_toml).collect()),
        toml::Value::Table(t) => {
            Value::Object(t.into_iter().map(|(k, v)| (k, from_toml(v))).collect())
        }
    }
}

/// The way back: null becomes the string `none`.
pub(crate) fn to_toml(value: &Value) -> toml::Value {
    match value {
        Value::Null => toml::Value::String(NONE.into()),
        Value::Bool(b) => toml::Value::Boolean(*b),
        Value::Number(n) => match n.as_i64() {
            Some(i) => toml::Value::Integer(i),
            None => toml::Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(s) => toml::Value::String(s.clone()),
        Value::Array(a) => toml::Value::Array(a.iter().map(to_toml).collect()),
        Value::Object(o) => {
            toml::Value::Table(o.iter().map(|(k, v)| (k.clone(), to_toml(v))).collect())
        }
    }
}

/// The values of `new` that `old` doesn't have, as lines of TOML with dotted keys:
/// `recipe.batch_size = 5`. What is in `old` alone is `none`.
pub(crate) fn changes(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_changes("", old, new, &mut found);
    found
}

fn collect_changes(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match new {
        _ if old == new => {}
        Value::Object(table) if !table.is_empty() => {
            let before = old.as_object().into_iter().flat_map(Map::keys);
            let names: BTreeSet<&String> = before.chain(table.keys()).collect();
            let prefix = if at.is_empty() { "" } else { "." };
            for name in names {
                let at = format!("{at}{prefix}{name}");
                collect_changes(&at, &old[name], &new[name], found);
            }
        }
        _ => found.push(format!("{at} = {}", to_toml(new))),
    }
}

/// Parses one `key=value` with a dotted key: `recipe.batch_size=8`. The value is TOML; what is no
/// TOML counts as a string, so that `--set model.head.centerness_on=cls` needs no quotes.
pub(crate) fn parse_assignment(text: &str) -> Option<Value> {
    let (key, value) = text.split_once('=')?;
    let value = value.trim();
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok();
    let value = match parsed.and_then(|mut table| table.remove("v")) {
        Some(value) => from_toml(value),
        None => from_toml(toml::Value::String(value.into())),
    };
    key.trim().rsplit('.').try_fold(value, |inner, part| {
        (!part.is_empty()).then(|| Value::Object(Map::from_iter([(part.to_string(), inner)])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn later_layers_win() {
        let mut base = json!({"a": {"b": 1, "c": [1, 2]}, "d": 2});
        merge(&mut base, json!({"a": {"c": [3]}, "d": null, "e": 5}));
        assert_eq!(base, json!({"a": {"b": 1, "c": [3]}, "d": null, "e": 5}));
    }

    #[test]
    fn another_family_replaces_the_table() {
        let mut base = json!({"a": {"family": "x", "b": 1}});
        merge(&mut base, json!({"a": {"family": "x", "c": 2}}));
        assert_eq!(base, json!({"a": {"family": "x", "b": 1, "c": 2}}));
        merge(&mut base, json!({"a": {"family": "y"}}));
        merge(&mut base, json!({"a": {"d": 3}}));
        assert_eq!(base, json!({"a": {"family": "y", "d": 3}}));
    }

    #[test]
    fn changes_have_dotted_keys() {
        let old = json!({"a": {"b": 1, "c": null, "d": [1]}, "e": {"f": 2}, "g": "x", "h": 3});
        assert!(changes(&old, &old).is_empty());
        let new = json!({"a": {"b": 4, "d": [1, 2]}, "e": "y", "g": {"i": {"j": true}}});
        let expected = [
            "a.b = 4",
            "a.d = [1, 2]",
            "e = \"y\"",
            "g.i.j = true",
            "h = \"none\"",
        ];
        assert_eq!(changes(&old, &new), expected);
    }

    #[test]
    fn assignments() {
        let cases = [
            ("recipe.batch_size=8", json!({"recipe": {"batch_size": 8}})),
            ("x = 0.5", json!({"x": 0.5})),
            ("x=[1, 2]", json!({"x": [1, 2]})),
            ("x=cls", json!({"x": "cls"})),
            ("x=\"cls\"", json!({"x": "cls"})),
            ("x=none", json!({"x": null})),
            (
                "x=[[0, 64], [64, inf]]",
                json!({"x": [[0, 64], [64, "inf"]]}),
            ),
            ("x=", json!({"x": ""})),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_assignment(text), Some(expected), "{text}");
        }
        for text in ["", "x", "=1", "a..b=1", ".a=1"] {
            assert_eq!(parse_assignment(text), None, "{text}");
        }
    }

    #[test]
    fn toml_and_back() {
        let value = json!({"a": null, "b": [1, 2.5, true], "c": {"d": "e"}});
        assert_eq!(from_toml(to_toml(&value)), value);
    }
}
