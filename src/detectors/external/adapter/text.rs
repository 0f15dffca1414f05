//! Values as YAML and as Python, as their readers there take them.

use serde_json::Value;

/// Names that YAML 1.1 takes for something else.
const BOOLEANS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"];

/// As YAML that PyYAML reads back: tables by indentation, the rest as in JSON.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    tables(value, 0, &mut text);
    text
}

fn tables(value: &Value, depth: usize, text: &mut String) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let plain = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let key = if plain && !BOOLEANS.contains(&key.as_str()) { key.clone() } else { Value::from(key.as_str()).to_string() };
        text.push_str(&format!("{}{key}:", "  ".repeat(depth)));
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                text.push('\n');
                tables(value, depth + 1, text);
            }
            value => text.push_str(&format!(
                " {}\n",
                flow(value, &|value| match value {
                    Value::Number(number) => float(number),
                    other => other.to_string(),
                })
            )),
        }
    }
}

/// As a Python literal.
pub fn python(value: &Value) -> String {
    flow(value, &|value| match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    })
}

fn flow(value: &Value, plain: &dyn Fn(&Value) -> String) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(|item| flow(item, plain)).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), flow(value, plain));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        value => plain(value),
    }
}

/// A number that YAML 1.1 takes for one: `1e-9` is text to it, `1.0e-9` is not.
fn float(number: &serde_json::Number) -> String {
    let text = number.to_string();
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let digits = if digits.contains('.') { digits.to_owned() } else { format!("{digits}.0") };
            let exponent = if exponent.starts_with(['-', '+']) { exponent.to_owned() } else { format!("+{exponent}") };
            format!("{digits}e{exponent}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_are_indented_and_numbers_stay_numbers() {
        let value = json!({ "a": { "lr": 1e-9, "n": 2, "none": null, "list": ["x: y", true, 1e30] }, "empty": {} });
        assert_eq!(yaml(&value), "a:\n  lr: 1.0e-9\n  \"n\": 2\n  \"none\": null\n  list: [\"x: y\", true, 1.0e+30]\nempty: {}\n");
    }

    #[test]
    fn python_has_its_own_words() {
        assert_eq!(python(&json!({ "a": [true, false, null, "it's"], "b": 1e-9 })), "{\"a\": [True, False, None, \"it's\"], \"b\": 1e-9}");
    }
}
